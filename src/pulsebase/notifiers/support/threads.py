"""Calls that may hang, beside the event loop."""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["in_thread"]

AnswerT = TypeVar("AnswerT")


async def in_thread(call: Callable[[], AnswerT], *, timeout_seconds: float) -> AnswerT:
    """What a blocking call answers; TimeoutError when it takes too long.

    It has a thread of its own that nobody waits for: one that hangs in somebody's library keeps
    neither the others from their turn nor the process from its end.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[AnswerT] = loop.create_future()

    def settle(set_answer: Callable[[Any], None], value: Any) -> None:
        if not answer.done():
            set_answer(value)

    def work() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 -- it is raised again where it is awaited
            arguments: tuple[Any, ...] = (settle, answer.set_exception, error)
        else:
            arguments = (settle, answer.set_result, result)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(*arguments)

    context = contextvars.copy_context()
    Thread(target=context.run, args=(work,), name="pulsebase-notifier", daemon=True).start()
    async with asyncio.timeout(timeout_seconds):
        return await answer
