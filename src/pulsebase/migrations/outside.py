"""Files that ask for no transaction: one statement at a time, under a lock of the session.

Nobody waits for that lock inside the database, so CREATE INDEX CONCURRENTLY, which waits for every
older snapshot, waits for no other runner.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pulsebase.errors import MigrationError
from pulsebase.migrations import faults
from pulsebase.migrations.envelope import LOCK_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.migrations.doors import DirectDoor

__all__ = ["execute_statements", "refuse_pooler", "session_lock"]

_SETTINGS = ("statement_timeout", "lock_timeout", "client_connection_check_interval")
_PREPARE = """select set_config('statement_timeout', '0', false),
    set_config('lock_timeout', '0', false),
    set_config('client_connection_check_interval',
        case when version() like '%linux%' then '2000' else '0' end, false)"""


@contextmanager
def session_lock(connection: psycopg.Connection[Any]) -> Iterator[bool]:
    """Whether the lock is ours; it is let go at the end, and with the session in any case."""
    taken = _value(connection, f"select pg_try_advisory_lock({LOCK_KEY})")
    try:
        yield bool(taken)
    finally:
        if taken and not connection.closed:
            connection.execute(f"select pg_advisory_unlock({LOCK_KEY})".encode())


def execute_statements(connection: psycopg.Connection[Any], file: MigrationFile) -> None:
    """Run the statements one after another, each committing itself."""
    import psycopg

    kept = {name: _value(connection, f"show {name}") for name in _SETTINGS}
    connection.execute(_PREPARE.encode())
    try:
        for number, statement in enumerate(file.statements, 1):
            try:
                connection.execute(statement.text.encode(), prepare=False)
            except psycopg.Error as error:
                if connection.closed or not error.sqlstate:
                    raise
                told = faults.statement_fault(file, statement, error)
                raise MigrationError(told + _remains(number, len(file.statements))) from error
    finally:
        if not connection.closed:
            for name, value in kept.items():
                connection.execute("select set_config(%s, %s, false)", (name, value))


def refuse_pooler(door: DirectDoor, file: MigrationFile) -> None:
    """Refuse where the next statement may meet another session than the last one.

    Behind a transaction pooler a second client gets the session that the first one has just left.
    """
    connection = door.connection
    session = _value(connection, "select pg_backend_pid()")
    if session == connection.info.backend_pid:
        return
    with door.transport.connection() as second, second.transaction():
        shared = _value(second, "select pg_backend_pid()") == session
        moved = _value(connection, "select pg_backend_pid()") != session
    if shared or moved:
        msg = (
            f"{file.source} asks for no transaction, and behind a transaction pooler no session "
            "lasts for it; give the direct address of the server (on Supabase port 5432)"
        )
        raise MigrationError(msg)


def _remains(number: int, total: int) -> str:
    return (
        f"\n      This was statement {number} of {total}. The file asks for no transaction: what "
        "stands before it is done and stays. Mend the cause (an index that failed halfway is "
        "INVALID: drop it), and run it again: the file starts from its beginning, so write it with "
        "IF NOT EXISTS."
    )


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode(), prepare=False).fetchone()
    return row[0] if row else None
