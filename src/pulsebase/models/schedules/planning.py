"""Writing schedules out: the database is told when they hold, not how to find out."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from pulsebase.models.schedules.cron import CronSchedule
from pulsebase.models.schedules.weekly import WeeklySchedule
from pulsebase.transports.request import JsonText

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.models.schedules.wall_clock import Period

__all__ = ["HORIZON", "MOST_PERIODS", "Plan", "Schedule", "plan"]

Schedule: TypeAlias = CronSchedule | WeeklySchedule

HORIZON: Final = timedelta(days=35)
MOST_PERIODS: Final = 1000
# Of a window for each minute; many make one period where they touch.
_MOST_OCCURRENCES: Final = 10_000
_FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Plan:
    """The periods of a schedule, and up to when they are complete: the next plan begins there."""

    periods: tuple[Period, ...]
    planned_until: datetime

    def periods_json(self, *, after: datetime) -> JsonText:
        """The periods that are not over then, as the database is told of them."""
        return JsonText(
            json.dumps(
                [
                    {"starts_at": each.starts_at.isoformat(), "ends_at": each.ends_at.isoformat()}
                    for each in self.periods
                    if each.ends_at > after
                ]
            )
        )


def plan(
    schedule: Schedule, *, since: datetime, until: datetime, most_periods: int = MOST_PERIODS
) -> Plan:
    """The periods that begin in [since, until), those that touch as one; at most so many."""
    end = until if schedule.until is None else min(until, schedule.until)
    periods: list[Period] = []
    for count, occurrence in enumerate(_within(schedule, since, end)):
        joins = bool(periods) and occurrence.starts_at <= periods[-1].ends_at
        if count == _MOST_OCCURRENCES or (len(periods) == most_periods and not joins):
            return Plan(tuple(periods), occurrence.starts_at)
        if joins:
            last = periods.pop()
            occurrence = replace(last, ends_at=max(last.ends_at, occurrence.ends_at))  # noqa: PLW2901 -- it is the longer one now
        periods.append(occurrence)
    is_over = schedule.until is not None and schedule.until <= until
    return Plan(tuple(periods), _FOR_EVER if is_over else until)


def _within(schedule: Schedule, since: datetime, until: datetime) -> Iterator[Period]:
    """The occurrences, none beyond the end of the schedule."""
    for period in schedule.occurrences(since, until):
        if schedule.until is not None and period.ends_at > schedule.until:
            yield replace(period, ends_at=schedule.until)
        else:
            yield period
