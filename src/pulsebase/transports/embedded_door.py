"""The embedded transport: start the private PostgreSQL at the first call, then talk to it."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pulsebase.errors import UnavailableError
from pulsebase.transports.embedded import EmbeddedServer
from pulsebase.transports.postgres import AsyncPostgresTransport, PostgresTransport

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    import psycopg

    from pulsebase.settings import Target
    from pulsebase.transports.request import Request


class EmbeddedTransport:
    """Calls functions on the embedded server; closing stops the server if nobody else uses it."""

    retries = True

    def __init__(self, target: Target) -> None:
        self._target = target
        self._server = EmbeddedServer(folder_of(target))
        self._lock = Lock()
        self._direct: PostgresTransport | None = None

    def send(self, request: Request) -> Any:
        """Call one function in a transaction of its own."""
        with self._bringing_back():
            return self.direct().send(request)

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction, without waiting for each answer."""
        with self._bringing_back():
            return self.direct().send_many(requests)

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection of the pool, in autocommit, with errors made ours."""
        return self.direct().connection()

    def direct(self) -> PostgresTransport:
        """The direct transport to the running server."""
        with self._lock:
            if self._direct is None:
                self._direct = PostgresTransport(replace(self._target, url=self._server.start()))
            return self._direct

    def close(self) -> None:
        """Close the pool and leave the server."""
        with self._lock:
            direct, self._direct = self._direct, None
        if direct is not None:
            direct.close()
            self._server.stop()

    @contextmanager
    def _bringing_back(self) -> Iterator[None]:
        """Start a server that was lost in mid-use, so that the call can be repeated."""
        try:
            yield
        except UnavailableError:
            self._server.start()
            raise


class AsyncEmbeddedTransport:
    """The same for asyncio."""

    retries = True

    def __init__(self, target: Target) -> None:
        self._target = target
        self._server = EmbeddedServer(folder_of(target))
        self._starting = asyncio.Lock()
        self._direct: AsyncPostgresTransport | None = None

    async def send(self, request: Request) -> Any:
        """Call one function in a transaction of its own."""
        try:
            return await (await self.direct()).send(request)
        except UnavailableError:
            await asyncio.to_thread(self._server.start)
            raise

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction, without waiting for each answer."""
        try:
            return await (await self.direct()).send_many(requests)
        except UnavailableError:
            await asyncio.to_thread(self._server.start)
            raise

    async def direct(self) -> AsyncPostgresTransport:
        """The direct transport to the running server."""
        async with self._starting:
            if self._direct is None:
                url = await asyncio.to_thread(self._server.start)
                self._direct = AsyncPostgresTransport(replace(self._target, url=url))
            return self._direct

    async def close(self) -> None:
        """Close the pool and leave the server."""
        direct, self._direct = self._direct, None
        if direct is not None:
            await direct.close()
            await asyncio.to_thread(self._server.stop)


def folder_of(target: Target) -> Path | None:
    """The folder that `embedded://[folder]` names; None is the default one."""
    parts = urlsplit(target.url)
    text = unquote(f"{parts.netloc}{parts.path}")
    return Path(text) if text else None
