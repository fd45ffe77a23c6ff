"""One child process that serves: started, waited for until it answers, and ended by its id."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["ServerProcess", "Unprivileged", "free_port", "scratch_folder"]

_STOP_SECONDS = 15
_LOG_TAIL_CHARACTERS = 2000


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Identity(TypedDict, total=False):
    """Arguments for `subprocess` that make a child run as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


class Unprivileged:
    """Who runs servers that refuse to run as root: ourselves, or for root a user with no rights."""

    @staticmethod
    def account() -> pwd.struct_passwd | None:
        """The account to change to; None where we are a normal user already."""
        if os.geteuid() != 0:
            return None
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name)
            except KeyError:
                continue
        message = "PostgreSQL refuses to run as root, and there is no user postgres or nobody"
        raise RuntimeError(message)

    @classmethod
    def identity(cls) -> Identity:
        """How a child becomes that account; empty where it is that account anyway."""
        account = cls.account()
        if account is None:
            return {}
        return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    @classmethod
    def give(cls, path: Path) -> None:
        """Let that account own a file or folder."""
        if account := cls.account():
            os.chown(path, account.pw_uid, account.pw_gid)


@contextmanager
def scratch_folder(name: str) -> Iterator[Path]:
    """A folder that the unprivileged account owns and can reach; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=f"pulsebase-{name}-"))
    Unprivileged.give(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class ServerProcess:
    """A server as a child process, with its output in a log file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        unprivileged: bool = False,
    ) -> None:
        self._command = [str(part) for part in command]
        self._folder = folder
        self._environment = {**os.environ, **(environment or {})}
        self._stop_signal = stop_signal
        self._identity: Identity = Unprivileged.identity() if unprivileged else {}
        self._child: subprocess.Popen[bytes] | None = None
        self.log_path = folder / "server.log"

    @property
    def process_id(self) -> int:
        """The operating system's id of the running server."""
        return self._running().pid

    def start(self, is_ready: Callable[[], bool], timeout_seconds: float = 60) -> None:
        """Start, and return when it is ready; an error with the end of its log if it never is."""
        with self.log_path.open("ab") as log:
            # A session of its own: Ctrl-C goes to pytest, which stops the servers in order.
            self._child = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._identity,
            )
        try:
            wait_until(
                lambda: self._has_ended() or is_ready(), "the server answers", timeout_seconds
            )
        except BaseException:
            self.kill()
            raise
        if self._has_ended():
            self._child = None
            raise RuntimeError(self._obituary())

    def stop(self) -> None:
        """Ask it to end, and wait; make it, if it does not listen. Harmless when it has ended."""
        if self._child is None:
            return
        self._child.send_signal(self._stop_signal)
        try:
            self._child.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._child = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(_STOP_SECONDS)
            self._child = None

    def log(self) -> str:
        """What it has printed so far."""
        return self.log_path.read_text(errors="replace")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            message = f"{self._command[0]} is not running"
            raise RuntimeError(message)
        return self._child

    def _has_ended(self) -> bool:
        return self._running().poll() is not None

    def _obituary(self) -> str:
        return f"{self._command[0]} ended at once:\n{self.log()[-_LOG_TAIL_CHARACTERS:]}"
