"""One connection to PostgreSQL on libpq, driven by asyncio, that can be dropped at any moment.

psycopg's own connection is made for applications: cancelled, it first asks the server to stop and
waits for its answer, which a server that is stuck never gives; and it keeps whatever the server
sends. A probe needs the opposite: a connection that is gone at once when time is up, and bounds on
everything. So this file drives psycopg's `PGconn`, libpq's connection itself.
"""

from __future__ import annotations

import array
import asyncio
import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo

from pulsebase.probes.support.faults import KINDS_BY_ERRNO, OWN_ERRNOS, own_trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg.pq.abc import PGconn, PGresult

    from pulsebase.probes.support.faults import ErrorKind

__all__ = ["LARGEST_ANSWER", "PostgresFaultError", "PostgresSession"]

LARGEST_ANSWER: Final = 1024 * 1024

# Small, so that what a server sends waits with the server and not in our memory.
_RECEIVE_BUFFER: Final = 64 * 1024
_QUERY_CANCELED: Final = "57014"
_SERVER_ENDED: Final = "57P"

# What libpq says when there is no SQLSTATE to go by; the first that is found counts. These words
# are libpq's own, or those of an English server: libpq hands on no code with a refused connection.
_KINDS_BY_WORDS: Final[tuple[tuple[str, ErrorKind], ...]] = (
    ("password authentication failed", "authentication"),
    ("authentication failed", "authentication"),
    ("no password supplied", "authentication"),
    ("no pg_hba.conf entry", "authentication"),
    ("pg_hba.conf rejects", "authentication"),
    ("is not permitted to log in", "authentication"),
    ("permission denied for database", "authentication"),
    ('role "', "authentication"),
    ('database "', "query"),
    ("server closed the connection unexpectedly", "reset"),
    ("SSL SYSCALL error: EOF", "reset"),
    ("certificate", "tls"),
    ("invalid response to SSL negotiation", "protocol"),
    ("SSL", "tls"),
    ("expected authentication request", "protocol"),
    ("unexpected response", "protocol"),
    ("unexpected message", "protocol"),
    ("received invalid", "protocol"),
    ("invalid message", "protocol"),
    ("insufficient data", "protocol"),
    ("lost synchronization", "protocol"),
    ("protocol", "protocol"),
)


class PostgresFaultError(Exception):
    """PostgreSQL, or what stands in its place, refused or broke something; the kind says what."""

    def __init__(self, message: str, *, kind: ErrorKind) -> None:
        self.kind: ErrorKind = kind
        super().__init__(message)


