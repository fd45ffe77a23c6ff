"""What the commands for alerts ask alike: who acts, why, until when, and about which alert."""

from __future__ import annotations

import difflib
import getpass
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import click

from pulsebase.cli.options import DURATION, Failure
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pulsebase.connection import Connection
    from pulsebase.models.alert_event import AlertEvent

__all__ = [
    "MOMENT",
    "act_options",
    "actor_of",
    "alerts_of",
    "end_of",
    "id_in",
    "later",
    "meant",
    "positive",
    "until_options",
    "usage_error",
]

F = TypeVar("F", bound="Callable[..., Any]")

_ACTOR_VARIABLE: Final = "PULSEBASE_ACTOR"


class _Moment(click.ParamType[datetime]):
    """ISO 8601 with a time zone. Unlike `INSTANT` it can lie ahead, so no duration is taken."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
            aware = moment.astimezone(UTC) if moment.utcoffset() is not None else None
        except (ValueError, OverflowError):
            example = f"{datetime.now(UTC) + timedelta(hours=2):%Y-%m-%dT%H:%M}Z"
            self.fail(f"{value!r} is no time: write it as {example}", param, ctx)
        if aware is None:
            zoned = f"{moment.isoformat()}Z"
            self.fail(f"{value!r} has no time zone: write {zoned} or another offset", param, ctx)
        return aware


MOMENT: Final = _Moment()


def usage_error(message: str) -> click.UsageError:
    """The command was used wrongly; nothing was sent."""
    return click.UsageError(message, click.get_current_context())


def act_options(command: F) -> F:
    """--by and --note."""
    note = click.option("--note", metavar="TEXT", help="Why; kept with the act.")
    by = click.option(
        "--by",
        metavar="NAME",
        help=f"Who acts; else {_ACTOR_VARIABLE}, else your login name on this machine.",
    )
    return by(note(command))


def until_options(command: F) -> F:
    """--for and --until."""
    until = click.option(
        "--until", type=MOMENT, metavar="TIME", help="Until then: ISO 8601 with a time zone."
    )
    duration = click.option(
        "--for", "duration", type=DURATION, metavar="DURATION", help="For so long, such as 2h."
    )
    return duration(until(command))


def actor_of(by: str | None) -> str:
    """Who acts."""
    if by is not None:
        return by
    if named := os.environ.get(_ACTOR_VARIABLE):
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in many containers
        message = f"nobody can tell who you are: say it with --by NAME or {_ACTOR_VARIABLE}"
        raise usage_error(message) from None


def end_of(duration: timedelta | None, until: datetime | None) -> datetime | None:
    """When something ends, by --for or --until; None where neither is given."""
    now = datetime.now(UTC)
    if duration is not None and until is not None:
        message = "--for and --until exclude each other"
        raise usage_error(message)
    if duration is not None:
        return later(now, duration)
    if until is not None and until <= now:
        message = f"--until {time_text(until)} is over; it is {time_text(now)} now"
        raise usage_error(message)
    return until


def later(begin: datetime, duration: timedelta) -> datetime:
    """The end of what begins then and lasts for --for."""
    try:
        return begin + positive(duration)
    except OverflowError:
        message = "--for ends after the year 9999"
        raise usage_error(message) from None


def positive(duration: timedelta) -> timedelta:
    """The duration of --for, which must be above zero."""
    if duration <= timedelta(0):
        message = "--for must be above zero"
        raise usage_error(message)
    return duration


def id_in(text: str) -> UUID | None:
    """The id that a text is, or None."""
    try:
        return UUID(text)
    except ValueError:
        return None


def meant(name: str, names: Sequence[str], otherwise: str) -> str:
    """The advice after a name that is not there: the one that was meant, else something else."""
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise


def alerts_of(connection: Connection, reference: str) -> list[AlertEvent]:
    """The alert with this id, or the active ones of the service with this name."""
    from pulsebase.models.alert_event import AlertEventModel

    sought = id_in(reference)
    if sought is not None and (event := AlertEventModel.find_by_id(connection, sought)):
        return [event]
    found = AlertEventModel.find_active(connection, service_name=reference)
    if found:
        return found
    if sought is not None:
        message = f"there is no alert with the id {sought}; see: pulsebase alerts list"
        raise Failure(message)
    active = sorted({each.service_name for each in AlertEventModel.find_active(connection)})
    advice = meant(reference, active, "see: pulsebase alerts list")
    message = f"{reference!r} has no active alert; {advice}"
    raise Failure(message)
