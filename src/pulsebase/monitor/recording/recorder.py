"""Brings checks into the database in batches, and keeps them while the database is away.

Two tasks share the checks. The sender takes the oldest ones (those of the spool first) and brings
them into the database, one batch after another, so that they arrive in their order. The keeper
looks at how long the others have waited: what the database has not acknowledged half a second after
it was made goes to the spool, whether it is on its way or not. So a crash loses less than a second,
and as long as the database answers in time no disk is touched.

Ids are made when a check is made, so what is sent again after an unclear answer, or was kept while
it was on its way, is stored once. A row that the database refuses for good is dropped alone, and
told.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

from pulsebase.correlation import correlated
from pulsebase.errors import (
    IntegrityError,
    InvalidDataError,
    PulsebaseError,
    UnavailableError,
)
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck
from pulsebase.monitor.counted import counted
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.recording.spool import Spool
from pulsebase.monitor.recording.waiting import WaitingChecks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.recording.spool_file import KeptCheck
    from pulsebase.monitor.recording.spool_store import Loan

    Rows: TypeAlias = Sequence[NewHealthCheck] | Sequence[KeptCheck]

__all__ = ["Recorder"]

log = logging.getLogger("pulsebase.monitor")

_FEWEST_ROWS, _MOST_ROWS = 1, 5000
_FULL_BATCH_ROWS = 1000
_BATCH_WAIT_SECONDS = 0.25
_KEEP_AFTER_SECONDS = 0.5
_ATTEMPT_SECONDS = 15.0
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
_LONGEST_ASKED_SECONDS = 15.0
_MOST_WAITING = 200_000
_AHEAD = "checked_at_not_in_future"  # the constraint that a clock ahead of the database's breaks


@dataclass(slots=True)
class _Flight:
    """Rows on their way into the database, oldest first; a `loan` where the spool has them, too."""

    rows: Rows
    since_seconds: float
    loan: Loan | None = None


class Recorder:
    """Stores checks in the background between `start` and `stop`; none is lost without a word.

    `recorded` counts what this process brought into the database, `dropped` what was lost: refused
    rows, and what did not fit into the spool. `failures` counts the attempts that failed in a row,
    and `trouble` says why the last one did.
    """

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
        self._spool = spool or Spool()
        self._waiting = WaitingChecks(most_waiting)
        self._flight: _Flight | None = None
        self._moving = 0
        # How many rows the next batch may have: fewer after a failure, more after a success.
        self._rows = _FULL_BATCH_ROWS
        self._lock = asyncio.Lock()  # whose turn it is to move checks from one place to another
        self._news = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended = False
        self._keeping = self._spool.count > 0
        self._dropping = False
        self._asked_seconds = 0.0  # by the server, before it is asked again
        self._refused = 0
        self._told_dropped = 0
        self.recorded = 0
        self.failures = 0
        self.trouble: str | None = None

    @property
    def waiting(self) -> int:
        """How many checks are in memory only, and not stored yet."""
        flight = self._flight
        flying = len(flight.rows) if flight and not flight.loan else 0
        return self._waiting.count + flying + self._moving + self._spool.in_memory

    @property
    def spooled(self) -> int:
        """How many checks are on disk, and not stored yet."""
        return self._spool.on_disk

    @property
    def dropped(self) -> int:
        """How many checks are lost."""
        return self._refused + self._crowded_out

    @property
    def _crowded_out(self) -> int:
        return self._waiting.dropped + self._spool.dropped

    def put(self, check: NewHealthCheck) -> None:
        """Take a check over; when too many wait, the oldest one goes."""
        self._waiting.add(check)
        if self._waiting.count in (1, _FULL_BATCH_ROWS):
            self._news.set()

    def start(self) -> None:
        """Begin to store in the background; a batch is due when it is full or a moment old."""
        self._tasks = [
            asyncio.create_task(self._send_until_stopped(), name="recorder"),
            asyncio.create_task(self._keep_until_stopped(), name="keeper"),
        ]

    async def stop(self, *, within_seconds: float) -> int:
        """Store what is left, for at most so long, and keep the rest.

        How many checks are neither stored nor safe in the spool.
        """
        self._stopping.set()
        self._news.set()
        for task in self._tasks[:1]:
            await asyncio.wait({task}, timeout=within_seconds)
            if not task.done():
                log.warning("the database did not take the last checks in %g s", within_seconds)
                task.cancel()
                # A driver may wish to say goodbye to a server that does not listen.
                await asyncio.wait({task}, timeout=1)
        self._ended = True
        self._news.set()
        for task in self._tasks[1:]:
            await task
        await self._keep_all()
        self._flight = None
        self._tell_dropped()
        return await self._spool.close()

    # The sender.

    async def _send_until_stopped(self) -> None:
        while await self._due():
            with correlated():
                got_through = await self._attempt()
            if not got_through and not await self._pause():
                return

    async def _due(self) -> bool:
        """Wait until there is something to send; not, when there is nothing left at the end."""
        while True:
            self._news.clear()
            if self._spool.count or self._waiting.count >= _FULL_BATCH_ROWS:
                return True
            if self._stopping.is_set():
                return self._waiting.count > 0
            since = self._waiting.since_seconds
            until = None if since is None else since + _BATCH_WAIT_SECONDS
            if until is not None and until <= time.monotonic():
                return True
            await _wait(self._news, until)

    async def _attempt(self) -> bool:
        """Bring the oldest checks into the database; whether it took them."""
        try:
            if not (flight := await self._next_flight()):
                return True
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                await self._store(flight)
        except TimeoutError:
            self._tell_failure(f"the database did not answer within {_ATTEMPT_SECONDS:g} s")
        except PulsebaseError as error:
            self._tell_failure(error)
        except Exception as error:
            log.exception("the recorder stumbled; it goes on")
            self._tell_failure(error)
        else:
            self._tell_success()
            return True
        await self._keep_all()
        await self._end_flight()
        return False

    async def _next_flight(self) -> _Flight | None:
        async with self._lock:
            now = time.monotonic()
            if self._spool.count:
                loan = await self._spool.borrow(self._rows)
                self._flight = _Flight(loan.rows, now, loan) if loan else None
            else:
                since = self._waiting.since_seconds or now
                rows = self._waiting.take(self._rows)
                self._flight = _Flight(rows, since) if rows else None
            return self._flight

    async def _store(self, flight: _Flight) -> None:
        """Store a flight; where some row is refused, the others without it, in their order."""
        parts = [flight.rows]
        while parts:
            part = parts.pop()
            try:
                await self._create(part)
            except (IntegrityError, InvalidDataError) as error:
                self._reachability.succeeded()
                if len(part) > 1:
                    log.debug("a batch of %d was refused, trying its halves: %s", len(part), error)
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue
                if _AHEAD in str(error):
                    raise  # the clock can be set right, and time goes by: the check waits
                self._refused += 1
                name = part[0].service_name
                log.error("the database refuses a check of %r: %s", name, error)  # noqa: TRY400 -- the sentence says all
            else:
                self.recorded += len(part)
            await self._acknowledge(flight, len(part))

    async def _create(self, rows: Rows) -> None:
        # A row of the spool has what `create_many` asks of a check: the JSON that was checked when
        # it was made. To judge it again could only lose it, were the clock set back meanwhile.
        checks = cast("Sequence[NewHealthCheck]", rows)
        await HealthCheckModel.create_many(self._connection, checks=checks)
        self._reachability.succeeded()

    async def _acknowledge(self, flight: _Flight, rows: int) -> None:
        """Forget the first rows of a flight."""
        async with self._lock:
            flight.rows = flight.rows[rows:]
            if flight.loan:
                await self._spool.settle(flight.loan, rows)
                flight.loan = flight.loan.after(rows)
            if not flight.rows:
                self._flight = None

    async def _end_flight(self) -> None:
        """After a failure: what was on its way has been kept, and is the oldest of the spool."""
        async with self._lock:
            if self._flight and self._flight.loan:
                await self._spool.take_back(self._flight.loan)
            self._flight = None

    async def _pause(self) -> bool:
        """Wait before the next attempt; whether there shall be one."""
        grown = _FIRST_PAUSE_SECONDS * 2 ** min(self.failures - 1, 10)
        own = min(_LONGEST_PAUSE_SECONDS, grown) * random.uniform(0.5, 1)  # noqa: S311 -- no secret
        seconds = max(own, min(_LONGEST_ASKED_SECONDS, self._asked_seconds))
        event = self._stopping
        if event.is_set():
            if not self.waiting:
                return False  # all that is left is safe
            event = asyncio.Event()
        await _wait(event, time.monotonic() + seconds)
        return True

    # The keeper.

    async def _keep_until_stopped(self) -> None:
        while not self._ended:
            self._news.clear()
            since = self._unsafe_since_seconds()
            until = None if since is None else since + self._patience_seconds()
            if until is None or until > time.monotonic():
                await _wait(self._news, until)
                continue
            try:
                await self._keep_all()
            except Exception:
                log.exception("the recorder could not keep checks; it tries again")
                await _wait(self._stopping, time.monotonic() + 1)

    def _unsafe_since_seconds(self) -> float | None:
        """Since when the oldest check is in memory only."""
        if self._flight and self._flight.rows and not self._flight.loan:
            return self._flight.since_seconds
        return self._waiting.since_seconds

    def _patience_seconds(self) -> float:
        return _BATCH_WAIT_SECONDS if self.failures else _KEEP_AFTER_SECONDS

    async def _keep_all(self) -> None:
        """Bring all that is in memory only into the spool; what is on its way stays on its way."""
        async with self._lock:
            flight = self._flight if self._flight and not self._flight.loan else None
            flying = cast("Sequence[NewHealthCheck]", flight.rows) if flight else []
            rows = self._waiting.take(self._waiting.count)
            if not flying and not rows:
                return
            self._moving = len(rows)
            try:
                loan = await self._spool.keep([*flying, *rows], flying=len(flying))
            except BaseException:
                self._waiting.put_back(rows)
                raise
            finally:
                self._moving = 0
            if flight:
                flight.loan = loan
        self._tell_kept()

    # What people are told: once when it begins, once when it is over.

    def _tell_kept(self) -> None:
        if not self._keeping:
            place = self._spool.place if self._spool.on_disk else "memory"
            log.info("the database does not answer in time; checks go to %s", place)
            self._keeping = True
        if self._crowded_out > self._told_dropped and not self._dropping:
            log.warning("the spool is full: checks are dropped until the database is back")
            self._dropping = True

    def _tell_failure(self, error: object) -> None:
        self.failures += 1
        self.trouble = str(error)
        self._asked_seconds = getattr(error, "retry_after_seconds", None) or 0.0
        self._reachability.failed()
        if not isinstance(error, UnavailableError):
            # It may be the size of the batch that the database, or a proxy before it, cannot bear.
            self._rows = max(_FEWEST_ROWS, self._rows // 2)
        level = logging.WARNING if self.failures == 1 else logging.DEBUG
        waiting = counted(self.waiting + self.spooled, "check")
        log.log(level, "cannot record, %s waiting: %s", waiting, error)

    def _tell_success(self) -> None:
        self._rows = min(_MOST_ROWS, self._rows * 2)
        if self.failures:
            waiting = counted(self.waiting + self.spooled, "check")
            log.warning("recording again; %s still waiting", waiting)
        self.failures, self.trouble = 0, None
        if self._keeping and not self._spool.count:
            log.info("every check that was kept is in the database")
            self._keeping = False
            self._tell_dropped()

    def _tell_dropped(self) -> None:
        dropped = self._crowded_out - self._told_dropped
        if dropped:
            lost = counted(dropped, "check")
            log.warning("lost %s, since the spool was full or damaged", lost)
        self._told_dropped = self._crowded_out
        self._dropping = False


async def _wait(event: asyncio.Event, until_seconds: float | None) -> None:
    """Until the event, or until a monotonic time."""
    delay = None if until_seconds is None else max(0.0, until_seconds - time.monotonic())
    with suppress(TimeoutError):
        async with asyncio.timeout(delay):
            await event.wait()
