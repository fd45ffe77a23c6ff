"""A server on a free local port that speaks first, as mail servers and SSH do, or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.raw_server import RawServer

if TYPE_CHECKING:
    import ssl

    from tests.support.lying_server import Behaviour

__all__ = ["TalkingServer", "echoes", "plays", "trickles"]


class TalkingServer(RawServer):
    """Serves one behaviour of `lying_server` at once, without waiting to be asked."""

    def __init__(self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._talk, tls=tls)
        self._words = behaviour
        self.asked = asyncio.Event()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self._words(reader, writer, b"")


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
