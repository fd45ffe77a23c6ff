"""The one door to the data: a `Call` goes through a connection and comes back typed.

A verb of a model is written once and knows nothing of sync and async. It returns a value that
says what to ask:

    Call    one request and how to read its answer           made a verb by `operation`
    Steps   a generator that yields calls and gets answers   made a verb by `procedure`
    Pages   rows that take many requests                     made a verb by `stream`

A connection drives any of the three; verbs.py turns the values into verbs.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeAlias, TypeVar

from pulsebase.errors import ConfigurationError, DatabaseError
from pulsebase.settings import resolve
from pulsebase.transports import open_async_transport, open_transport
from pulsebase.transports.request import (
    AsyncPipeliningTransport,
    AsyncTransport,
    PipeliningTransport,
    Request,
    Transport,
)

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T")
R = TypeVar("R")

_CLOSED = "this connection is closed; open another one with pulsebase.connect()"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call of a SQL function: the request, and how to read its JSON answer."""

    request: Request
    decode: Callable[[Any], T]


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """Calls that need not wait for one another.

    A direct connection sends them in one go, as one transaction; others one after another.
    """

    calls: Iterable[Call[T]]


@dataclass(frozen=True, slots=True)
class Pages(Generic[R]):
    """Rows in pages of at most `size`: `page(last)` asks for those that follow the row `last`."""

    page: Callable[[R | None], Call[list[R]]]
    size: int


Steps: TypeAlias = Generator[Call[Any] | Many[Any], Any, T]


class Connection:
    """A door for synchronous code; a context manager that closes what it opened."""

    def __init__(
        self, transport: Transport, *, reopen: Callable[[], Transport] | None = None
    ) -> None:
        self._transport = transport
        self._reopen = reopen
        self._process_id = os.getpid()
        self._is_closed = False
        self._parents: list[Transport] = []

    @property
    def transport(self) -> Transport:
        """What carries the bytes; a forked child gets its own, for sockets cannot be shared."""
        if self._is_closed:
            raise ConfigurationError(_CLOSED)
        if self._process_id != os.getpid() and self._reopen is not None:
            # Kept, not closed: closing would speak on the sockets of the parent.
            self._parents.append(self._transport)
            self._transport, self._process_id = self._reopen(), os.getpid()
        return self._transport

    def execute(self, call: Call[T]) -> T:
        """Send one call; a repeatable one is sent again after a passing fault."""
        try:
            answer = self.transport.send(call.request)
        except DatabaseError as error:
            if not (self.transport.retries and call.request.repeatable and error.retryable):
                raise
            from pulsebase.transports.retry import repeat

            answer = repeat(lambda: self.transport.send(call.request), error)
        return call.decode(answer)

    def run(self, steps: Steps[T]) -> T:
        """Carry out what a generator yields, one step after another; its return value."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._step(step))
        except StopIteration as stop:
            value: T = stop.value
            return value

    def iterate(self, pages: Pages[R]) -> Iterator[R]:
        """All rows, page after page, each page fetched when it is needed."""
        last: R | None = None
        while True:
            rows = self.execute(pages.page(last))
            yield from rows
            if len(rows) < pages.size:
                return
            last = rows[-1]

    def close(self) -> None:
        """Give back what the connection opened; what was handed over stays open."""
        self._is_closed = True
        if self._process_id == os.getpid():
            self._transport.close()

    def _step(self, step: Call[Any] | Many[Any]) -> Any:
        if isinstance(step, Call):
            return self.execute(step)
        if not isinstance(self.transport, PipeliningTransport):
            return [self.execute(call) for call in step.calls]
        flight = _Flight(step.calls)
        try:
            answers = self.transport.send_many(flight.requests())
        except DatabaseError as error:
            if not (self.transport.retries and error.retryable) or flight.failure:
                # The caller's own error, if that is what ended the sending.
                raise flight.failure or error from None
            # Nothing of the pipeline's transaction is there, or all of it: both are safe to repeat.
            return [self.execute(call) for call in flight.remaining()]
        return flight.decoded(answers)

    def __enter__(self) -> Self:
        """The connection itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()


