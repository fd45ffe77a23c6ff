"""`pulsebase alerts`: what somebody should look at."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.options import DatabaseGroup, current_options
from pulsebase.cli.output import (
    Column,
    print_json,
    print_line,
    print_table,
    status_cell,
    tell,
)
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from pulsebase.cli.output import (
        Cell,
    )
    from pulsebase.models.alert_event import AlertEvent

__all__ = ["alerts"]

_DEFAULT_LIMIT: Final = 100
_COLUMNS: Final = (
    Column("SERVICE"),
    Column("ALERT"),
    Column("STATUS", rank=1),
    Column("CREATED AT", rank=2),
    Column("RESOLVED AT", rank=4),
    Column("ID", rank=3),
)


@click.group(cls=DatabaseGroup)
def alerts() -> None:
    """List and resolve alert events."""


@alerts.command("list")
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

    With --all every event of SERVICE, newest first.
    """
    from pulsebase.models.alert_event import AlertEventModel

    options = current_options()
    if everything and service is None:
        message = "--all needs a SERVICE"
        raise click.UsageError(message, click.get_current_context())
    with options.connect() as connection:
        if everything and service is not None:
            events = list(islice(AlertEventModel.iterate_by_service(connection, service), limit))
        else:
            events = AlertEventModel.find_active(connection, service_name=service)
    if options.json:
        print_json({"alert_events": events})
    elif events:
        print_table(_COLUMNS, [_row(event) for event in events])
    else:
        tell(
            f"no {'' if everything else 'active '}alert events{f' of {service}' if service else ''}"
        )


@alerts.command("resolve")
@click.argument("id_", metavar="ID", type=click.UUID)
def resolve_alert(id_: str) -> None:
    """Resolve the alert event with this ID; one that is resolved stays as it is."""
    from pulsebase.models.alert_event import AlertEventModel

    options = current_options()
    with options.connect() as connection:
        event = AlertEventModel.resolve(connection, id_)
    if options.json:
        print_json(event)
    else:
        print_line(
            f"{event.service_name}: {event.alert_type} resolved at {time_text(event.resolved_at)}"
        )


def _row(event: AlertEvent) -> list[Cell]:
    return [
        event.service_name,
        event.alert_type,
        status_cell(event.status),
        time_text(event.created_at),
        time_text(event.resolved_at),
        str(event.id),
    ]
