"""PgBouncer in transaction mode, as Debian packages it, before a PostgreSQL server."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import psycopg

from tests.support.server_process import ServerProcess, Unprivileged, free_port, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PgBouncer", "pgbouncer_program"]

_CONFIGURATION = """\
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = postgres
pool_mode = transaction
default_pool_size = 10
max_client_conn = 200
"""


def pgbouncer_program() -> str | None:
    """The path of PgBouncer, if it is installed; Debian keeps it among root's programs."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


class PgBouncer:
    """Every database of a server behind a transaction pooler; a server's URL needs its port only.

    A client gets any of ten server sessions for each transaction, so whatever belongs to a session
    (prepared statements, session locks, a plain `set`) shows up in somebody else's.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._resources = ExitStack()
        self.process: ServerProcess
        self.port = free_port()

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("pgbouncer"))
            self._configure(folder)
            self.process = ServerProcess(
                [pgbouncer_program() or "pgbouncer", folder / "pgbouncer.ini"],
                folder=folder,
                unprivileged=True,
            )
            resources.callback(self.process.stop)
            self.process.start(self._answers)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """The connection URL of a database, through the pooler."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _configure(self, folder: Path) -> None:
        configuration = _CONFIGURATION.format(
            port=self.port, server_port=self._server_port, folder=folder
        )
        for name, text in (("pgbouncer.ini", configuration), ("users", '"postgres" ""\n')):
            (folder / name).write_text(text)
            Unprivileged.give(folder / name)
