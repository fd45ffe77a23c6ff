"""`pulsebase alerts list`: what somebody should look at now."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.alerts.answers import usage_error
from pulsebase.cli.alerts.standing import Standing, began_at, details_of, reason_of, standings
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import Column, print_json, status_cell, tell
from pulsebase.cli.text import age_text, shortened, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Connection, Steps

__all__ = ["ALERT_STYLES", "list_alerts"]

ALERT_STYLES: Final = {"service_down": "down", "service_degraded": "degraded", "recovery": "ok"}
_DEFAULT_LIMIT: Final = 100
_LONGEST_REASON: Final = 160
_TEXTS: Final = ("REASON", "ACKNOWLEDGED BY", "QUIET")
_ACTIVE: Final = (
    Column("SERVICE"),
    Column("ALERT"),
    Column("SINCE", rank=5),
    Column("FOR", right=True, rank=2),
    Column("REASON", rank=1),
    Column("ACKNOWLEDGED BY", rank=3),
    Column("QUIET", rank=4),
    Column("ID", rank=6),
)
_EVERY: Final = (
    Column("SERVICE", rank=6),
    Column("ALERT"),
    Column("STATUS"),
    Column("SINCE", rank=1),
    Column("RESOLVED AT", rank=2),
    Column("REASON", rank=3),
    Column("ACKNOWLEDGED BY", rank=5),
    Column("ID", rank=4),
)


@click.command("list", cls=DatabaseCommand)
@click.argument("service", metavar="[SERVICE]", required=False)
@click.option("--all", "everything", is_flag=True, help="Resolved ones, too; needs SERVICE.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000_000),
    default=_DEFAULT_LIMIT,
    metavar="N",
    help="With --all: at most so many, the newest (100).",
)
def list_alerts(service: str | None, limit: int, *, everything: bool) -> None:
    """List active alert events, oldest first, of one SERVICE or of all.

    Beside each stand who has acknowledged it, and why channels are told nothing of it. With --all
    every event of SERVICE, newest first.
    """
    options = current_options()
    if everything and service is None:
        message = "--all needs a SERVICE"
        raise usage_error(message)
    with options.connect() as connection:
        if everything and service is not None:
            found = _everything(connection, service, limit)
        else:
            found = connection.run(_active(service))
    if options.json:
        print_json({"alert_events": [standing.document() for standing in found]})
    elif found and everything:
        print_texts(_EVERY, [_row_of_all(standing) for standing in found], _TEXTS)
    elif found:
        now = datetime.now(UTC)
        print_texts(_ACTIVE, [_row(standing, now) for standing in found], _TEXTS)
        _tell_what_is_left_out(found)
    else:
        of_it = f" of {service}" if service else ""
        tell(f"no {'' if everything else 'active '}alert events{of_it}")


def _active(service: str | None) -> Steps[list[Standing]]:
    from pulsebase.models.alert_event import AlertEventModel

    events = yield from AlertEventModel.find_active.steps(service_name=service)
    return (yield from standings(events, service))


def _everything(connection: Connection, service: str, limit: int) -> list[Standing]:
    from pulsebase.models.alert_event import AlertEventModel

    events = list(islice(AlertEventModel.iterate_by_service(connection, service), limit))
    active = [event for event in events if event.status == "active"]
    known = {each.event.id: each for each in connection.run(standings(active, service))}
    return [known.get(event.id) or Standing(event=event) for event in events]


def _row(standing: Standing, now: datetime) -> list[Cell]:
    event = standing.event
    began = began_at(event)
    return [
        event.service_name,
        status_cell(ALERT_STYLES[event.alert_type], event.alert_type),
        time_text(began),
        age_text((now - began).total_seconds()),
        shortened(reason_of(event), _LONGEST_REASON),
        standing.acknowledged_words(),
        standing.quiet_words(),
        str(event.id),
    ]


def _row_of_all(standing: Standing) -> list[Cell]:
    event = standing.event
    return [
        event.service_name,
        event.alert_type,
        status_cell(event.status, _status_words(standing)),
        time_text(began_at(event)),
        time_text(event.resolved_at),
        shortened(reason_of(event), _LONGEST_REASON),
        standing.acknowledged_words(),
        str(event.id),
    ]


def _status_words(standing: Standing) -> str:
    details = details_of(standing.event)
    match details.get("resolved_by"):
        case "person" if isinstance(details.get("actor"), str):
            return f"resolved by {details['actor']}"
        case "superseded":
            return "superseded"
        case _:
            return standing.event.status


def _tell_what_is_left_out(found: Sequence[Standing]) -> None:
    if any(standing.silences is None for standing in found):
        tell("silences are not shown for so many services; see: pulsebase alerts silences")
