"""Brings checks into the database in batches, and keeps them while the database is away.

Checks wait in memory, oldest first, up to a bound; what is lost beyond it is counted and told. Ids
are made when a check is made, so a batch that is sent again after an unclear answer stores nothing
twice. A row that the database refuses for good is dropped alone, and told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from pulsebase.correlation import correlated
from pulsebase.errors import IntegrityError, InvalidDataError, PulsebaseError
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck
from pulsebase.monitor.reachability import Reachability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.spool import Spool

log = logging.getLogger("pulsebase.monitor")

_BATCH_ROWS = 500
_BATCH_WAIT_SECONDS = 1.0
_MOST_WAITING = 100_000
_LONGEST_PAUSE_SECONDS = 30.0
_AHEAD = "checked_at_not_in_future"  # the constraint that a clock ahead of the database's breaks


class Recorder:
    """Stores checks in the background between `start` and `stop`; none is lost without a word."""

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        reachability: Reachability | None = None,
        spool: Spool | None = None,
        most_waiting: int = _MOST_WAITING,
    ) -> None:
        self._connection = connection
        self._reachability = reachability or Reachability()
        self._spool = spool
        self._waiting: deque[NewHealthCheck] = deque()
        self._most_waiting = most_waiting
        self._full = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.failures = 0
        self.recorded = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """How many checks are not stored yet."""
        return len(self._waiting)

    @property
    def spooled(self) -> int:
        """How many checks are on disk and not in the database yet."""
        return 0

    def put(self, check: NewHealthCheck) -> None:
        """Take a check over; when too many wait, the oldest one goes."""
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(check)
        if len(self._waiting) >= _BATCH_ROWS:
            self._full.set()

    def start(self) -> None:
        """Begin to store in the background; a batch is due when it is full or a second old."""
        self._task = asyncio.create_task(self._run(), name="recorder")

    async def stop(self, *, within_seconds: float) -> int:
        """Store what is left, for at most so long; how many checks could not be stored."""
        self._stopping.set()
        self._full.set()
        if self._task is not None:
            try:
                await asyncio.wait_for(self._task, within_seconds)
            except TimeoutError:
                log.warning("the database did not take the last checks in %g s", within_seconds)
        return len(self._waiting)

    async def _run(self) -> None:
        while not self._stopping.is_set():
            await self._pause()
            await self._store_waiting()
        await self._store_waiting()

    async def _pause(self) -> None:
        seconds = min(_LONGEST_PAUSE_SECONDS, _BATCH_WAIT_SECONDS * 2 ** min(self.failures, 10))
        # A full batch cuts the wait short, but not the pause after a failure.
        event = self._stopping if self.failures else self._full
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        self._full.clear()

    async def _store_waiting(self) -> None:
        while batch := list(islice(self._waiting, _BATCH_ROWS)):
            with correlated():
                stored = await self._store(batch)
            if not stored:
                return

    async def _store(self, batch: Sequence[NewHealthCheck]) -> bool:
        try:
            if not await self._store_together(batch):
                await self._store_one_by_one(batch)
        except PulsebaseError as error:
            self._tell_failure(error)
            return False
        self._tell_success(len(batch))
        return True

    async def _store_together(self, batch: Sequence[NewHealthCheck]) -> bool:
        """Whether the batch was stored; not, when the database refuses some row of it for good."""
        try:
            await HealthCheckModel.create_many(self._connection, checks=batch)
        except (IntegrityError, InvalidDataError) as error:
            log.warning("a batch was refused, storing its checks one by one: %s", error)
            return False
        self._forget(batch)
        self.recorded += len(batch)
        return True

    async def _store_one_by_one(self, batch: Sequence[NewHealthCheck]) -> None:
        """Store what can be stored; a row that is refused for good is dropped, and told."""
        for check in batch:
            try:
                await HealthCheckModel.create_many(self._connection, checks=[check])
            except (IntegrityError, InvalidDataError) as error:
                if _AHEAD in str(error):
                    raise  # the clock can be set right, and time goes by: the check waits
                self.dropped += 1
                log.error("the database refuses a check of %r: %s", check.service_name, error)  # noqa: TRY400 -- the sentence says all
            else:
                self.recorded += 1
            self._forget([check])

    def _forget(self, batch: Sequence[NewHealthCheck]) -> None:
        # While the batch was under way `put` may have dropped its oldest rows: compare, not count.
        for check in batch:
            if self._waiting and self._waiting[0] is check:
                self._waiting.popleft()

    def _tell_failure(self, error: PulsebaseError) -> None:
        self.failures += 1
        self._reachability.failed()
        level = logging.WARNING if self.failures == 1 else logging.DEBUG
        log.log(level, "cannot record, %d checks wait: %s", len(self._waiting), error)

    def _tell_success(self, rows: int) -> None:
        if self.failures:
            log.warning("recording again; %d checks still wait", len(self._waiting))
        self.failures = 0
        self._reachability.succeeded()
        log.debug("recorded %d checks", rows)
