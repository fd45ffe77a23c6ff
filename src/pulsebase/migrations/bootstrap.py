"""The function `exec_sql`, through which migrations travel over HTTPS."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from pulsebase.errors import MigrationError
from pulsebase.migrations.doors import DirectTransport
from pulsebase.transports.postgres import translated

if TYPE_CHECKING:
    from pulsebase.connection import Connection

__all__ = ["drop_text", "install", "install_text", "uninstall"]


def install_text() -> str:
    """The SQL that makes `exec_sql`, for the SQL editor of the dashboard."""
    return _text("bootstrap.sql")


def drop_text() -> str:
    """The SQL that removes it again."""
    return _text("bootstrap_drop.sql")


def install(connection: Connection) -> None:
    """Make or renew `exec_sql` over a direct connection; a second call changes nothing."""
    _run(connection, install_text())


def uninstall(connection: Connection) -> None:
    """Remove `exec_sql` over a direct connection."""
    _run(connection, drop_text())


def _run(connection: Connection, script: str) -> None:
    transport = connection.transport
    if not isinstance(transport, DirectTransport):
        msg = (
            "a service key alone cannot do this; run: pulsebase db bootstrap, and paste what it "
            "prints into the SQL editor, or give a direct URL: --url postgresql://…"
        )
        raise MigrationError(msg)
    with transport.connection() as lent, translated():
        lent.execute(script.encode(), prepare=False)


def _text(name: str) -> str:
    return (resources.files("pulsebase.migrations") / name).read_text("utf-8")
