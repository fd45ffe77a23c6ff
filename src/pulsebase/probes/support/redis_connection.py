"""One connection to Redis on redis-py, over a socket of ours and within bounds.

redis-py brings the commands, the authentication and the parser. The socket is connected before, so
that errors keep their kind; and what the server sends is counted as it arrives, because a parser
waits for as many bytes as a server announces.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, SupportsIndex

from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    RedisError,
    ResponseError,
)

from pulsebase.probes.support.faults import kind_of
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterable

    from pulsebase.probes.support.faults import ErrorKind

__all__ = ["BoundedConnection", "Credentials"]

# What is asked for is far smaller; and a parser that is fed rubbish holds up everybody meanwhile.
LARGEST_ANSWER: Final = 128 * 1024

# What redis-py's parser stumbles over when what it reads is not of the protocol.
_PARSER_STUMBLES: Final = (ValueError, TypeError, LookupError, AttributeError, RecursionError)

Credentials = dict[str, Any]


class BoundedConnection(Connection):
    """A connection over a connected socket, which it owns; it is never made again."""

    def __init__(self, endpoint: socket.socket, credentials: Credentials) -> None:
        super().__init__(
            **credentials,
            protocol=2,
            driver_info=None,
            encoding_errors="surrogateescape",
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self._endpoint = endpoint
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open_streams(
        self, context: ssl.SSLContext | None = None, *, server_name: str | None = None
    ) -> None:
        """Shake hands, where there is a context; raises OSError, of which ssl.SSLError is one."""
        loop = asyncio.get_running_loop()
        reader = _BoundedReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(
            lambda: protocol, sock=self._endpoint, ssl=context, server_hostname=server_name
        )
        self._streams = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def greet(self) -> None:
        """Authenticate and choose the database; raises ServiceError."""
        try:
            await self.connect()  # type: ignore[no-untyped-call]  # in redis-py
        except (RedisError, *_PARSER_STUMBLES) as error:
            raise _service_error(error) from error

    async def ask(self, *command: str | int) -> Any:
        """What the server answers to a command; raises ServiceError."""
        try:
            await self.send_command(*command)
            return await self.read_response(disconnect_on_error=False)
        except (RedisError, *_PARSER_STUMBLES) as error:
            raise _service_error(error) from error

    def abort(self) -> None:
        """Let go at once."""
        self._reader = self._writer = None
        if self._streams is None:
            self._endpoint.close()
        else:
            self._streams[1].transport.abort()

    async def _connect(self) -> None:
        # The way by which redis-py's own kinds of connection differ: TCP, TLS, the file system.
        if self._streams is None:
            message = "the streams are opened first"
            raise RuntimeError(message)
        self._reader, self._writer = self._streams


class _BoundedReader(asyncio.StreamReader):
    """Gives up, and keeps nothing more, once a server has sent too much."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._received = 0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        chunk = bytes(data)
        self._received += len(chunk)
        if self._received <= LARGEST_ANSWER:
            super().feed_data(chunk)
        elif self.exception() is None:
            message = f"the server sent more than {LARGEST_ANSWER} bytes"
            self.set_exception(ServiceError(message, kind="body_too_large"))


def _service_error(error: Exception) -> ServiceError:
    """redis-py's error with its kind; what it wrapped is told as it was."""
    cause = error.__cause__ or error.__context__
    match error, cause:
        case _, ServiceError():
            return cause
        case _, OSError() | EOFError():
            return ServiceError(str(cause) or type(cause).__name__, kind=kind_of(cause))
        case (InvalidResponse(), _) | (RecursionError(), _):
            return ServiceError("what answers does not speak Redis's protocol")
        case RedisError(), _:
            return ServiceError(str(error), kind=_kind(error))
        case _:
            return ServiceError("what answers does not speak Redis's protocol")


def _kind(error: RedisError) -> ErrorKind:
    match error:
        case AuthenticationError():
            return "authentication"
        case ResponseError() | BusyLoadingError():
            return "query"
        case _:
            return "reset"
