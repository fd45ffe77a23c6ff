"""A server on a free loopback port that does to each connection what it is told, whatever it is.

It knows no protocol: it is for finding out what a client does when the other side breaks one.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    RawBehaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

__all__ = ["RawServer", "endless", "resets_at_once", "silent", "speaks"]


class RawServer:
    """Serves one behaviour; `open_connections` says how many clients are still there."""

    def __init__(
        self, behaviour: RawBehaviour, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._behaviour = behaviour
        self._host = host
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.port = 0

    @property
    def open_connections(self) -> int:
        """How many connections are being served."""
        return len(self._tasks)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, self._host, 0, ssl=self._tls, backlog=1024
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
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._behaviour(reader, writer)
                await writer.drain()
        except asyncio.CancelledError:  # what is still to be sent would keep it open
            writer.transport.abort()
        else:
            writer.close()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Say nothing, and stay until the client goes."""
    while await reader.read(65_536):
        continue


def speaks(answer: bytes) -> RawBehaviour:
    """Wait for the client's first words, say this, and close."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(answer)

    return behave


def endless(*answers: bytes, head: bytes = b"", chunk: bytes) -> RawBehaviour:
    """Answer the client's words, one after the other, and the next with the head and chunks."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65_536)
            writer.write(answer)
        await reader.read(65_536)
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()

    return behave


async def resets_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break the connection when the client has said something."""
    await reader.read(65_536)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
