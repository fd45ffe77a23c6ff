"""What goes on beside the turns: a task that ends with its owner, and not without a word."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

__all__ = ["in_background", "repeatedly"]

log = logging.getLogger("pulsebase.monitor")


@asynccontextmanager
async def in_background(work: Coroutine[None, None, None], *, name: str) -> AsyncIterator[None]:
    """Let a coroutine run while the block does."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell_end)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):  # it was told when it happened
            await task


async def repeatedly(work: Callable[[], None], *, every_seconds: float) -> None:
    """Call a function again and again; what it raises is told, and it is called again."""
    while True:
        await asyncio.sleep(every_seconds)
        try:
            work()
        except Exception:
            log.exception("a part of the monitor failed; it goes on")


def _tell_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a part of the monitor ended: %s", task.get_name(), exc_info=error)
