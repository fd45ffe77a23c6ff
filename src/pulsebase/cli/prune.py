"""`pulsebase prune`: keep the tables from growing for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.cli.options import DURATION, DatabaseCommand, current_options
from pulsebase.cli.output import print_json, print_line, progress
from pulsebase.durations import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.connection import Connection, Steps

__all__ = ["prune"]

_DEFAULT_AGE: Final = timedelta(days=30)


@click.command(cls=DatabaseCommand)
@click.option(
    "--older-than",
    type=DURATION,
    default=_DEFAULT_AGE,
    metavar="DURATION",
    help="Keep what is younger than this, such as 7d or 12h (30d).",
)
def prune(older_than: timedelta) -> None:
    """Delete old checks, resolved alert events, and what was told and done about them.

    A check goes when it arrived longer ago than --older-than, an alert event when it was resolved
    longer ago; active alert events stay, and what is needed to tell of their end. So do messages
    that are not finished, and silences that are not over. Rows go in small batches, so that nobody
    waits for a lock, and an interrupted run is finished by the next one.
    """
    from pulsebase.models.alert_event import AlertEventModel
    from pulsebase.models.alert_message import AlertMessageModel
    from pulsebase.models.health_check import HealthCheckModel

    options = current_options()
    with options.connect() as connection:
        checks = _delete(connection, "checks", HealthCheckModel.delete_older_than.steps(older_than))
        events = _delete(
            connection, "resolved alert events", AlertEventModel.delete_older_than.steps(older_than)
        )
        messages = _delete(
            connection, "messages", AlertMessageModel.delete_older_than.steps(older_than)
        )
    if options.json:
        print_json(
            {
                "older_than_seconds": older_than.total_seconds(),
                "health_checks_deleted": checks,
                "alert_events_deleted": events,
                "alert_rows_deleted": messages,
            }
        )
        return
    print_line(
        f"deleted {_counted(checks, 'check')}, {_counted(events, 'resolved alert event')} and"
        f" {_counted(messages, 'row')} of messages, silences and acts"
        f" older than {format_duration(older_than)}"
    )


def _delete(connection: Connection, what: str, steps: Steps[int]) -> int:
    with progress(f"deleting {what}") as bar:
        return connection.run(_watched(steps, bar.advance))


def _watched(steps: Steps[int], advance: Callable[[int], None]) -> Steps[int]:
    """The same steps; every batch's answer is told on its way back."""
    try:
        step = next(steps)
        while True:
            answer: Any = yield step
            advance(answer)
            step = steps.send(answer)
    except StopIteration as stop:
        return int(stop.value)


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
