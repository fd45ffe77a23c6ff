"""When silences and maintenance windows come again: weekly, or by a cron expression, in a zone.

wall_clock    the moments at which the clocks of a zone show a time: none, one, or two
weekly        from one time of day to another, on days of the week
cron          from each time that an expression names, for a duration
planning      the periods of the next weeks, for the database, which knows no schedules
"""

from __future__ import annotations

from pulsebase.models.schedules.cron import CronSchedule
from pulsebase.models.schedules.planning import HORIZON, MOST_PERIODS, Plan, Schedule, plan
from pulsebase.models.schedules.reading import schedule_of
from pulsebase.models.schedules.wall_clock import Period
from pulsebase.models.schedules.weekly import WeeklySchedule

__all__ = [
    "HORIZON",
    "MOST_PERIODS",
    "CronSchedule",
    "Period",
    "Plan",
    "Schedule",
    "WeeklySchedule",
    "plan",
    "schedule_of",
]
