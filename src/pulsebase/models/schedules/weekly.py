"""Windows of the week: on these days, from one time of day to another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from pulsebase.errors import InvalidValueError
from pulsebase.models import fields
from pulsebase.models.schedules.wall_clock import Period, begins_at, ends_at, shown_at, zone_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WeeklySchedule"]

_DAY: Final = timedelta(days=1)
_DAYS: Final = range(1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeeklySchedule:
    """On days of the week, 1 (Monday) to 7, from one time of day until another, in a time zone.

    `until_time` is on the next day where it is not later than `from_time`; the same time means a
    whole day. A window begins when the clocks first show its beginning and lasts as long as they
    show a time before its end. So a time that is skipped counts as the moment of the change, a
    time that is shown twice belongs to the window both times, and a window whose times are all
    skipped does not come that day.
    """

    days: tuple[int, ...]
    from_time: time
    until_time: time
    zone: str = "UTC"
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what is no schedule."""
        object.__setattr__(self, "days", _days(self.days))
        _time_of_day("from_time", self.from_time)
        _time_of_day("until_time", self.until_time)
        zone_of(self.zone)
        fields.optional(fields.instant, "until", self.until)

    @property
    def longest(self) -> timedelta:
        """No window is longer: a day, and the hours by which a clock may be put back."""
        return 2 * _DAY

    def occurrences(self, since: datetime, until: datetime) -> Iterator[Period]:
        """The windows that begin in [since, until), in their order."""
        zone = zone_of(self.zone)
        day = shown_at(since, zone).date() - _DAY
        while (begin := begins_at(datetime.combine(day, self.from_time), zone)) < until:
            if begin >= since and day.isoweekday() in self.days:
                last_day = day + _DAY if self.until_time <= self.from_time else day
                end = ends_at(datetime.combine(last_day, self.until_time), zone)
                if begin < end:
                    yield Period(begin, end)
            day += _DAY

    def as_json(self) -> dict[str, Any]:
        """As the database keeps it."""
        written: dict[str, Any] = {
            "days": list(self.days),
            "from": self.from_time.isoformat(),
            "until_time": self.until_time.isoformat(),
            "zone": self.zone,
        }
        return written | ({"until": self.until.isoformat()} if self.until else {})


def _days(value: object) -> tuple[int, ...]:
    known = isinstance(value, (tuple, list, set, frozenset)) and all(
        type(day) is int and day in _DAYS for day in value
    )
    if not known or not value:
        field = "days"
        raise InvalidValueError(field, value, "days of the week from 1, Monday, to 7, Sunday")
    return tuple(sorted(set(value)))  # type: ignore[call-overload]  # it was looked at above


def _time_of_day(field: str, value: object) -> None:
    if not isinstance(value, time) or value.tzinfo is not None or value.microsecond:
        raise InvalidValueError(field, value, "a time of day in whole seconds, without a zone")
