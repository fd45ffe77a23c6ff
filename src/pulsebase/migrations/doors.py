"""A direct connection as the way for envelopes: one message for each, errors with their place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pulsebase.errors import LockTimeoutError, MigrationError, SerializationError, error_class
from pulsebase.migrations import envelope, faults
from pulsebase.migrations.envelope import ANSWER, RAISED_CHANGED, Envelope, Manner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    import psycopg

    from pulsebase.migrations.catalog import MigrationFile

__all__ = ["DirectDoor", "DirectTransport", "Door", "changed_message"]

# How long a file may take is its own affair, so the session's statement timeout does not count. A
# server that can tell that its client has gone stops working for it.
_BEGIN = """begin isolation level read committed;
select set_config('statement_timeout', '0', true), set_config('client_connection_check_interval',
    case when version() like '%linux%' then '2000' else '0' end, true);
"""
# Not waiting for the disk is safe while a commit that waits follows: a crash of the server takes
# whole transactions from the end, the files together with their rows, and the next run goes on.
_UNHURRIED = "set local synchronous_commit = off;\n"
_END = f""";
select current_setting('{ANSWER}', true);
commit"""


class Door(Protocol):
    """Sends envelopes; an answer is JSON, an error has its place in the file."""

    @property
    def over_https(self) -> bool:
        """Whether only a service key opens it."""
        ...

    @property
    def manner(self) -> Manner:
        """How an envelope must hand back its answer."""
        ...

    def look(self) -> Mapping[str, Any]:
        """What the database knows."""
        ...

    def send(self, sent: Envelope, file: MigrationFile | None = None) -> Mapping[str, Any]:
        """Carry out an envelope.

        Raises MigrationError when the file is at fault, LockTimeoutError and SerializationError
        when it met somebody else, other DatabaseErrors when the door itself does not work.
        """
        ...

    def unserved(self, files: Sequence[MigrationFile]) -> list[str]:
        """Names of what the files made and the API does not know, though it is there."""
        ...


@runtime_checkable
class DirectTransport(Protocol):
    """A transport that can lend a connection of its own."""

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection in autocommit, with errors made ours."""
        ...


class DirectDoor:
    """One connection, lent for the whole run."""

    over_https = False
    manner: Manner = "direct"

    def __init__(self, connection: psycopg.Connection[Any], transport: DirectTransport) -> None:
        self.connection = connection
        self.transport = transport

    def look(self) -> Mapping[str, Any]:
        """What the database knows."""
        return self.send(envelope.look(self.manner))

    def send(self, sent: Envelope, file: MigrationFile | None = None) -> Mapping[str, Any]:
        """Carry out an envelope in a transaction of its own, in one round trip."""
        import psycopg

        message = f"{_BEGIN}{'' if sent.durable else _UNHURRIED}{sent.text}{_END}"
        try:
            # Not prepared, so that many statements may go in one message.
            cursor = self.connection.execute(self._encoded(message), prepare=False)
        except psycopg.Error as error:
            if self.connection.closed or not error.sqlstate:
                raise
            self.connection.rollback()
            raise self._fault(sent, file, error, message) from error
        return _last_answer(cursor)

    def unserved(self, files: Sequence[MigrationFile]) -> list[str]:  # noqa: ARG002 -- the other door asks
        """None: a direct connection has no cache between."""
        return []

    def _fault(
        self, sent: Envelope, file: MigrationFile | None, error: psycopg.Error, message: str
    ) -> Exception:
        from pulsebase.transports.postgres import typed_error

        primary = error.diag.message_primary or ""
        if file is None:
            return typed_error(error)
        if primary.startswith(RAISED_CHANGED):
            return MigrationError(changed_message(file))
        told = faults.direct_fault(file, sent, error, message)
        kind = error_class(error.sqlstate)
        if issubclass(kind, LockTimeoutError | SerializationError):
            return kind(told, code=None)
        return MigrationError(told)

    def _encoded(self, message: str) -> bytes:
        encoding = self.connection.info.encoding
        try:
            return message.encode(encoding)
        except UnicodeEncodeError as error:
            character = ascii(message[error.start])
            msg = f"the database's encoding {encoding} cannot hold the character {character}"
            raise MigrationError(msg) from None


def changed_message(file: MigrationFile) -> str:
    """What to say when another runner has applied another text under the same id."""
    return (
        f"{file.source} was applied with another text, a moment ago, by another runner; "
        "make the two folders equal, then run it again"
    )


def _last_answer(cursor: psycopg.Cursor[Any]) -> Mapping[str, Any]:
    rows: list[Any] = []
    while True:
        if cursor.description is not None:
            rows = cursor.fetchall()
        if not cursor.nextset():
            break
    text = rows[0][0] if rows else None
    return json.loads(text) if text else {}
