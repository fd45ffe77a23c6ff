"""The data folder of the embedded PostgreSQL: made whole or not at all, started, found, stopped.

    folder/
      data/             the database cluster; appears by a rename when it is complete
      socket/           the Unix socket, private; a long path moves it to the temp folder
      setup.lock        held around every change of state       (embedded.py)
      use.lock          shared by every process that uses it     (embedded.py)
      programs-18.6.3/  only where root's programs cannot be reached by the server's account
      *.new-*           what a crash left half-made; the next start removes it

Nothing here trusts a pid file by itself: after a crash its number may belong to any process. The
server carries a name made from the folder in its arguments, so a process is known by that.
The caller holds the set-up lock.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import quote

from psycopg import pq

from pulsebase.errors import EmbeddedServerError
from pulsebase.transports.embedded_programs import (
    Account,
    Finished,
    advice,
    can_enter,
    default_folder,
    is_private,
    is_root,
    make_private_folder,
    program_version,
    programs_for,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psutil

DATABASE = "pulsebase"
_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 103 if sys.platform == "darwin" else 107
_PID_FILE_SOCKET_LINE = 5
_POLL_SECONDS = 0.05
_STOP_TIMEOUT_SECONDS = 30.0
_END_TIMEOUT_SECONDS = 5.0
_END_POLL_SECONDS = 0.01
_LARGEST_OLD_LOG_BYTES = 1_000_000
_TOLD_LINES = 2
_CAUSE = re.compile(r"\b(?:FATAL|PANIC|ERROR|error|could not)\b.*")
_FIXED_SETTINGS = {
    "listen_addresses": "",
    "port": str(_PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "256MB",
    "io_method": "sync",  # no extra processes; the data is small
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A week's ring of files. What a statement did wrong is told to its client, not written here.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "%a.log",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    "log_truncate_on_rotation": "on",
    "log_min_messages": "log",
    "log_checkpoints": "off",
}
_UNSAFE_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

_log = logging.getLogger("pulsebase.embedded")


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster in `folder`, run by `account`."""

    folder: Path
    account: Account
    fsync: bool = True

    @property
    def data(self) -> Path:
        """PostgreSQL's own data folder."""
        return self.folder / "data"

    @property
    def name(self) -> str:
        """What the server and all its processes are called; no other folder's have this name."""
        return f"pulsebase-{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]}"

    @property
    def url(self) -> str:
        """The address of the server, where it runs or will run."""
        host = quote(os.fsencode(self._socket_folder()), safe="")
        return f"postgresql://{DATABASE}@/{DATABASE}?host={host}&port={_PORT}"

    def bring_up(self, timeout_seconds: float) -> str:
        """Make what is missing, start the server unless it runs, and wait for it; its address."""
        if self._answers():
            return self.url
        deadline = time.monotonic() + timeout_seconds
        self._require_reachable()
        if not self.data.exists() or not any(self.data.iterdir()):
            self._tidy()
            self._create(timeout_seconds)
        self._require_version()
        while not self._answers():
            if time.monotonic() > deadline:
                self._fail("start", f"it does not answer after {timeout_seconds:g} s")
            if self.postmaster() is None:
                self._launch(deadline - time.monotonic())
            elif not self._has_socket():
                self.stop()  # nobody can reach it again, and nobody can start beside it
            else:
                time.sleep(_POLL_SECONDS)
        return self.url

    def stop(self) -> None:
        """Stop the server if it runs, to its last process; open transactions are rolled back."""
        processes = list(self._server_processes())
        for mode in ("fast", "immediate"):
            if self.postmaster() is None:
                return
            stopped = self._run(
                *("pg_ctl", "stop", "-D", ".", "-m", mode, "-w"),
                *("-t", f"{_STOP_TIMEOUT_SECONDS:.0f}"),
                folder=self.data,
                timeout_seconds=_STOP_TIMEOUT_SECONDS + 5,
            )
            if stopped.code == 0 or self.postmaster() is None:
                _wait_until_ended(processes)  # the logger outlives the others
                self._remove_short_socket_folder()
                _log.info("stopped the embedded PostgreSQL in %s", self.folder)
                return
        self._fail("stop", f"it still runs after {2 * _STOP_TIMEOUT_SECONDS:g} s")

    def postmaster(self) -> int | None:
        """The pid of our living server; None when the pid file is stale or gone."""
        import psutil

        with suppress(psutil.Error, ValueError, IndexError):
            pid = int(self._pid_file()[0])
            return pid if self.name in " ".join(psutil.Process(pid).cmdline()) else None
        return None

    def _answers(self) -> bool:
        if not self._has_socket():
            return False
        answer = pq.PGconn.ping(f"{self.url}&connect_timeout=2".encode())
        return pq.Ping(answer) is pq.Ping.OK

    def _has_socket(self) -> bool:
        # In the temp folder somebody else could have put a server of his own.
        folder = self._socket_folder()
        return is_private(folder, self.account) and (folder / _SOCKET).exists()

    def _create(self, timeout_seconds: float) -> None:
        """`initdb` into a folder of another name, add our database, then rename."""
        new = Path(tempfile.mkdtemp(prefix="data.new-", dir=self.folder))
        try:
            make_private_folder(new, self.account)
            sync = () if self.fsync else ("--no-sync",)
            for command, text in (
                (("initdb", *_INITDB_OPTIONS, *sync), ""),
                (("postgres", *_SINGLE_OPTIONS), f"create database {DATABASE}\n"),
            ):
                done = self._run(*command, folder=new, timeout_seconds=timeout_seconds, text=text)
                if done.code != 0:
                    self._fail("set up", _cause(done.output))
            new.rename(self.data)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        if self.fsync:
            _sync(self.folder)
        _log.info("made an embedded PostgreSQL in %s", self.folder)

    def _launch(self, timeout_seconds: float) -> None:
        """Start the server over the remains of a crashed one, if there are any."""
        self._tidy()
        self._clear_remains()
        seconds = max(1.0, timeout_seconds)
        started = self._run(
            *("pg_ctl", "start", "-D", ".", "-w", "-t", f"{seconds:.0f}", "-l", "start.log"),
            *("-o", self._options()),
            folder=self.data,
            timeout_seconds=seconds + 5,
        )
        # It may also have lost against one that a killed process had begun to start: then wait.
        if started.code != 0 and self.postmaster() is None:
            self._fail("start", self._last_words() or _cause(started.output))
        _log.info("started the embedded PostgreSQL in %s as %s", self.folder, self.account.name)

    def _run(
        self, name: str, *arguments: str, folder: Path, timeout_seconds: float, text: str = ""
    ) -> Finished:
        return run(
            programs_for(self.account, self.folder) / name,
            *arguments,
            account=self.account,
            folder=folder,
            timeout_seconds=timeout_seconds,
            text=text,
        )

    def _options(self) -> str:
        """The server's settings, quoted for the shell that pg_ctl starts."""
        folder = str(self._own_socket_folder()).replace('"', '""')
        settings = {
            **_FIXED_SETTINGS,
            **({} if self.fsync else _UNSAFE_SETTINGS),
            "cluster_name": self.name,
            "unix_socket_directories": f'"{folder}"',
        }
        return " ".join(f"-c {shlex.quote(f'{key}={value}')}" for key, value in settings.items())

    def _clear_remains(self) -> None:
        """Remove what would stop the next server: orphans, pid files, sockets, overlong logs."""
        pid_file = self.data / "postmaster.pid"
        if pid_file.exists():
            self._end_orphans()
            pid_file.unlink(missing_ok=True)
        folder = self._own_socket_folder()
        make_private_folder(folder, self.account)
        for remains in (folder / _SOCKET, folder / f"{_SOCKET}.lock", self.data / "start.log"):
            remains.unlink(missing_ok=True)
        for log in self.data.glob("log/*.log"):
            if log.stat().st_size > _LARGEST_OLD_LOG_BYTES:
                log.replace(log.with_suffix(".old"))

    def _end_orphans(self) -> None:
        """End processes whose server was killed: a busy one would block the next server."""
        import psutil

        orphans = list(self._server_processes())
        for orphan in orphans:
            with suppress(psutil.Error):
                orphan.send_signal(signal.SIGQUIT)
        _wait_until_ended(orphans)

    def _server_processes(self) -> Iterator[psutil.Process]:
        import psutil

        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "postgres" and self.name in " ".join(process.cmdline()):
                    yield process

    def _tidy(self) -> None:
        """Remove half-made folders and the programs of other versions; no server runs now."""
        for pattern in ("data.new-*", "programs.new-*", "programs-*"):
            for leftover in self.folder.glob(pattern):
                if leftover.name != f"programs-{program_version()}":
                    shutil.rmtree(leftover, ignore_errors=True)

    def _socket_folder(self) -> Path:
        """Where the running server has its socket; another TMPDIR than ours may have decided it."""
        lines = self._pid_file()
        if len(lines) >= _PID_FILE_SOCKET_LINE and (told := lines[_PID_FILE_SOCKET_LINE - 1]):
            return Path(told)
        return self._own_socket_folder()

    def _own_socket_folder(self) -> Path:
        # Root's own temp folder may be closed to the account.
        temporary = "/tmp" if is_root() else tempfile.gettempdir()  # noqa: S108 checked when made
        short = f"{self.name}-{self.account.uid}"
        for folder in (self.folder / "socket", Path(temporary) / short):
            path = os.fsencode(folder / _SOCKET)
            if len(path) <= _LONGEST_SOCKET_PATH and b"," not in path:  # it parts hosts in a URL
                return folder
        return Path("/tmp") / short  # noqa: S108 checked when made

    def _remove_short_socket_folder(self) -> None:
        folder = self._own_socket_folder()
        if folder.parent != self.folder:
            with suppress(OSError):
                folder.rmdir()

    def _pid_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            return os.fsdecode((self.data / "postmaster.pid").read_bytes()).splitlines()
        return []

    def _require_reachable(self) -> None:
        """Refuse a folder that root can enter and the server's account cannot."""
        if not is_root() or can_enter(self.account, self.folder):
            return
        parents = [*reversed(self.folder.parents), self.folder]
        closed = next(
            (place for place in parents if not can_enter(self.account, place)), self.folder
        )
        msg = (
            f"PostgreSQL refuses to run as root, and the account {self.account.name}, which would "
            f"run it, cannot enter {closed}; choose a folder that it can enter, such as "
            f"embedded://{default_folder()}, or run: chmod o+x {shlex.quote(str(closed))}"
        )
        raise EmbeddedServerError(msg)

    def _require_version(self) -> None:
        """Refuse data of another major version, or something that is no database."""
        ours = program_version().partition(".")[0]
        try:
            theirs = (self.data / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            msg = (
                f"{self.data} has files and is no database; move it away, or choose another "
                "folder with embedded://FOLDER"
            )
            raise EmbeddedServerError(msg) from None
        if theirs != ours:
            msg = (
                f"the data in {self.folder} was made by PostgreSQL {theirs} and the embedded "
                f"server is PostgreSQL {ours}; dump it with pg_dump of PostgreSQL {theirs} and "
                "load it into a new folder, or move it away to begin anew"
            )
            raise EmbeddedServerError(msg)

    def _last_words(self) -> str:
        """Why the server did not start, from whichever log it wrote to last."""
        with suppress(OSError):
            logs = [self.data / "start.log", *self.data.glob("log/*.log")]
            newest = max(
                (log for log in logs if log.exists()), key=lambda log: log.stat().st_mtime_ns
            )
            return _cause(newest.read_text(errors="replace"))
        return ""

    def _fail(self, verb: str, reason: str) -> NoReturn:
        log = self.data / "log"
        more = f" (its log is in {log})" if log.exists() else ""
        msg = (
            f"could not {verb} the embedded PostgreSQL in {self.folder}: {reason}{more}; "
            f"{advice(reason)}"
        )
        raise EmbeddedServerError(msg)


_INITDB_OPTIONS = (
    *("-D", ".", f"--username={DATABASE}", "--encoding=UTF8", "--data-checksums"),
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    # Whoever gets into the private socket folder is the owner or root; nobody comes over TCP.
    *("--auth-local=trust", "--auth-host=reject", "--no-instructions"),
)
_SINGLE_OPTIONS = ("--single", "-D", ".", "-c", "exit_on_error=on", "postgres")


def _cause(output: str) -> str:
    """The last lines of an output that name a cause, as one line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    causes = [found[0] for line in lines if (found := _CAUSE.search(line))]
    return " / ".join((causes or lines)[-_TOLD_LINES:]) or "it gave no reason"


def _wait_until_ended(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + _END_TIMEOUT_SECONDS
    while not all(map(_has_ended, processes)) and time.monotonic() < deadline:
        time.sleep(_END_POLL_SECONDS)


def _has_ended(process: psutil.Process) -> bool:
    import psutil

    with suppress(psutil.Error):
        # In a container the first process may never collect the dead.
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


def _sync(folder: Path) -> None:
    """Make a rename in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
