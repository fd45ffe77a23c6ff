"""A standby that follows one of the tests' servers by streaming replication."""

from __future__ import annotations

import signal
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import psycopg

from tests.support.postgres_server import reachable_programs
from tests.support.server_process import ServerProcess, Unprivileged, free_port, scratch_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres_server import PostgresServer

__all__ = ["PostgresStandby"]


class PostgresStandby:
    """A copy of a primary, made by `pg_basebackup`, that follows it; it can be read from."""

    def __init__(self, primary: PostgresServer, bin_folder: Path) -> None:
        self._primary = primary
        self._bin_folder = bin_folder
        self._resources = ExitStack()
        self.port = free_port()
        self.process: ServerProcess

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("standby"))
            programs = reachable_programs(self._bin_folder, folder)
            self._copy_primary(programs, folder / "data")
            options = [f"--port={self.port}", "--listen_addresses=127.0.0.1"]
            options += ["--unix_socket_directories=", "--max_connections=200", "--fsync=off"]
            self.process = ServerProcess(
                [programs / "postgres", "-D", folder / "data", *options],
                folder=folder,
                stop_signal=signal.SIGINT,
                unprivileged=True,
            )
            resources.callback(self.process.stop)
            self.process.start(self._answers)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The connection URL of a database."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        """Run one statement that a standby allows, as the superuser."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def catch_up(self) -> None:
        """Wait until it has replayed all that the primary has written."""
        with psycopg.connect(self._primary.url(), autocommit=True) as connection:
            row = connection.execute("select pg_current_wal_lsn()").fetchone()
        assert row is not None
        wait_until(lambda: self._has_replayed(row[0]), "the standby has replayed everything")

    def _has_replayed(self, position: str) -> bool:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            question = "select pg_last_wal_replay_lsn() >= %s::pg_lsn"
            row = connection.execute(question, [position]).fetchone()
        return bool(row and row[0])

    def _copy_primary(self, programs: Path, data: Path) -> None:
        subprocess.run(
            [
                programs / "pg_basebackup",
                "--pgdata",
                data,
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                f"--dbname={self._primary.url()}",
            ],
            check=True,
            capture_output=True,
            cwd=data.parent,
            **Unprivileged.identity(),
        )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
