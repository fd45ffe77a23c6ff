"""Call functions of somebody else's, which may do anything: also never come back.

A function runs on a thread of its own, and a coroutine on the loop. A thread cannot be ended from
outside; one that does not come back in time is left behind, is counted, and bars the next call of
the same service until it is back. The threads are daemons: they keep no process from ending.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import inspect
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from pulsebase.probes.support.faults import excerpt, own_trouble
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["MOST_LEFT_BEHIND", "Callables", "Called", "told"]

MOST_LEFT_BEHIND: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """What a call gave, or the exception that it raised; its time does not hold the import's."""

    value: Any = None
    error: BaseException | None = None
    elapsed_seconds: float = 0.0


class Callables:
    """The tool that calls; it knows which calls of which service have not come back."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Call] = {}

    async def call(
        self,
        target: str,
        arguments: Mapping[str, Any],
        *,
        service_name: str,
        timeout_seconds: float,
    ) -> Called:
        """Import what `target` names if need be, and call it.

        Raises TimeoutError when it is not back in time, and UnknownHealthError when it cannot be
        loaded or may not be called now.
        """
        self._refuse_second(service_name, target)
        call = _Call(target, arguments)
        self._under_way[service_name] = call
        call.back.add_done_callback(lambda _: self._under_way.pop(service_name, None))
        return await call.result(timeout_seconds)

    async def aclose(self) -> None:
        """Cancel the coroutines; threads cannot be, and are left behind."""
        for call in list(self._under_way.values()):
            call.give_up()

    def _refuse_second(self, service_name: str, target: str) -> None:
        if service_name in self._under_way:
            message = (
                f"{target} has not come back from the look before; it is not called again until "
                "then: let it give up by itself within the timeout"
            )
            raise UnknownHealthError(message)
        if sum(call.is_late for call in self._under_way.values()) >= MOST_LEFT_BEHIND:
            message = (
                f"{MOST_LEFT_BEHIND} callables have not come back, and no more are called until "
                "one does: let them give up by themselves within their timeouts"
            )
            raise UnknownHealthError(message)


class _Call:
    """One call. `back` is done when nothing of it runs any more, however late that is."""

    def __init__(self, target: str, arguments: Mapping[str, Any]) -> None:
        self._target = target
        self._arguments = dict(arguments)
        self._loop = asyncio.get_running_loop()
        self._called_at: float | None = None
        self._task: asyncio.Task[Any] | None = None
        self.is_late = False
        self.back: asyncio.Future[Called] = self._loop.create_future()
        work = partial(contextvars.copy_context().run, self._work)
        try:
            Thread(target=work, name=f"callable {target}", daemon=True).start()
        except RuntimeError as error:  # no more threads
            raise own_trouble(errno.EAGAIN) from error

    async def result(self, timeout_seconds: float) -> Called:
        try:
            # Not wait_for: it would wait on for what ignores being cancelled.
            await asyncio.wait({self.back}, timeout=timeout_seconds)
        finally:
            if not self.back.done():
                self.is_late = True
                self.cancel()
        if self.is_late and self._called_at is None:
            message = f"{self._target} was not imported within {timeout_seconds:g} s"
            raise UnknownHealthError(message)
        if self.is_late:
            raise TimeoutError
        called = self.back.result()
        if isinstance(called.error, UnknownHealthError):
            raise called.error
        elapsed_seconds = self._loop.time() - (self._called_at or self._loop.time())
        return Called(value=called.value, error=called.error, elapsed_seconds=elapsed_seconds)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def give_up(self) -> None:
        self.cancel()
        self.back.cancel()

    def _work(self) -> None:
        """What the thread does: everything up to the first await."""
        try:
            function = _loaded(self._target)
            _check_arguments(self._target, function, self._arguments)
            self._called_at = time.monotonic()
            if inspect.iscoroutinefunction(function):
                tell = partial(self._await, partial(function, **self._arguments))
            else:
                tell = partial(self._returned, function(**self._arguments))
        except BaseException as error:  # noqa: BLE001 -- nobody else is there to catch it
            tell = partial(self._end, Called(error=error))
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell)

    def _returned(self, value: Any) -> None:
        if inspect.isawaitable(value):
            self._await(lambda: value)
        else:
            self._end(Called(value=value))

    def _await(self, begin: Callable[[], Awaitable[Any]]) -> None:
        self._task = self._loop.create_task(self._awaited(begin))
        if self.is_late:
            self._task.cancel()

    async def _awaited(self, begin: Callable[[], Awaitable[Any]]) -> None:
        try:
            self._end(Called(value=await begin()))
        except BaseException as error:  # noqa: BLE001 -- SystemExit in here would end the loop
            self._end(Called(error=error))

    def _end(self, called: Called) -> None:
        if not self.back.done():
            self.back.set_result(called)


def _loaded(target: str) -> Callable[..., Any]:
    module, _, path = target.partition(":")
    try:
        found: Any = import_module(module)
        for name in path.split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:
        message = (
            f"{target} cannot be loaded ({excerpt(told(error))}); install its package where the "
            "monitor runs, or name its folder in PYTHONPATH"
        )
        raise UnknownHealthError(message) from error
    if not callable(found):
        message = f"{target} is no function but of the type {type(found).__name__}; name a function"
        raise UnknownHealthError(message)
    checked: Callable[..., Any] = found
    return checked


def _check_arguments(
    target: str, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C have none
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        message = f"{target} does not take these arguments ({error}); mend arguments"
        raise UnknownHealthError(message) from error


def told(error: BaseException) -> str:
    """The class of an exception and what it says, not yet redacted."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 -- code of others, too
        said = ""
    name = type(error).__name__
    return f"{name}: {said}" if said else name
