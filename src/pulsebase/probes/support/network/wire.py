"""Bytes over one connection, in the clear or in TLS, read only when somebody asks for them.

asyncio's streams read ahead, and hold what a server sends whether it is wanted or not. Here the
kernel's buffers are all that a flood can fill, and closing is at once.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from pulsebase.probes.support.faults import ErrorKind

__all__ = ["LARGEST_CHUNK", "ServiceError", "Wire"]

LARGEST_CHUNK: Final = 16 * 1024

_MOST_LAST_WORDS: Final = 16
# How OpenSSL calls the alerts by which a server refuses a client.
_REFUSALS: Final = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "HANDSHAKE_FAILURE")

T = TypeVar("T")


class ServiceError(Exception):
    """A service did something that is no answer; `kind` says what."""

    def __init__(self, message: str, *, kind: ErrorKind = "protocol") -> None:
        self.kind: ErrorKind = kind
        super().__init__(message)


class Wire:
    """A connected socket, which it owns. Not for two tasks at once."""

    def __init__(self, endpoint: socket.socket) -> None:
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        self._ahead = b""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls: ssl.SSLObject | None = None

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        if (tls := self.tls) is None:
            await self._loop.sock_sendall(self._endpoint, data)
        else:
            # The buffer in between takes everything at once.
            await self._in_tls(lambda: tls.write(data))

    async def receive(self) -> bytes:
        """What comes next, at most LARGEST_CHUNK bytes; empty when the server has closed."""
        if self._ahead:
            chunk, self._ahead = self._ahead, b""
            return chunk
        if (tls := self.tls) is None:
            return await self._receive_some()
        try:
            return await self._in_tls(lambda: tls.read(LARGEST_CHUNK))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def receive_exactly(self, count: int, *, begun: bool = False) -> bytes:
        """So many bytes; raises EOFError if the server closes before.

        Raises ConnectionResetError instead where that is before the first, unless the answer has
        `begun` already.
        """
        found = b""
        while len(found) < count:
            found += await self._receive_more(begun=begun or bool(found))
        self._ahead = found[count:]
        return found[:count]

    async def receive_line(self, *, longest: int) -> bytes:
        """A line without its end; raises EOFError if the server closes within it.

        Raises ServiceError once it is longer than `longest`.
        """
        found = b""
        while b"\n" not in found:
            if len(found) > longest:
                message = f"a line is longer than {longest} bytes"
                raise ServiceError(message)
            found += await self._receive_more(begun=bool(found))
        line, _, self._ahead = found.partition(b"\n")
        return line.rstrip(b"\r")

    async def start_tls(self, context: ssl.SSLContext, *, server_name: str) -> ssl.SSLObject:
        """Shake hands; raises ssl.SSLError, and ConnectionError where the server just leaves."""
        if self._ahead:
            # Said in the clear, it would be taken for something said in confidence.
            message = "the server said more before the TLS handshake than the protocol allows"
            raise ServiceError(message)
        tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        try:
            await self._in_tls(tls.do_handshake)
        except ssl.SSLEOFError as error:
            message = "the connection was closed during the TLS handshake"
            raise ConnectionResetError(message) from error
        self.tls = tls
        return tls

    async def say_goodbye(self, *, within_seconds: float) -> None:
        """End TLS and wait a moment for what the server says to that; raises ssl.SSLError.

        In TLS 1.3 a client is through with the handshake before the server has looked at its
        certificate: that it was refused is said only now.
        """
        if (tls := self.tls) is None:
            return
        try:
            async with asyncio.timeout(within_seconds):
                with suppress(ssl.SSLWantReadError):  # the server's own goodbye, not yet there
                    tls.unwrap()
                await self._flush()
                # OpenSSL passes over an alert where it waits for a goodbye, and not where it reads.
                for _ in range(_MOST_LAST_WORDS):
                    if not await self.receive():
                        break
        except (TimeoutError, ConnectionError):
            return
        except ssl.SSLError as error:
            # A server may end a conversation in which nothing was said as rudely as it likes.
            if any(word in (error.reason or "") for word in _REFUSALS):
                raise

    def close(self) -> None:
        """Close at once."""
        self._endpoint.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close at once."""
        self.close()

    async def _receive_more(self, *, begun: bool) -> bytes:
        if chunk := await self.receive():
            return chunk
        message = "the connection was closed " + ("in mid-answer" if begun else "without a word")
        raise EOFError(message) if begun else ConnectionResetError(message)

    async def _in_tls(self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                with suppress(OSError):  # an alert, which tells the server why
                    await self._flush()
                raise
            else:
                await self._flush()
                return result

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._endpoint, self._outgoing.read())

    async def _fill(self) -> None:
        if chunk := await self._receive_some():
            self._incoming.write(chunk)
        else:
            self._incoming.write_eof()

    async def _receive_some(self) -> bytes:
        # Where bytes wait already, the line below does not, nor does the deadline get its turn.
        await asyncio.sleep(0)
        return await self._loop.sock_recv(self._endpoint, LARGEST_CHUNK)
