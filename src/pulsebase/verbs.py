"""Verbs: a function that builds a `Call`, `Steps` or `Pages` becomes one that carries it out.

    HealthCheckModel.create(connection, service_name=…)      the result
    await HealthCheckModel.create(async_connection, …)       the same, awaited
    HealthCheckModel.create(service_name=…)                  over the environment's connection
    HealthCheckModel.create.call(service_name=…)             the value, not carried out

The overloads are written once here; type checkers see every verb with its own parameters.
"""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache, update_wrapper
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar, overload
from uuid import UUID

from pulsebase.connection import AsyncConnection, Call, Connection, Pages, Steps
from pulsebase.errors import PulsebaseError
from pulsebase.settings import Target, resolve
from pulsebase.transports import open_transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import psycopg

    from pulsebase.transports.request import Transport

    SyncDoor: TypeAlias = Connection | psycopg.Connection[Any]
    AsyncDoor: TypeAlias = AsyncConnection | psycopg.AsyncConnection[Any]

P = ParamSpec("P")
T = TypeVar("T")

_SHARED_TRANSPORTS = 8
_VALUES = (str, UUID, timedelta)  # what the verbs take by position


class operation(Generic[P, T]):  # noqa: N801 -- a decorator, written as one
    """A verb that is one call."""

    def __init__(self, build: Callable[P, Call[T]]) -> None:
        self.call = build
        update_wrapper(self, build)

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, door: SyncDoor, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, door: AsyncDoor, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Carry the call out over the door given first, or over the environment's connection."""
        door, rest = _door_and_rest(args)
        return door.execute(self.call(*rest, **kwargs))


class procedure(Generic[P, T]):  # noqa: N801 -- a decorator, written as one
    """A verb that takes several calls."""

    def __init__(self, build: Callable[P, Steps[T]]) -> None:
        self.steps = build
        update_wrapper(self, build)

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, door: SyncDoor, /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def __call__(self, door: AsyncDoor, /, *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Carry the steps out over the door given first, or over the environment's connection."""
        door, rest = _door_and_rest(args)
        return door.run(self.steps(*rest, **kwargs))


class stream(Generic[P, T]):  # noqa: N801 -- a decorator, written as one
    """A verb whose rows are fetched page by page while they are read."""

    def __init__(self, build: Callable[P, Pages[T]]) -> None:
        self.pages = build
        update_wrapper(self, build)

    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]: ...
    @overload
    def __call__(self, door: SyncDoor, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]: ...
    @overload
    def __call__(
        self, door: AsyncDoor, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[T]: ...
    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Iterate over the door given first, or over the environment's connection."""
        door, rest = _door_and_rest(args)
        return door.iterate(self.pages(*rest, **kwargs))


def using(connection: Any) -> Any:
    """An application's own open connection as the door: its transaction is ours.

    Takes a psycopg connection (sync or async), a SQLAlchemy connection or session, a Django
    connection, or a `supabase` client. We never commit, roll back or close it.
    """
    from pulsebase.transports.borrowed import borrow

    transport: Any = borrow(connection)
    asynchronous = iscoroutinefunction(transport.send)
    return AsyncConnection(transport) if asynchronous else Connection(transport)


def _door_and_rest(arguments: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The connection to use, and the verb's own arguments.

    Without a connection a verb's first argument comes first: an id, a name or an age.
    """
    if not arguments or isinstance(arguments[0], _VALUES):
        return door_of(None), arguments
    return door_of(arguments[0]), arguments[1:]


def door_of(given: Any) -> Any:
    """The connection to use: ours, one made from the application's, or the environment's."""
    if isinstance(given, (Connection, AsyncConnection)):
        return given
    if given is not None:
        return using(given)
    return Connection(_shared_transport(resolve(), os.getpid()))


@lru_cache(maxsize=_SHARED_TRANSPORTS)
def _shared_transport(target: Target, process_id: int) -> Transport:
    """The transport of this process for a target; a forked child must not share its sockets."""
    transport = open_transport(target)
    atexit.register(_close_at_exit, transport, process_id)
    return transport


def _close_at_exit(transport: Transport, process_id: int) -> None:
    # A forked child inherits this call too; closing there would end its parent's sessions.
    if os.getpid() == process_id:
        with suppress(PulsebaseError):  # nobody is left to be told
            transport.close()
