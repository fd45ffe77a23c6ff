"""When a job's next report is due: by a period, or by a cron expression in a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CronDues", "Dues", "PeriodDues", "cron_problem", "zone_of"]

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_CRON_FIELDS: Final = 5
# Clocks differ: a job that starts on time may be dated a moment before it.
_EARLY: Final = timedelta(seconds=5)


class Dues(Protocol):
    """The times at which reports are due, in UTC, counted from the newest check of a service."""

    def first_after(self, newest: datetime) -> datetime:
        """The first due time that a check of the time `newest` does not answer."""
        ...

    def last_until(self, newest: datetime, moment: datetime) -> datetime:
        """The last due time up to `moment`, at least `first_after(newest)`."""
        ...


@dataclass(frozen=True, slots=True)
class PeriodDues:
    """Due one period after the newest check, and each period from there."""

    period: timedelta

    def first_after(self, newest: datetime) -> datetime:
        """One period later."""
        return newest + self.period

    def last_until(self, newest: datetime, moment: datetime) -> datetime:
        """A whole number of periods later."""
        return newest + max(1, (moment - newest) // self.period) * self.period


@dataclass(frozen=True, slots=True)
class CronDues:
    """Due when the cron expression says so, in its time zone."""

    cron: str
    zone: tzinfo

    def first_after(self, newest: datetime) -> datetime:
        """The next occurrence; a report that is a few seconds early counts for its own."""
        begin = newest + _EARLY
        # Where a night has the same hour twice, cronsim may go back to its first occurrence.
        return next((due for due in self._occurrences(begin) if due > begin), _NEVER)

    def last_until(self, newest: datetime, moment: datetime) -> datetime:
        """The last occurrence up to the moment."""
        first = self.first_after(newest)
        # Backwards it begins before the time it is given.
        end = moment.replace(microsecond=0) + timedelta(seconds=1)
        last = next(self._occurrences(end, reverse=True), first)
        return last if first < last <= moment else first

    def _occurrences(self, begin: datetime, *, reverse: bool = False) -> Iterator[datetime]:
        for due in CronSim(self.cron, begin.astimezone(self.zone), reverse=reverse):
            yield due.astimezone(UTC)


def zone_of(name: str) -> tzinfo:
    """The time zone of a name; ValueError for one that does not exist."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, KeyError, ValueError) as error:  # a folder, an unknown name, a path
        raise ValueError(name) from error


def cron_problem(cron: str) -> str | None:
    """What a cron expression should be, if it is not: the sentence after "must be"."""
    if len(cron.split()) != _CRON_FIELDS:
        return "five fields: minute, hour, day of month, month, day of week"
    try:
        following = next(iter(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC))), None)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        return f"a cron expression with a valid {field}, such as 30 2 * * MON-FRI"
    if following is None:
        return "a cron expression that some day fits"
    return None
