"""From the time that a clock on the wall shows to the moments at which it shows it.

When clocks are put forward some times are never shown; when they are put back some are shown
twice. By how much, and when, differs: an hour in Berlin, half an hour on Lord Howe Island, at
midnight in Havana. So nothing here counts in hours, it asks the zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from pulsebase.errors import InvalidValueError

__all__ = ["Period", "begins_at", "ends_at", "moments", "shown_at", "zone_of"]

_SECOND: Final = timedelta(seconds=1)
_LONGEST_NAME: Final = 100


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A stretch of time, in UTC: the beginning is in it, the end is not."""

    starts_at: datetime
    ends_at: datetime


def zone_of(name: object, field: str = "zone") -> tzinfo:
    """The time zone of a name; InvalidValueError for one that this system does not know."""
    if name == "UTC":
        return UTC
    try:
        if isinstance(name, str) and len(name) <= _LONGEST_NAME:
            return ZoneInfo(name)
    except (OSError, KeyError, ValueError):  # a folder, an unknown name, a path or a NUL
        pass
    bound = 'a time zone that this system knows, such as "Europe/Berlin"'
    raise InvalidValueError(field, name, bound)


def moments(shown: datetime, zone: tzinfo) -> tuple[datetime, ...]:
    """The moments at which the clocks of the zone show this time: none, one, or two, in UTC."""
    both = (_utc(shown, zone, fold=0), _utc(shown, zone, fold=1))
    return tuple(sorted({moment for moment in both if shown_at(moment, zone) == shown}))


def begins_at(shown: datetime, zone: tzinfo) -> datetime:
    """The first moment from which the clocks show this time or a later one."""
    return next(iter(moments(shown, zone)), None) or _change(shown, zone)


def ends_at(shown: datetime, zone: tzinfo) -> datetime:
    """The last moment up to which the clocks show an earlier time."""
    shown_at_moments = moments(shown, zone)
    if not shown_at_moments:
        return _change(shown, zone)
    last = shown_at_moments[-1]
    # Put back to exactly this time: what was shown a second before is a later one.
    is_put_back = _offset(last - _SECOND, zone) != _offset(last, zone)
    return shown_at_moments[0] if is_put_back else last


def shown_at(moment: datetime, zone: tzinfo) -> datetime:
    """What the clocks of the zone show then."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _change(skipped: datetime, zone: tzinfo) -> datetime:
    """The moment at which the clocks were put forward over a time that they never show."""
    # By the offset after the change the time lies before it, by the one before it lies after.
    before, after = _utc(skipped, zone, fold=1), _utc(skipped, zone, fold=0)
    new = _offset(after, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if _offset(middle, zone) == new:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)


def _utc(shown: datetime, zone: tzinfo, *, fold: int) -> datetime:
    return shown.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _offset(moment: datetime, zone: tzinfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()
