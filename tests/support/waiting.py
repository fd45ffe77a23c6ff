"""Waiting for something that will become true. The only place where the tests sleep."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["wait_until", "wait_until_async"]

T = TypeVar("T")

_PAUSE_SECONDS = 0.02


def wait_until(condition: Callable[[], T], description: str, timeout_seconds: float = 10) -> T:
    """The first true value of the condition; TimeoutError with the description if it never is."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        if value := condition():
            return value
        _complain_after(deadline, description, timeout_seconds)
        time.sleep(_PAUSE_SECONDS)


@overload
async def wait_until_async(
    condition: Callable[[], Awaitable[T]], description: str, timeout_seconds: float = ...
) -> T: ...
@overload
async def wait_until_async(
    condition: Callable[[], T], description: str, timeout_seconds: float = ...
) -> T: ...
async def wait_until_async(
    condition: Callable[[], Any], description: str, timeout_seconds: float = 10
) -> Any:
    """Like `wait_until`, without blocking the event loop; the condition may be a coroutine."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = condition()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        _complain_after(deadline, description, timeout_seconds)
        await asyncio.sleep(_PAUSE_SECONDS)


def _complain_after(deadline: float, description: str, timeout_seconds: float) -> None:
    if time.monotonic() > deadline:
        message = f"waited {timeout_seconds:g} s in vain: {description}"
        raise TimeoutError(message)
