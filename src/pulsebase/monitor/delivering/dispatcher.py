"""The loop that has checks evaluated which nobody has, and sends what channels are owed.

Any number of dispatchers may be at work on a database: each message is handed to one of them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from pulsebase.correlation import correlated
from pulsebase.errors import NotMigratedError, PulsebaseError, UnavailableError
from pulsebase.models.service_state import ServiceStateModel
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.counted import counted
from pulsebase.monitor.delivering.chores import Chores
from pulsebase.monitor.delivering.outgoing import Outgoing, Taken
from pulsebase.monitor.delivering.telling import Telling
from pulsebase.monitor.rarely import Rarely, often
from pulsebase.transports.request import AsyncPipeliningTransport

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.delivering.sending import Attempt
    from pulsebase.monitor.reachability import Reachability
    from pulsebase.notifiers import Notifier

__all__ = ["Dispatcher"]

log = logging.getLogger("pulsebase.monitor")

# A round costs two small calls; over HTTPS these are dearer, and may be paid for.
_DIRECT_PAUSE_SECONDS: Final = 1.0
_HTTPS_PAUSE_SECONDS: Final = 5.0
_SHORTEST_SHARE: Final = 0.1
_JUST_NOW_SECONDS: Final = 2.0
_LONGEST_PAUSE_SECONDS: Final = 30.0
_CALL_SECONDS: Final = 20.0
_FAREWELL: Final = timedelta(seconds=5)


class Dispatcher:
    """At work while it is open. `trouble` says why the last round came to nothing, if it did."""

    def __init__(
        self,
        connection: AsyncConnection,
        notifiers: Mapping[str, Notifier],
        *,
        reachability: Reachability,
        pause_seconds: float | None = None,
    ) -> None:
        self._connection = connection
        self._reachability = reachability
        self._pause_seconds = pause_seconds or _pause_seconds(connection)
        self._telling = Telling()
        self._rarely = Rarely()
        self._outgoing = Outgoing(
            connection, notifiers, reachability=reachability, ended=self._ended
        )
        self._chores = Chores(connection)
        self._stopping = False
        self._stirred = asyncio.Event()
        self._has_more = False
        self._failures = 0
        self._failing_since: float | None = None
        self._task: asyncio.Task[None] | None = None
        self.trouble: str | None = None
        self.delivered = 0

    @property
    def failing_seconds(self) -> float:
        """For how long no round has succeeded."""
        since = self._failing_since
        return 0.0 if since is None else steady_seconds() - since

    def update(self, notifiers: Mapping[str, Notifier]) -> None:
        """Deliver over these channels from now on; what is under way goes on undisturbed."""
        self._outgoing.update(notifiers)
        self._stirred.set()

    def stop(self) -> None:
        """Claim nothing more; what is under way goes on until this is closed."""
        self._stopping = True
        self._stirred.set()

    async def _run(self) -> None:
        while not self._stopping:
            with correlated():
                pause_seconds = await self._turn()
            await self._rest(pause_seconds)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _turn(self) -> float:
        """One round, whatever comes of it; after how many seconds the next one is due."""
        self._stirred.clear()
        try:
            taken = await self._round()
            if self._chores.are_due:
                await self._chores.do()
        except NotMigratedError as error:
            self._go_on_without(error, logging.WARNING)
        except (UnavailableError, TimeoutError) as error:
            self._reachability.failed()
            self._go_on_without(error, logging.INFO)  # the recorder tells people
        except PulsebaseError as error:
            self._go_on_without(error, logging.WARNING)
        except Exception as error:
            log.debug("a round of delivery broke", exc_info=True)
            self._go_on_without(error, logging.ERROR)
        else:
            self._note_success()
            return self._seconds_until(taken.next_due_at)
        return self._seconds_after_failure()

    async def _round(self) -> Taken:
        await self._catch_up()
        while True:
            async with asyncio.timeout(_CALL_SECONDS):
                taken = await self._outgoing.claim()
            self._has_more = taken.may_be_more
            if not taken.may_be_more or self._stopping or not self._outgoing.has_room:
                return taken

    async def _catch_up(self) -> None:
        """Have checks evaluated; where that is refused, what is owed is sent all the same."""
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                await ServiceStateModel.catch_up(self._connection)
        except (UnavailableError, NotMigratedError):
            raise
        except PulsebaseError as error:
            if times := self._rarely.times(type(error).__name__):
                log.warning("checks are not caught up with%s: %s", often(times), error)
        self._reachability.succeeded()

    def _ended(self, attempt: Attempt) -> None:
        self.delivered += attempt.verdict.outcome == "delivered"
        self._telling.ended(attempt)
        # What waited for this one, or for room, may go now; not after each of a hundred.
        if not self._outgoing.under_way or (self._has_more and self._outgoing.has_room):
            self._stirred.set()

    def _seconds_until(self, due_at: datetime | None) -> float:
        """Sooner than usual where something is due by then.

        Our clock may be ahead of the database's: what is long due by it is no reason to hurry.
        """
        if due_at is None:
            return self._pause_seconds
        seconds = (due_at - datetime.now(UTC)).total_seconds()
        if seconds < -_JUST_NOW_SECONDS:
            return self._pause_seconds
        return max(_SHORTEST_SHARE * self._pause_seconds, min(self._pause_seconds, seconds))

    def _seconds_after_failure(self) -> float:
        grown = self._pause_seconds * 2.0 ** min(self._failures - 1, 10)
        spread = random.uniform(0.5, 1)  # noqa: S311 -- keeps no secret
        return min(_LONGEST_PAUSE_SECONDS, grown) * spread

    def _note_success(self) -> None:
        if self.trouble is not None:
            log.info("messages are delivered again")
        self.trouble, self._failures, self._failing_since = None, 0, None

    def _go_on_without(self, error: Exception, level: int) -> None:
        """Tell why nothing is delivered: once, until it is another trouble or all is well again."""
        kind = type(error).__name__
        text = str(error) or "no answer in time"
        is_new = self.trouble is None or not self.trouble.startswith(f"{kind}: ")
        log.log(level if is_new else logging.DEBUG, "no messages are delivered: %s", text)
        self.trouble = f"{kind}: {text}"
        self._failures += 1
        if self._failing_since is None:
            self._failing_since = steady_seconds()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="dispatcher")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None  # noqa: S101 -- it was entered
        self.stop()
        ends_at = steady_seconds() + _FAREWELL.total_seconds()
        # A claim under way is let through: what it brings would wait for its lease to end.
        await asyncio.wait({self._task}, timeout=_FAREWELL.total_seconds() / 2)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        left_seconds = max(0.0, ends_at - steady_seconds())
        left = await self._outgoing.finish(within=timedelta(seconds=left_seconds))
        if left:
            log.warning(
                "%s under way, to be sent again by whoever is next", counted(left, "message")
            )


def _pause_seconds(connection: AsyncConnection) -> float:
    is_direct = isinstance(connection.transport, AsyncPipeliningTransport)
    return _DIRECT_PAUSE_SECONDS if is_direct else _HTTPS_PAUSE_SECONDS
