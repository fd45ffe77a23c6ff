"""Silences in words: of which services, when, and again when."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any, Final

from pulsebase.cli.text import joined, time_text
from pulsebase.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.models.alert_silence import AlertSilence

__all__ = [
    "matcher_words",
    "quoted",
    "schedule_words",
    "silence_sentence",
    "silence_state",
    "state_words",
]

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WHOLE_WEEK: Final = 7


def silence_sentence(silence: AlertSilence) -> str:
    """What a silence does, and when."""
    what = "in maintenance" if silence.kind == "maintenance" else "silenced"
    again = f"{schedule_words(silence.schedule)}; first " if silence.schedule else ""
    return f"{matcher_words(silence.matcher)}: {what} {again}{_span(silence)}"


def _span(silence: AlertSilence) -> str:
    if silence.starts_at is None:
        return "at no time in the coming weeks"
    begin = "from now" if silence.is_active else f"from {time_text(silence.starts_at)}"
    end = time_text(silence.ends_at) if silence.ends_at else "it is lifted"
    return f"{begin} until {end}"


def matcher_words(matcher: Mapping[str, Any]) -> str:
    """The services of a matcher: `db-*, shop with team=ai`."""
    match matcher.get("services"):
        case None:
            names = "all services"
        case list() as services:
            names = ", ".join(map(str, services))
        case other:  # not of our making; the database takes it for one name
            names = str(other)
    labels = matcher.get("labels")
    if not isinstance(labels, dict) or not labels:
        return names
    return f"{names} with {joined([f'{key}={value}' for key, value in labels.items()])}"


def schedule_words(schedule: Mapping[str, Any] | None) -> str:
    """A schedule as people read it; one that cannot be read as it stands."""
    from pulsebase.errors import PulsebaseError
    from pulsebase.models.schedules import CronSchedule, schedule_of

    if schedule is None:
        return ""
    try:
        read = schedule_of(schedule)
    except PulsebaseError:  # no schedule, or a cron expression where nothing here reads them
        return json.dumps(schedule, ensure_ascii=False)
    until = f" until {time_text(read.until)}" if read.until else ""
    if isinstance(read, CronSchedule):
        duration = format_duration(read.duration)
        return f'every "{read.cron}" for {duration} ({read.zone}){until}'
    hours = f"{read.from_time:%H:%M} to {read.until_time:%H:%M}"
    return f"{_days(read.days)} {hours} ({read.zone}){until}"


def _days(days: tuple[int, ...]) -> str:
    if len(days) == _WHOLE_WEEK:
        return "daily"
    is_row = len(days) > 2 and days[-1] - days[0] == len(days) - 1  # noqa: PLR2004 -- fri,sat is short
    shown = [_DAYS[day - 1] for day in days]
    return f"{shown[0]}-{shown[-1]}" if is_row else ",".join(shown)


def quoted(name: str) -> str:
    """A name as a shell takes it, for the commands that are advised."""
    return shlex.quote(name)


def silence_state(silence: AlertSilence) -> str:
    """Whether it holds: `active`, `planned`, `over` or `lifted`."""
    if silence.lifted_at is not None:
        return "lifted"
    if silence.is_over:
        return "over"
    return "active" if silence.is_active else "planned"


def state_words(silence: AlertSilence) -> str:
    """The same, with who lifted it."""
    state = silence_state(silence)
    return f"lifted by {silence.lifted_by}" if state == "lifted" and silence.lifted_by else state
