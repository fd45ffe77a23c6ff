"""The two services that the demo watches: one steady, one that turns slow, fails and recovers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Handler = Callable[[], Awaitable[int]]

_HEALTHY_SECONDS, _SLOW_SECONDS, _FAILING_SECONDS, _RECOVERED_SECONDS = 5.0, 4.0, 4.0, 7.0
_ROUND_SECONDS = _HEALTHY_SECONDS + _SLOW_SECONDS + _FAILING_SECONDS + _RECOVERED_SECONDS
_SLOW_ANSWER_SECONDS = 0.35


@asynccontextmanager
async def demo_services() -> AsyncIterator[dict[str, str]]:
    """Serve both on free loopback ports while the block runs; their URLs by name."""
    clock = asyncio.get_running_loop().time
    started_at = clock()

    async def steady() -> int:
        return 200

    async def wobbly() -> int:
        elapsed = (clock() - started_at) % _ROUND_SECONDS - _HEALTHY_SECONDS
        if 0 <= elapsed < _SLOW_SECONDS:
            await asyncio.sleep(_SLOW_ANSWER_SECONDS)
        return 503 if _SLOW_SECONDS <= elapsed < _SLOW_SECONDS + _FAILING_SECONDS else 200

    async with _served(steady) as steady_url, _served(wobbly) as wobbly_url:
        yield {"steady": steady_url, "wobbly": wobbly_url}


@asynccontextmanager
async def _served(handler: Handler) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            status = await handler()
            body = b"ok\n" if status == HTTPStatus.OK else b"out of order\n"
            writer.write(b"HTTP/1.1 %d Demo\r\nContent-Length: %d\r\n" % (status, len(body)))
            writer.write(b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server:
        yield f"http://{host}:{port}/"
