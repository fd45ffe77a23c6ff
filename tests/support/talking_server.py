"""A server on a free local port that speaks first, as mail servers and SSH do, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]

__all__ = ["TalkingServer", "echoes", "plays", "trickles"]


class TalkingServer:
    """Serves one behaviour of `lying_server` at once, without waiting to be asked."""

    def __init__(self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> None:
        self._behaviour = behaviour
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.asked = asyncio.Event()
        self.connections = 0
        self.port = 0

    @property
    def open_connections(self) -> int:
        """How many clients are still there."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        self.asked.set()
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            await self._behaviour(reader, writer, b"")
            await writer.drain()
        writer.close()


def trickles(text: bytes, *, pause_seconds: float = 0.02) -> Behaviour:
    """Say the text, for ever again, one byte after the other."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        never = asyncio.get_running_loop().create_future()
        while True:
            for byte in text:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.wait([never], timeout=pause_seconds)

    return behave


def echoes() -> Behaviour:
    """Say what the client says."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
            await writer.drain()

    return behave


def plays(*lines: bytes) -> Behaviour:
    """Say the first line, and each further one when the client has said one; then wait."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        for line in lines:
            writer.write(line)
            await writer.drain()
            await reader.readline()
        await reader.read()

    return behave
