"""Windows that begin when a cron expression says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from pulsebase.errors import InvalidValueError, MissingExtraError
from pulsebase.models import fields
from pulsebase.models.schedules.wall_clock import Period, begins_at, moments, shown_at, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo

__all__ = ["CronSchedule"]

_LONGEST: Final = timedelta(days=30)
_LONGEST_EXPRESSION: Final = 200
_FIELDS: Final = 5
_DAY: Final = timedelta(days=1)
# Clocks are put back by an hour; by how much more they ever were is history.
_PUT_BACK: Final = timedelta(hours=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CronSchedule:
    """From each time that a cron expression names in its time zone, for a duration.

    As Debian's cron has it: with a fixed minute and hour, a time that is skipped counts as the
    moment of the change, and of a time that is shown twice the first counts. With a `*` in either
    field every moment counts at which the clocks show a time that fits. The duration is real time,
    whatever clocks show.
    """

    cron: str
    duration: timedelta
    zone: str = "UTC"
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what is no schedule; MissingExtraError where nothing here reads cron."""
        if not timedelta(0) < fields.duration("duration", self.duration) <= _LONGEST:
            field = "duration"
            raise InvalidValueError(field, self.duration, "a timedelta of at most 30 days")
        zone_of(self.zone)
        fields.optional(fields.instant, "until", self.until)
        _check(self.cron)

    @property
    def longest(self) -> timedelta:
        """No window is longer."""
        return self.duration

    def occurrences(self, since: datetime, until: datetime) -> Iterator[Period]:
        """The windows that begin in [since, until), in their order."""
        zone = zone_of(self.zone)
        begin = shown_at(since, zone) - _DAY
        for moment in _in_order(_simulated(self.cron, begin), zone, counts_all=self._counts_all):
            if moment >= until:
                return
            if moment >= since:
                yield Period(moment, moment + self.duration)

    @property
    def _counts_all(self) -> bool:
        minute, hour, *_ = self.cron.split()
        return minute.startswith("*") or hour.startswith("*")

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        seconds = self.duration.total_seconds()
        written = {"cron": self.cron, "duration_seconds": seconds, "zone": self.zone}
        return written | ({"until": self.until.isoformat()} if self.until else {})


def _in_order(
    shown_times: Iterator[datetime], zone: tzinfo, *, counts_all: bool
) -> Iterator[datetime]:
    """The moments at which times are shown, in their order: of two equal ones one comes later."""
    waiting: list[datetime] = []
    for shown in shown_times:
        first = begins_at(shown, zone)
        for moment in moments(shown, zone) if counts_all else (first,):
            heappush(waiting, moment)
        while waiting and waiting[0] < first - _PUT_BACK:
            yield heappop(waiting)
    while waiting:
        yield heappop(waiting)


def _simulated(cron: str, begin: datetime) -> Iterator[datetime]:
    """The times after `begin` that an expression names, without a zone."""
    cron_sim, _ = _parser()
    times: Iterator[datetime] = cron_sim(cron, begin)
    return times


def _check(cron: object) -> None:
    field = "cron"
    if not isinstance(cron, str) or len(cron) > _LONGEST_EXPRESSION:
        raise InvalidValueError(field, cron, f"a text of at most {_LONGEST_EXPRESSION} characters")
    if len(cron.split()) != _FIELDS:
        bound = "five fields: minute, hour, day of month, month, day of week"
        raise InvalidValueError(field, cron, bound)
    _, cron_error = _parser()
    try:
        following = next(_simulated(cron, datetime(2000, 1, 1)), None)  # noqa: DTZ001 -- on a wall
    except cron_error as error:
        wrong = str(error).removeprefix("Bad ").replace("-", " ")
        bound = f"a cron expression with a valid {wrong}, such as 30 2 * * MON-FRI"
        raise InvalidValueError(field, cron, bound) from None
    if following is None:
        raise InvalidValueError(field, cron, "a cron expression that some day fits")


def _parser() -> Any:
    """What reads cron expressions, and the error that it raises."""
    try:
        from cronsim import CronSim, CronSimError
    except ModuleNotFoundError:
        purpose = "a schedule by a cron expression"
        raise MissingExtraError(purpose, "monitor") from None
    return CronSim, CronSimError
