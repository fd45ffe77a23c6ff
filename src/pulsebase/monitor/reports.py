"""What jobs have reported, read from the database for the heartbeats among the services.

A missing report says something about a job only if the job could have reported. So this keeps in
mind when the database was away, by everything that this process knows of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from pulsebase.correlation import correlated
from pulsebase.errors import PulsebaseError
from pulsebase.models.health_check import HealthCheckModel
from pulsebase.probes import UnknownHealthError
from pulsebase.probes.support.reports import Report, Reports

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.health_check import LatestHealthCheck
    from pulsebase.monitor.reachability import Reachability

__all__ = ["DatabaseReports"]

# Looks of one moment share their reads: long enough to collect them, too short to be noticed.
_COLLECTING_SECONDS: Final = 0.02
# One by one costs a call for each name, all at once a step for each service that there is.
_MOST_ONE_BY_ONE: Final = 50
_MOST_OUTAGES: Final = 50
_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)

_Asked = tuple[str, asyncio.Future[Report | None]]


class DatabaseReports(Reports):
    """Reads the newest checks over the monitor's own connection, few calls for many heartbeats.

    Without a `reachability` the database is taken to have been there always: a process that looks
    once cannot know more, and would otherwise be in doubt for ever.
    """

    def __init__(
        self, connection: AsyncConnection, reachability: Reachability | None = None
    ) -> None:
        self._connection = connection
        self._reachability = reachability
        self._answered_at = datetime.now(UTC)
        self._known_since = self.reachable_since
        self._outages: deque[tuple[datetime, datetime]] = deque(maxlen=_MOST_OUTAGES)
        self._asked: list[_Asked] = []
        self._reading: asyncio.Task[None] | None = None

    @property
    def reachable_since(self) -> datetime | None:
        """Since when the database has answered every call of this process."""
        return self._reachability.since if self._reachability else _ALWAYS

    def away_until(self, begin: datetime, end: datetime) -> datetime | None:
        """When the database was back that was away all the time from `begin` to `end`."""
        backs = (back for away, back in self._outages if away <= begin and end <= back)
        return max(backs, default=None)

    async def newest(self, service_name: str) -> Report | None:
        """The newest check of a service; UnknownHealthError while the database is away."""
        answer: asyncio.Future[Report | None] = asyncio.get_running_loop().create_future()
        self._asked.append((service_name, answer))
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="reports")
        return await answer

    async def aclose(self) -> None:
        """Give up what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        for _, answer in self._asked:
            answer.cancel()

    async def _read(self) -> None:
        try:
            await asyncio.sleep(_COLLECTING_SECONDS)
            while asked := [one for one in self._asked if not one[1].done()]:
                self._asked = []
                await self._answer(asked)
        finally:
            self._reading = None

    async def _answer(self, asked: Sequence[_Asked]) -> None:
        names = {name for name, _ in asked}
        try:
            with correlated():
                found = {check.service_name: check for check in await self._latest(names)}
        except PulsebaseError as error:
            if self._reachability:
                self._reachability.failed()
            _refuse(asked, f"the reports of jobs cannot be read: {error}")
        except BaseException:
            _refuse(asked, "the reports of jobs were not read to the end; see the log")
            raise
        else:
            self._note_answer()
            for name, answer in asked:
                if not answer.done():
                    answer.set_result(_report(found.get(name)))

    async def _latest(self, names: set[str]) -> Iterable[LatestHealthCheck]:
        if len(names) > _MOST_ONE_BY_ONE:
            return await HealthCheckModel.find_latest(self._connection)
        found: list[LatestHealthCheck] = []
        for name in names:
            found += await HealthCheckModel.find_latest(self._connection, service_name=name)
        return found

    def _note_answer(self) -> None:
        """Keep when the database was away: from the last answer known of to `since`."""
        if self._reachability:
            self._reachability.succeeded()
        since = self.reachable_since
        if since is not None and since != self._known_since:
            self._outages.append((self._answered_at, since))
            self._known_since = since
        self._answered_at = datetime.now(UTC)


def _refuse(asked: Sequence[_Asked], message: str) -> None:
    for _, answer in asked:
        if not answer.done():
            answer.set_exception(UnknownHealthError(message))


def _report(check: LatestHealthCheck | None) -> Report | None:
    if check is None:
        return None
    return Report(
        status=check.status,
        checked_at=check.checked_at,
        read_at=check.checked_at + timedelta(seconds=check.age_seconds),
        latency_ms=check.latency_ms,
        details=check.probe_details or {},
    )
