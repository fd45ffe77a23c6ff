"""One WebSocket over a wire of ours, on the part of `websockets` that does no input or output.

Nothing runs in the background and nothing is read ahead: what a server sends without being asked
stays with it, a redirect is an answer like any other, and closing is at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from websockets.client import ClientProtocol
from websockets.exceptions import (
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    PayloadTooBig,
    SecurityError,
    WebSocketException,
)
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from pulsebase.probes.support.network.connecting import NetworkTarget
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from pulsebase.probes.support.faults import ErrorKind
    from pulsebase.probes.support.network.connecting import Journey
    from pulsebase.probes.support.network.wire import Wire

__all__ = ["LARGEST_MESSAGE", "RefusedUpgradeError", "WebSocketSession", "open_websocket"]

LARGEST_MESSAGE: Final = 1024 * 1024

_SWITCHING: Final = 101
_GOODBYE: Final = 1000


class RefusedUpgradeError(Exception):
    """The server answered in HTTP, and not with a WebSocket."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the server answered with the status {status}")


async def open_websocket(
    journey: Journey,
    url: str,
    *,
    headers: Mapping[str, str],
    subprotocols: Sequence[str] = (),
    context: ssl.SSLContext | None,
) -> WebSocketSession:
    """Connect and shake hands; raises RefusedUpgradeError, ServiceError, OSError or EOFError."""
    place = parse_uri(url)
    target = NetworkTarget(host=place.host, port=place.port)
    wire = await journey.connect(target)
    try:
        if context is not None:
            with journey.phase("tls"):
                await wire.start_tls(context, server_name=target.tls_name)
        protocol = ClientProtocol(
            place,
            subprotocols=[Subprotocol(name) for name in subprotocols] or None,
            max_size=LARGEST_MESSAGE,
        )
        session = WebSocketSession(wire, protocol)
        with journey.phase("first_byte"):
            await session.shake_hands(headers)
    except BaseException:
        wire.close()
        raise
    return session


class WebSocketSession:
    """An open WebSocket, which owns its wire."""

    def __init__(self, wire: Wire, protocol: ClientProtocol) -> None:
        self._wire = wire
        self._protocol = protocol
        self._frames: deque[Frame] = deque()

    @property
    def subprotocol(self) -> str | None:
        """What was agreed on; None where nothing was."""
        return self._protocol.subprotocol

    async def shake_hands(self, headers: Mapping[str, str]) -> None:
        """Ask for a WebSocket and wait for the answer."""
        request = self._protocol.connect()
        for name, value in headers.items():
            if name in request.headers:  # several of a name would be added up
                del request.headers[name]
            request.headers[name] = value
        request.headers.setdefault("User-Agent", "pulsebase")
        self._protocol.send_request(request)
        await self._flush()
        while self._protocol.state is State.CONNECTING and self._protocol.handshake_exc is None:
            await self._receive()
        if (refusal := self._protocol.handshake_exc) is not None:
            raise _refused(refusal)

    async def send(self, text: str) -> None:
        """Send one message; raises ServiceError where the server has left already."""
        self._complain_of_the_end()
        self._protocol.send_text(text.encode())
        await self._flush()

    async def receive(self) -> bytes:
        """The next message, of text or not; raises ServiceError where the server leaves."""
        message = bytearray()
        while True:
            while not self._frames:
                self._complain_of_the_end()
                await self._receive()
            frame = self._frames.popleft()
            if frame.opcode not in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
                continue  # a ping is answered already
            message += frame.data
            if frame.fin:
                return bytes(message)

    async def say_goodbye(self) -> None:
        """Close as the protocol has it, without waiting for the answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(_GOODBYE)
            await self._flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection at once."""
        self._wire.close()

    async def _receive(self) -> None:
        # What has arrived already is received without a pause: a server that never stops would
        # hold up everybody, the clock of our timeout too.
        await asyncio.sleep(0)
        if chunk := await self._wire.receive():
            self._protocol.receive_data(chunk)
        else:
            self._protocol.receive_eof()
        await self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frames.append(event)

    async def _flush(self) -> None:
        # An empty piece asks to close for writing, which closing does anyway.
        if data := b"".join(self._protocol.data_to_send()):
            await self._wire.send(data)

    def _complain_of_the_end(self) -> None:
        if self._protocol.state is State.OPEN:
            return
        match self._protocol.parser_exc:
            case PayloadTooBig():
                message = f"a message is larger than {LARGEST_MESSAGE} bytes"
                raise ServiceError(message, kind="body_too_large")
            case EOFError() | None:
                said = self._protocol.close_rcvd
                message = "the server closed the connection" + (f": {said}" if said else "")
                raise ServiceError(message, kind="reset")
            case error:
                message = f"the server broke the protocol: {error}"
                raise ServiceError(message)


def _refused(error: Exception) -> Exception:
    cause = error.__cause__
    match error:
        case InvalidStatus():
            return RefusedUpgradeError(error.response.status_code)
        case InvalidMessage() if isinstance(cause, SecurityError):
            kind: ErrorKind = "body_too_large" if "body" in str(cause) else "headers_too_large"
            return ServiceError(f"the answer is too large: {cause}", kind=kind)
        case InvalidMessage() if isinstance(cause, EOFError):
            return ServiceError("the connection was closed without an answer", kind="reset")
        case InvalidHandshake() | WebSocketException():
            said = f"{error}" + (f": {cause}" if cause else "")
            return ServiceError(f"the answer is no WebSocket's: {said}")
        case _:
            return ServiceError(str(error) or type(error).__name__, kind="reset")