class AsyncConnection:
    """A door for asyncio code; an async context manager that closes what it opened."""

    def __init__(
        self, transport: AsyncTransport, *, reopen: Callable[[], AsyncTransport] | None = None
    ) -> None:
        self._transport = transport
        self._reopen = reopen
        self._process_id = os.getpid()
        self._is_closed = False
        self._parents: list[AsyncTransport] = []

    @property
    def transport(self) -> AsyncTransport:
        """What carries the bytes; a forked child gets its own, for sockets cannot be shared."""
        if self._is_closed:
            raise ConfigurationError(_CLOSED)
        if self._process_id != os.getpid() and self._reopen is not None:
            # Kept, not closed: closing would speak on the sockets of the parent.
            self._parents.append(self._transport)
            self._transport, self._process_id = self._reopen(), os.getpid()
        return self._transport

    async def execute(self, call: Call[T]) -> T:
        """Send one call; a repeatable one is sent again after a passing fault."""
        try:
            answer = await self.transport.send(call.request)
        except DatabaseError as error:
            if not (self.transport.retries and call.request.repeatable and error.retryable):
                raise
            from pulsebase.transports.retry import repeat_async

            answer = await repeat_async(lambda: self.transport.send(call.request), error)
        return call.decode(answer)

    async def run(self, steps: Steps[T]) -> T:
        """Carry out what a generator yields, one step after another; its return value."""
        try:
            step = next(steps)
            while True:
                step = steps.send(await self._step(step))
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def iterate(self, pages: Pages[R]) -> AsyncIterator[R]:
        """All rows, page after page, each page fetched when it is needed."""
        last: R | None = None
        while True:
            rows = await self.execute(pages.page(last))
            for row in rows:
                yield row
            if len(rows) < pages.size:
                return
            last = rows[-1]

    async def close(self) -> None:
        """Give back what the connection opened; what was handed over stays open."""
        self._is_closed = True
        if self._process_id == os.getpid():
            await self._transport.close()

    async def _step(self, step: Call[Any] | Many[Any]) -> Any:
        if isinstance(step, Call):
            return await self.execute(step)
        if not isinstance(self.transport, AsyncPipeliningTransport):
            return [await self.execute(call) for call in step.calls]
        flight = _Flight(step.calls)
        try:
            answers = await self.transport.send_many(flight.requests())
        except DatabaseError as error:
            if not (self.transport.retries and error.retryable) or flight.failure:
                # The caller's own error, if that is what ended the sending.
                raise flight.failure or error from None
            return [await self.execute(call) for call in flight.remaining()]
        return flight.decoded(answers)

    async def __aenter__(self) -> Self:
        """The connection itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.close()


class _Flight:
    """The calls of a pipeline, made while they are sent, and the error if making one failed."""

    def __init__(self, calls: Iterable[Call[Any]]) -> None:
        self._calls = iter(calls)
        self.sent: list[Call[Any]] = []
        self.failure: Exception | None = None

    def requests(self) -> Iterator[Request]:
        """The requests of the calls; the calls stay in `sent`."""
        try:
            for call in self._calls:
                self.sent.append(call)
                yield call.request
        except Exception as error:
            # The caller's own iterable failed. It cannot be read again, so what came of it so far
            # must not pass for the whole.
            self.failure = error
            raise

    def remaining(self) -> Iterator[Call[Any]]:
        """All calls one by one, those that were sent before as well."""
        yield from self.sent
        yield from self._calls

    def decoded(self, answers: Iterable[Any]) -> list[Any]:
        """What the answers mean."""
        return [call.decode(answer) for call, answer in zip(self.sent, answers, strict=True)]


def connect(
    url: str | None = None,
    *,
    key: str | None = None,
    connect_timeout_seconds: float = 5.0,
    statement_timeout_seconds: float = 30.0,
) -> Connection:
    """A connection for synchronous code; nothing is opened before the first call.

    `url` is `postgresql://…`, the `https://…` address of a Supabase project or PostgREST server
    (with its service `key`), or `embedded://[folder]`. Without one the environment decides
    (PULSEBASE_URL, DATABASE_URL, SUPABASE_URL), and at last the embedded server.
    Raises ConfigurationError when the address cannot be used.
    """
    target = resolve(
        url,
        key,
        connect_timeout_seconds=connect_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
    )
    return Connection(open_transport(target), reopen=lambda: open_transport(target))


def connect_async(
    url: str | None = None,
    *,
    key: str | None = None,
    connect_timeout_seconds: float = 5.0,
    statement_timeout_seconds: float = 30.0,
) -> AsyncConnection:
    """A connection for asyncio code; the same arguments, promises and errors as `connect`."""
    target = resolve(
        url,
        key,
        connect_timeout_seconds=connect_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
    )
    return AsyncConnection(
        open_async_transport(target), reopen=lambda: open_async_transport(target)
    )
