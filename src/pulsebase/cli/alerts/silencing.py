"""`pulsebase alerts silence` and `maintenance`: keep channels quiet about some services."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from pulsebase.cli.alerts.answers import (
    MOMENT,
    act_options,
    actor_of,
    end_of,
    later,
    meant,
    positive,
    until_options,
    usage_error,
)
from pulsebase.cli.alerts.wording import quoted, silence_sentence
from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import print_json, print_line, tell
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pulsebase.connection import Connection
    from pulsebase.models.alert_silence import AlertSilence, SilenceKind
    from pulsebase.models.schedules import Schedule

__all__ = ["maintenance", "silence"]

F = TypeVar("F", bound="Callable[..., Any]")

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME_OF_DAY: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)", re.ASCII)
_HOURS_OF_DAY: Final = 24
_LONGEST_EACH: Final = timedelta(days=30)


class _Label(click.ParamType[tuple[str, str]]):
    name = "label"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is no label: write it as team=ai or tier=*", param, ctx)
        return key, text


class _TimeOfDay(click.ParamType[time]):
    name = "time of day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> time:
        if isinstance(value, time):
            return value
        match = _TIME_OF_DAY.fullmatch(str(value))
        hour, minute = (int(match[1]), int(match[2])) if match else (_HOURS_OF_DAY, 1)
        if hour == _HOURS_OF_DAY and minute == 0:
            return time(0)
        if hour >= _HOURS_OF_DAY:
            self.fail(f"{value!r} is no time of day: write it as 22:00", param, ctx)
        return time(hour, minute)


class _Days(click.ParamType[tuple[int, ...]]):
    """`mon,wed` or `mon-fri`; a range may go over Sunday."""

    name = "days"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        found: set[int] = set()
        for part in str(value).lower().split(","):
            first, dash, last = (word.strip() for word in part.partition("-"))
            if first not in DAYS or (last if dash else first) not in DAYS:
                form = "mon,wed or mon-fri"
                self.fail(f"{value!r} are no days of the week: write {form}", param, ctx)
            begin, end = DAYS.index(first), DAYS.index(last if dash else first)
            found |= {(begin + step) % 7 + 1 for step in range((end - begin) % 7 + 1)}
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class _When:
    """When it is to hold, as it was asked for."""

    starts: datetime | None
    until: datetime | None
    duration: timedelta | None
    every: str | None
    days: tuple[int, ...] | None
    from_time: time | None
    to_time: time | None
    zone: str | None

    @property
    def is_weekly(self) -> bool:
        return not (self.days is None and self.from_time is None and self.to_time is None)

    def check(self) -> None:
        """Refuse what does not belong together, with a sentence on what does."""
        if self.every is not None and self.is_weekly:
            message = "--every excludes --days, --from and --to"
        elif self.every is not None and self.duration is None:
            message = "--every needs --for: how long it holds each time"
        elif self.is_weekly and (self.from_time is None or self.to_time is None):
            message = "a weekly window needs --from and --to, such as --from 22:00 --to 06:00"
        elif self.is_weekly and self.duration is not None:
            message = "--for excludes --days, --from and --to; --until ends the repetition"
        elif self.starts is not None and (self.every is not None or self.is_weekly):
            message = "--starts is for what holds once, not for --every or --days"
        elif self.zone is not None and not (self.every is not None or self.is_weekly):
            message = "--zone is for --every, --days, --from and --to; other times bear their zone"
        else:
            return
        raise usage_error(message)

    def schedule(self) -> Schedule | None:
        """The schedule that was asked for; the models check what it holds."""
        from pulsebase.models.schedules import CronSchedule, WeeklySchedule

        zone, until = self.zone or "UTC", end_of(None, self.until)
        if self.every is not None and self.duration is not None:
            if positive(self.duration) > _LONGEST_EACH:
                message = "--for must be at most 30d with --every"
                raise usage_error(message)
            return CronSchedule(cron=self.every, duration=self.duration, zone=zone, until=until)
        if self.from_time is not None and self.to_time is not None:
            return WeeklySchedule(
                days=self.days or tuple(range(1, 8)),
                from_time=self.from_time,
                until_time=self.to_time,
                zone=zone,
                until=until,
            )
        return None

    def arguments(self) -> dict[str, Any]:
        """What the model is told of it."""
        self.check()
        if (schedule := self.schedule()) is not None:
            return {"schedule": schedule}
        if self.starts is None and self.duration is not None and self.until is None:
            return {"duration": positive(self.duration)}  # from now on, by the database's clock
        return {"starts_at": self.starts, "ends_at": self._end()}

    def _end(self) -> datetime | None:
        if self.starts is None or self.duration is None or self.until is not None:
            end = end_of(self.duration, self.until)
        else:
            end = end_of(None, later(self.starts, self.duration))
        if end is not None and self.starts is not None and end <= self.starts:
            message = f"--until {time_text(end)} must be after --starts {time_text(self.starts)}"
            raise usage_error(message)
        return end


def _silence_options(command: F) -> F:
    """What silences and maintenance windows are made of."""
    for option in reversed(
        (
            click.argument("patterns", nargs=-1, metavar="[SERVICE]..."),
            click.option(
                "--label",
                "labels",
                type=_Label(),
                multiple=True,
                metavar="KEY=VALUE",
                help="Only services with this label; * stands for any text. May be repeated.",
            ),
            until_options,
            click.option(
                "--starts", type=MOMENT, metavar="TIME", help="From then on; without it, now."
            ),
            click.option(
                "--every", metavar="CRON", help="Again and again: with --for, from each such time."
            ),
            click.option(
                "--days",
                type=_Days(),
                metavar="DAYS",
                help="On these days, mon-fri or sat,sun; with --from and --to.",
            ),
            click.option(
                "--from", "from_time", type=_TimeOfDay(), metavar="HH:MM", help="Each day from then"
            ),
            click.option(
                "--to",
                "to_time",
                type=_TimeOfDay(),
                metavar="HH:MM",
                help="until then; on the next day where that is not later.",
            ),
            click.option(
                "--zone",
                metavar="ZONE",
                help="The time zone of --every, --from and --to, such as Europe/Berlin (UTC).",
            ),
            click.option("--name", metavar="NAME", help="A name by which it can be lifted."),
            act_options,
        )
    ):
        command = option(command)
    return command


@click.command("silence", cls=DatabaseCommand)
@_silence_options
def silence(**given: Any) -> None:
    """Keep channels quiet about services; print the id of the silence.

    Give names of services, in which * stands for any text, or --label, or both. Openings and
    reminders wait while it holds, and go out afterwards if the alert is still active; what was
    opened on a channel is resolved there all the same.

    It holds from now, or --starts, for a time (--for, --until), else until it is lifted. With
    --every, or with --from and --to, it comes again and again; --until then ends that.
    """
    _create("silence", **given)


@click.command("maintenance", cls=DatabaseCommand)
@_silence_options
def maintenance(**given: Any) -> None:
    """Plan a maintenance window for services; print its id.

    It takes what silence takes, and does the same: it only says that the trouble is of your own
    making.
    """
    _create("maintenance", **given)


def _create(
    kind: SilenceKind,
    *,
    patterns: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    name: str | None,
    by: str | None,
    note: str | None,
    **when: Any,
) -> None:
    from pulsebase.models.alert_silence import AlertSilenceModel

    options = current_options()
    call = AlertSilenceModel.create.call(
        by=actor_of(by),
        kind=kind,
        matcher=_matcher(patterns, labels),
        name=name,
        note=note,
        **_When(**when).arguments(),
    )
    with options.connect() as connection:
        created = connection.execute(call)
        unknown = [] if options.json else _unknown(connection, patterns)
    if options.json:
        print_json(created)
        return
    print_line(str(created.id))
    _explain(created, unknown)


def _matcher(patterns: Sequence[str], labels: Sequence[tuple[str, str]]) -> dict[str, Any]:
    if not patterns and not labels:
        message = "say which services: names or patterns such as 'db-*', or --label; '*' is all"
        raise usage_error(message)
    return {
        **({"services": list(dict.fromkeys(patterns))} if patterns else {}),
        **({"labels": dict(labels)} if labels else {}),
    }


def _unknown(connection: Connection, patterns: Sequence[str]) -> list[str]:
    """A remark for each name that no service has: it may come yet, or be mistyped."""
    from pulsebase.models.health_check import HealthCheckModel

    sought = [pattern for pattern in patterns if "*" not in pattern]
    if not sought:
        return []
    known = [each.service_name for each in HealthCheckModel.find_latest(connection)]
    return [
        f"no service is called {name!r} yet; {meant(name, known, 'it holds if one comes')}"
        for name in sought
        if name not in known
    ]


def _explain(created: AlertSilence, unknown: Sequence[str]) -> None:
    tell(silence_sentence(created))
    for remark in unknown:
        tell(remark)
    tell(f"lift it with: pulsebase alerts lift {quoted(created.name or str(created.id))}")
