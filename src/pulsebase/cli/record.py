"""`pulsebase record`: one check from a shell script, a cron job or a deployment."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, cast

import click

from pulsebase.cli.options import INSTANT, DatabaseCommand, current_options
from pulsebase.cli.output import print_json, print_line

if TYPE_CHECKING:
    from datetime import datetime

    from pulsebase.models.health_check import Status

__all__ = ["record"]

# Sixteen times what the database takes: enough room for blanks, and an end for `/dev/zero`.
_LARGEST_INPUT_BYTES: Final = 1_048_576


@click.command(cls=DatabaseCommand)
@click.argument("service", metavar="SERVICE")
@click.argument(
    "status",
    metavar="STATUS",
    type=click.Choice(["healthy", "degraded", "down"], case_sensitive=False),
)
@click.option("--latency-ms", type=int, metavar="N", help="How long the service took to answer.")
@click.option("--details", metavar="JSON", help="A JSON object; - reads it from standard input.")
@click.option(
    "--checked-at",
    type=INSTANT,
    metavar="TIME",
    help="When the service was looked at: ISO 8601 with a time zone, or 90s for 90 seconds ago. "
    "Without it, now.",
)
def record(
    service: str,
    status: str,
    latency_ms: int | None,
    details: str | None,
    checked_at: datetime | None,
) -> None:
    """Store one check of SERVICE and print its id.

    STATUS is healthy, degraded or down.
    """
    from pulsebase.models.health_check import HealthCheckModel

    options = current_options()
    call = HealthCheckModel.create.call(
        service_name=service,
        status=cast("Status", status),
        latency_ms=latency_ms,
        checked_at=checked_at,
        probe_details=None if details is None else _details(details),
    )
    with options.connect() as connection:
        check = connection.execute(call)
    if options.json:
        print_json(check)
    else:
        print_line(str(check.id))


def _details(text: str) -> dict[str, Any]:
    """The JSON object in the text or on standard input; the model checks the rest."""
    source, text = ("standard input", _read_input()) if text == "-" else ("--details", text)
    try:
        return cast("dict[str, Any]", json.loads(text, object_pairs_hook=_unique))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        message = f"{source} is not JSON: {error.msg} ({place})"
    except RecursionError:
        message = f"{source} is nested too deep"
    except ValueError as error:
        message = f"{source} cannot be used: {error}"
    raise click.UsageError(message, click.get_current_context())


def _read_input() -> str:
    data = sys.stdin.buffer.read(_LARGEST_INPUT_BYTES + 1) if sys.stdin else b""
    if len(data) > _LARGEST_INPUT_BYTES:
        message = "standard input holds more than 1 MiB; details are a JSON object up to 64 KiB"
        raise click.UsageError(message, click.get_current_context())
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"standard input is not UTF-8 (byte {error.start})"
        raise click.UsageError(message, click.get_current_context()) from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The members of an object; a name that comes twice would lose a value without a word."""
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        message = f"the name {twice!r} comes twice in one object"
        raise ValueError(message)
    return members
