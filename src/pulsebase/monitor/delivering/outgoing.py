"""Claims messages, no more than can be sent at once, and sends each in a task of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from uuid_utils.compat import uuid7

from pulsebase.correlation import correlated
from pulsebase.models.alert_message import AlertMessageModel
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.delivering.sending import Attempt, lease_for, report, send
from pulsebase.monitor.delivering.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime, timedelta
    from uuid import UUID

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.alert_message import ClaimedMessage
    from pulsebase.monitor.reachability import Reachability
    from pulsebase.notifiers import Notifier

__all__ = ["Outgoing", "Taken"]

_NOBODY_LEFT_OUT: Final[Collection[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim brought: how many messages, whether there may be more, and when to ask again."""

    count: int
    may_be_more: bool
    next_due_at: datetime | None


class Outgoing:
    """Sends over the notifiers that it was given last; what is under way keeps the one it has."""

    def __init__(
        self,
        connection: AsyncConnection,
        notifiers: Mapping[str, Notifier],
        *,
        reachability: Reachability,
        ended: Callable[[Attempt], None],
        slots: Slots | None = None,
    ) -> None:
        self.worker: UUID = uuid7()
        self._connection = connection
        self._notifiers = dict(notifiers)
        self._reachability = reachability
        self._ended = ended
        self._slots = slots or Slots()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def under_way(self) -> int:
        """How many messages are being sent or reported."""
        return self._slots.taken

    @property
    def has_room(self) -> bool:
        """Whether a claim could bring anything."""
        return bool(self._slots.open(self._notifiers)[1])

    def update(self, notifiers: Mapping[str, Notifier]) -> None:
        """Send over these from the next claim on."""
        self._notifiers = dict(notifiers)

    async def claim(self, *, leaving_out: Collection[str] = _NOBODY_LEFT_OUT) -> Taken:
        """Take what may be sent now and fits, and begin to send it."""
        notifiers = self._notifiers
        channels, most = self._slots.open(notifiers.keys() - leaving_out)
        if not channels:
            return Taken(0, may_be_more=False, next_due_at=None)
        lease = lease_for(notifiers[name] for name in channels)
        until_seconds = steady_seconds() + lease.total_seconds()
        claim = await AlertMessageModel.claim(
            self._connection, self.worker, channels=channels, lease=lease, max_messages=most
        )
        for message in claim.messages:
            self._begin(message, notifiers[message.channel], until_seconds)
        count = len(claim.messages)
        return Taken(count, may_be_more=count == most, next_due_at=claim.next_due_at)

    async def finish(self, *, within: timedelta | None = None) -> int:
        """Wait until everything under way is over; how many were given up, since time was.

        What is given up may have arrived. Nobody is told so: when its lease ends it is sent again,
        under the same id.
        """
        if not self._tasks:
            return 0
        seconds = None if within is None else within.total_seconds()
        _, left = await asyncio.wait(self._tasks, timeout=seconds)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)

    def _begin(self, message: ClaimedMessage, notifier: Notifier, until_seconds: float) -> None:
        self._slots.take(message.channel)
        work = self._send(message, notifier, until_seconds)
        task = asyncio.create_task(work, name=f"message {message.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(
        self, message: ClaimedMessage, notifier: Notifier, until_seconds: float
    ) -> None:
        with correlated():
            try:
                verdict = await send(message, notifier)
                after = await report(
                    message,
                    verdict,
                    connection=self._connection,
                    reachability=self._reachability,
                    until_seconds=until_seconds,
                )
            finally:
                self._slots.give_back(message.channel)
            self._ended(Attempt(claimed=message, verdict=verdict, message=after))