class PostgresSession:
    """A connection that has been made; closing it is immediate and asks nobody."""

    def __init__(self, connection: PGconn) -> None:
        self._connection = connection
        self._received = 0

    @classmethod
    async def connect(cls, settings: Mapping[str, str]) -> PostgresSession:
        """Connect with libpq's settings; host names must have been looked up (`hostaddr`)."""
        conninfo = make_conninfo("", **settings)
        session = cls(pq.PGconn.connect_start(conninfo.encode()))
        try:
            await session._finish_connecting()
        except BaseException:
            session.close()
            raise
        return session

    @property
    def remote_ip(self) -> str:
        """The address that was connected to; empty for a socket in the file system."""
        return _text(self._connection.hostaddr)

    def parameter(self, name: str) -> str | None:
        """What the server has told about itself, such as its `server_version`."""
        value = self._connection.parameter_status(name.encode())
        return None if value is None else _text(value)

    async def script(self, statements: str) -> None:
        """Run statements of ours, several at once."""
        self._connection.send_query(statements.encode())
        await self._results()

    async def rows(self, query: str) -> Sequence[tuple[str | None, ...]]:
        """The rows of one query as text; several statements are refused by the server."""
        self._connection.send_query_params(query.encode(), None)
        result = await self._results()
        return [
            tuple(_cell(result, row, column) for column in range(result.nfields))
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """Let go of the connection; harmless when it is gone."""
        self._connection.finish()

    async def _finish_connecting(self) -> None:
        connection = self._connection
        if connection.status == pq.ConnStatus.BAD:
            raise _refused(connection)
        while (state := connection.connect_poll()) != pq.PollingStatus.OK:
            match state:
                case pq.PollingStatus.READING:
                    await self._until_readable()
                case pq.PollingStatus.WRITING:
                    await self._until_writable()
                    _bound_receive_buffer(connection.socket)
                case _:
                    raise _refused(connection)
        connection.nonblocking = 1

    async def _results(self) -> PGresult:
        """Wait for all results of what was sent; the last, or the first that is an error."""
        connection = self._connection
        last: PGresult | None = None
        try:
            while connection.flush():
                await self._until_writable()
            while True:
                while connection.is_busy():
                    await self._until_readable()
                    connection.consume_input()
                if (result := connection.get_result()) is None:
                    break
                _refuse_errors(result)
                last = result
        except OperationalError as error:
            raise _broken(str(error)) from None
        if last is None:
            message = "the server answered a query with nothing"
            raise PostgresFaultError(message, kind="protocol")
        return last

    async def _until_readable(self) -> None:
        descriptor = self._connection.socket
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(descriptor, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(descriptor)
        self._received += _waiting_bytes(descriptor)
        if self._received > LARGEST_ANSWER:
            message = f"the server sent more than {LARGEST_ANSWER} bytes"
            raise PostgresFaultError(message, kind="body_too_large")

    async def _until_writable(self) -> None:
        descriptor = self._connection.socket
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(descriptor, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(descriptor)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _waiting_bytes(descriptor: int) -> int:
    """How much has arrived and was not read yet."""
    import fcntl  # not on Windows, where the loop could not watch a socket of libpq's either
    import termios

    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, count)
    return count[0]


def _bound_receive_buffer(descriptor: int) -> None:
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connected:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)


def _cell(result: PGresult, row: int, column: int) -> str | None:
    value = result.get_value(row, column)
    return None if value is None else _text(value)


def _refuse_errors(result: PGresult) -> None:
    """Raise what a result says, unless it is rows or an acknowledgement."""
    match result.status:
        case pq.ExecStatus.TUPLES_OK | pq.ExecStatus.COMMAND_OK:
            return
        case pq.ExecStatus.FATAL_ERROR | pq.ExecStatus.NONFATAL_ERROR:
            state = _text(result.error_field(pq.DiagnosticField.SQLSTATE) or b"")
            said = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
        case _:
            message = "the server answered a query with something other than rows"
            raise PostgresFaultError(message, kind="protocol")
    if said is None:  # it is libpq that speaks
        raise _broken(_text(result.error_message))
    message = f"{_text(said)} ({state})"
    raise PostgresFaultError(message, kind=_kind_of_state(state))


def _kind_of_state(state: str) -> ErrorKind:
    if state == _QUERY_CANCELED:
        return "timeout"
    if state.startswith(_SERVER_ENDED):
        return "reset"
    return "authentication" if state.startswith("28") else "query"


def _refused(connection: PGconn) -> Exception:
    said = _text(connection.error_message)
    return _broken(said) if said.strip() else _unsaid()


def _unsaid() -> Exception:
    """The error where libpq has no words, as where it could not even make a socket."""
    try:
        socket.socket().close()
    except OSError as error:
        if error.errno is not None and error.errno in OWN_ERRNOS:
            return own_trouble(error.errno)
    return PostgresFaultError("the connection could not be made", kind="other")


def _broken(message: str) -> Exception:
    """The error for libpq's words, without the advice that it appends on lines of their own."""
    said = " ".join(message.strip().splitlines()[:1])
    for number in OWN_ERRNOS - {errno.EAGAIN}:
        if os.strerror(number) in said:
            return own_trouble(number)
    for number, kind in KINDS_BY_ERRNO.items():
        if os.strerror(number) in said:
            return PostgresFaultError(said, kind=kind)
    for words, kind in _KINDS_BY_WORDS:
        if words in said:
            return PostgresFaultError(said, kind=kind)
    return PostgresFaultError(said, kind="other")


def _text(value: Any) -> str:
    # A server of another encoding, or no PostgreSQL at all, may send any bytes.
    return bytes(value).decode("utf-8", "replace")
