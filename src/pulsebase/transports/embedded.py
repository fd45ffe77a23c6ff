"""A private PostgreSQL that serves where nothing is configured.

Any number of processes, threads and objects share one server per folder. Two locks order them:

    setup.lock   exclusive, for as long as somebody makes, starts or stops the server
    use.lock     shared, for as long as a process uses it; who gets it exclusively is the last one

The kernel drops both when a process dies, however it dies, and neither is inherited by a child.
"""

from __future__ import annotations

import atexit
import os
import time
from contextlib import contextmanager, suppress
from threading import Lock
from typing import TYPE_CHECKING, Self

from pulsebase.errors import EmbeddedServerError
from pulsebase.transports.embedded_cluster import Cluster
from pulsebase.transports.embedded_programs import (
    Account,
    account_for,
    default_folder,
    make_folder,
    programs,
    system_errors_told,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    # It has no type hints.
    from fasteners import InterProcessReaderWriterLock  # type: ignore[import-untyped]  # no hints

__all__ = ["EmbeddedServer", "default_folder", "programs"]


class EmbeddedServer:
    """A private PostgreSQL in `folder`, shared by every process that uses the same folder.

    It listens on a Unix socket in a private folder and on no port. Whoever starts it decides about
    `fsync`; switching that off is for data that may be lost. Linux and macOS.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        fsync: bool = True,
        start_timeout_seconds: float = 60.0,
    ) -> None:
        given = folder or default_folder()
        with system_errors_told(given):
            self.folder = given.expanduser().resolve()
        self._fsync = fsync
        self._start_timeout_seconds = start_timeout_seconds
        self._joined_in_process: int | None = None

    def start(self) -> str:
        """The server's libpq URL; the server is set up and started first where it is not.

        Call it again when the server was lost: it comes back. Raises EmbeddedServerError, or
        MissingExtraError when the extra `embedded` is not installed.
        """
        _require_unix()
        programs()
        with system_errors_told(self.folder):
            make_folder(self.folder)
            account = account_for(self.folder)
            share = _share(self.folder, account)
            with share.turn(self._start_timeout_seconds):
                return self._start(share, account)

    def stop(self) -> None:
        """Leave the server; the last user in the world stops it. Does nothing when not started."""
        if self._joined_in_process != os.getpid():
            return  # not started, or started by the process that this one was forked from
        with system_errors_told(self.folder):
            account = account_for(self.folder)
            share = _share(self.folder, account)
            with share.turn(self._start_timeout_seconds):
                self._leave(share, account)

    def _start(self, share: _Share, account: Account) -> str:
        cluster = Cluster(self.folder, account, self._fsync)
        joined = self._joined_in_process == os.getpid()
        if not joined:
            share.join()
            self._joined_in_process = os.getpid()
            atexit.register(self._stop_at_exit)
        try:
            return cluster.bring_up(self._start_timeout_seconds)
        except BaseException:
            if not joined:
                with suppress(EmbeddedServerError, OSError):
                    self._leave(share, account)
            raise

    def _leave(self, share: _Share, account: Account) -> None:
        if self._joined_in_process != os.getpid():
            return  # another thread has just left
        self._joined_in_process = None
        atexit.unregister(self._stop_at_exit)
        with share.leaving() as last:
            if last:
                Cluster(self.folder, account, self._fsync).stop()

    def _stop_at_exit(self) -> None:
        with suppress(EmbeddedServerError):  # nobody is left to be told
            self.stop()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""
        self.stop()


class _Share:
    """One process's use of a folder. The threads and objects in the process are counted here."""

    def __init__(
        self, folder: Path, setup: InterProcessReaderWriterLock, use: InterProcessReaderWriterLock
    ) -> None:
        self._folder = folder
        self._setup = setup
        self._use = use
        self._threads = Lock()
        self._users = 0

    @contextmanager
    def turn(self, timeout_seconds: float) -> Iterator[None]:
        """Alone among all threads and processes until the block ends."""
        deadline = time.monotonic() + timeout_seconds
        if not self._threads.acquire(timeout=timeout_seconds):
            self._fail(timeout_seconds)
        try:
            left_seconds = max(0.0, deadline - time.monotonic())
            if not self._setup.acquire_write_lock(timeout=left_seconds):
                self._fail(timeout_seconds)
            try:
                yield
            finally:
                self._setup.release_write_lock()
        finally:
            self._threads.release()

    def join(self) -> None:
        """Count one more user of this process."""
        if self._users == 0:
            self._use.acquire_read_lock()
        self._users += 1

    @contextmanager
    def leaving(self) -> Iterator[bool]:
        """Count one user less; the value says whether no other is left, here or elsewhere."""
        self._users -= 1
        if self._users:
            yield False
            return
        try:
            yield self._use.acquire_write_lock(blocking=False)
        finally:
            self._use.release_read_lock()

    def _fail(self, seconds: float) -> None:
        msg = (
            f"another process or thread has been starting or stopping the embedded PostgreSQL in "
            f"{self._folder} for {seconds:g} s; wait for it or end it, then try again"
        )
        raise EmbeddedServerError(msg)


# A lock of the kernel belongs to the process, not to an object: a second object that opened and
# closed the same file would drop the first one's lock. So the process has one share per folder.
# The pid in the key gives a forked child, which inherits no lock, a share of its own.
_SHARES: dict[tuple[int, Path], _Share] = {}


def _share(folder: Path, account: Account) -> _Share:
    from fasteners import InterProcessReaderWriterLock

    setup, use = folder / "setup.lock", folder / "use.lock"
    for path in (setup, use):
        _make_lock_file(path, account)
    new = _Share(folder, InterProcessReaderWriterLock(setup), InterProcessReaderWriterLock(use))
    return _SHARES.setdefault((os.getpid(), folder), new)


def _make_lock_file(path: Path, account: Account) -> None:
    """Make the file for the server's account, so that root and the account share it.

    An existing file is not even opened: closing it again would drop the lock that we hold.
    """
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            if os.geteuid() != account.uid:
                os.fchown(descriptor, account.uid, account.gid)
        finally:
            os.close(descriptor)


def _require_unix() -> None:
    if os.name == "nt":
        msg = (
            "the embedded PostgreSQL runs on Linux and macOS; on Windows set PULSEBASE_URL "
            "to the address of a PostgreSQL server or a Supabase project"
        )
        raise EmbeddedServerError(msg)
