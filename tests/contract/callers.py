"""One way to call a verb over any door, synchronously or not, so that each test is written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import pulsebase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["AsyncCaller", "Caller", "Door", "SyncCaller"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Door:
    """A way to a migrated database, and the URL for plain SQL on that same database."""

    url: str
    sql_url: str
    key: str | None = None


class Caller(Protocol):
    """Carries verbs out over one open connection of ours."""

    door: Door

    def __call__(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What the verb returns, waited for; a list where it is a stream of rows."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class SyncCaller:
    """Calls over a `Connection`."""

    def __init__(self, door: Door, connection: Any = None, **options: Any) -> None:
        self.door = door
        self.connection = connection or pulsebase.connect(door.url, key=door.key, **options)

    def __call__(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What the verb returns."""
        answer = verb(self.connection, *arguments, **named)
        return list(answer) if isinstance(answer, Iterator) else answer

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class AsyncCaller:
    """Calls over an `AsyncConnection`, on an event loop of its own that lives as long."""

    def __init__(self, door: Door, **options: Any) -> None:
        self.door = door
        self.runner = asyncio.Runner()
        self.connection = pulsebase.connect_async(door.url, key=door.key, **options)

    def __call__(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """What the verb returns, waited for."""
        return self.runner.run(awaited(verb(self.connection, *arguments, **named)))

    def close(self) -> None:
        """Close the connection and the loop."""
        self.runner.run(self.connection.close())
        self.runner.close()


@overload
async def awaited(answer: AsyncIterator[T]) -> list[T]: ...
@overload
async def awaited(answer: Awaitable[T]) -> T: ...
async def awaited(answer: Any) -> Any:
    """The awaited value, or all rows of an async stream."""
    if isinstance(answer, AsyncIterator):
        return [row async for row in answer]
    return await answer
