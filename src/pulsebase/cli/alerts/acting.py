"""`pulsebase alerts ack`, `unack`, `resolve` and `acts`: what people do about an alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pulsebase.cli.alerts.answers import (
    act_options,
    actor_of,
    alerts_of,
    end_of,
    until_options,
)
from pulsebase.cli.alerts.standing import standings
from pulsebase.cli.options import DatabaseCommand, Failure, current_options
from pulsebase.cli.output import print_json, print_line, tell
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta
    from uuid import UUID

    from pulsebase.cli.alerts.standing import Standing
    from pulsebase.connection import Connection
    from pulsebase.models.alert_event import AlertEvent

__all__ = ["acknowledge", "resolve", "unacknowledge"]


@click.command("ack", cls=DatabaseCommand)
@click.argument("reference", metavar="ID|SERVICE")
@act_options
@until_options
def acknowledge(
    reference: str,
    by: str | None,
    note: str | None,
    duration: timedelta | None,
    until: datetime | None,
) -> None:
    """Say that you have seen an alert: its reminders and escalations wait.

    Give its ID, or the name of its SERVICE. Until the time that you say, else until it is resolved
    or you withdraw it with unack. A new alert of the service is told as always.
    """
    from pulsebase.models.alert_event import AlertEventModel

    options = current_options()
    actor, end = actor_of(by), end_of(duration, until)
    with options.connect() as connection:
        events = _active_of(connection, reference)
        for event in events:
            AlertEventModel.acknowledge(connection, event.id, by=actor, note=note, until=end)
        found = _standing_now(connection, events)
    if options.json:
        print_json({"alert_events": [standing.document() for standing in found]})
        return
    for standing in found:
        words = standing.acknowledged_words()
        print_line(f"{_named(standing.event)} acknowledged by {words or actor}")


@click.command("unack", cls=DatabaseCommand)
@click.argument("reference", metavar="ID|SERVICE")
@act_options
def unacknowledge(reference: str, by: str | None, note: str | None) -> None:
    """Withdraw an acknowledgement: reminders and escalations go out again.

    Give the ID of the alert, or the name of its SERVICE.
    """
    from pulsebase.models.alert_event import AlertEventModel

    options = current_options()
    actor = actor_of(by)
    with options.connect() as connection:
        before = _standing_now(connection, _active_of(connection, reference))
        for standing in before:
            AlertEventModel.unacknowledge(connection, standing.event.id, by=actor, note=note)
        found = _standing_now(connection, [standing.event for standing in before])
    if options.json:
        print_json({"alert_events": [standing.document() for standing in found]})
        return
    for standing in before:
        if (act := standing.acknowledgement) is None:
            tell(f"{_named(standing.event)} was not acknowledged")
        else:
            print_line(f"{_named(standing.event)} is no longer acknowledged by {act.actor}")


@click.command("resolve", cls=DatabaseCommand)
@click.argument("id_", metavar="ID", type=click.UUID)
@act_options
def resolve(id_: UUID, by: str | None, note: str | None) -> None:
    """Resolve the alert event with this ID; one that is resolved stays as it is.

    It says that the matter is settled. Whoever was told that it opened is told; there is no
    recovery, and a service that goes on failing opens a new alert by its policy.
    """
    from pulsebase.models.alert_event import AlertEventModel

    options = current_options()
    actor = actor_of(by)
    with options.connect() as connection:
        before = AlertEventModel.find_by_id(connection, id_)
        if before is None:
            message = f"there is no alert with the id {id_}; see: pulsebase alerts list"
            raise Failure(message)
        event = AlertEventModel.resolve(connection, id_, by=actor, note=note)
    if options.json:
        print_json(event)
    elif before.status == "resolved":
        tell(f"{_named(event)} was resolved already at {time_text(event.resolved_at)}")
    else:
        print_line(f"{_named(event)} resolved at {time_text(event.resolved_at)} by {actor}")


def _active_of(connection: Connection, reference: str) -> list[AlertEvent]:
    events = alerts_of(connection, reference)
    for event in events:
        if event.status == "resolved":
            message = (
                f"{_named(event)} was resolved at {time_text(event.resolved_at)}; "
                "see what is active with: pulsebase alerts list"
            )
            raise Failure(message)
    return events


def _standing_now(connection: Connection, events: Sequence[AlertEvent]) -> list[Standing]:
    names = {event.service_name for event in events}
    return connection.run(standings(events, names.pop() if len(names) == 1 else None))


def _named(event: AlertEvent) -> str:
    return f"{event.service_name}: {event.alert_type}"
