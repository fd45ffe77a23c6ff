"""Schedules as the database keeps them, and as anybody may have written them there."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from pulsebase.errors import InvalidValueError
from pulsebase.models.schedules.cron import CronSchedule
from pulsebase.models.schedules.weekly import WeeklySchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pulsebase.models.schedules.planning import Schedule

__all__ = ["schedule_of"]

_WEEKLY = frozenset({"days", "from", "until_time", "zone", "until"})
_CRON = frozenset({"cron", "duration_seconds", "zone", "until"})


def schedule_of(written: Mapping[str, Any]) -> Schedule:
    """The schedule of a JSON object; InvalidValueError, by field, for one that is none."""
    if not isinstance(written, dict) or not any(map(set(written).issubset, (_CRON, _WEEKLY))):
        field = "schedule"
        bound = "cron and duration_seconds, or days, from and until_time; with zone and until"
        raise InvalidValueError(field, written, bound)
    zone = written.get("zone", "UTC")
    until = _read("until", written.get("until"), datetime.fromisoformat)
    if "cron" in written:
        duration = _read("duration_seconds", written.get("duration_seconds"), _seconds)
        return CronSchedule(cron=written["cron"], duration=duration, zone=zone, until=until)
    return WeeklySchedule(
        days=written.get("days", ()),
        from_time=_read("from", written.get("from"), time.fromisoformat),
        until_time=_read("until_time", written.get("until_time"), time.fromisoformat),
        zone=zone,
        until=until,
    )


def _read(field: str, value: Any, read: Callable[[Any], Any]) -> Any:
    try:
        return None if value is None else read(value)
    except (TypeError, ValueError, OverflowError):
        raise InvalidValueError(field, value, "as ISO 8601 writes it, or seconds") from None


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
