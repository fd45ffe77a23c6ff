"""One round of delivery, for whoever calls it again and again: cron, a timer, a serverless job."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pulsebase.models.service_state import ServiceStateModel
from pulsebase.monitor.delivering.chores import plan_silences
from pulsebase.monitor.delivering.outgoing import Outgoing
from pulsebase.monitor.reachability import Reachability

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.delivering.sending import Attempt
    from pulsebase.notifiers import Notifier

__all__ = ["Round", "deliver_once"]


@dataclass(frozen=True, slots=True)
class Round:
    """What was attempted, in the order in which it ended, and when it is worth coming again.

    `evaluated` counts the stored checks that nobody had evaluated.
    """

    evaluated: int
    attempts: tuple[Attempt, ...]
    next_due_at: datetime | None


async def deliver_once(connection: AsyncConnection, notifiers: Mapping[str, Notifier]) -> Round:
    """Have stored checks evaluated, and send everything that may go now; wait for nothing.

    A channel at which a message failed for the time being is left for the next round.
    """
    await plan_silences(connection)
    evaluated = await ServiceStateModel.catch_up(connection)
    attempts: list[Attempt] = []
    failed: set[str] = set()
    news = asyncio.Event()

    def ended(attempt: Attempt) -> None:
        attempts.append(attempt)
        if attempt.verdict.outcome == "failed":
            failed.add(attempt.claimed.channel)
        news.set()

    outgoing = Outgoing(connection, notifiers, reachability=Reachability(), ended=ended)
    try:
        while True:
            news.clear()
            taken = await outgoing.claim(leaving_out=failed)
            if taken.count and taken.may_be_more and outgoing.has_room:
                continue
            if not outgoing.under_way:
                return Round(evaluated, tuple(attempts), taken.next_due_at)
            await news.wait()
    finally:
        await outgoing.finish()
