"""`pulsebase history`: what was seen of one service."""

from __future__ import annotations

import difflib
import json
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

import click

from pulsebase.cli.options import INSTANT, DatabaseCommand, Failure, current_options
from pulsebase.cli.output import Column, print_json, print_table, progress, status_cell, tell
from pulsebase.cli.text import shortened, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Connection
    from pulsebase.models.health_check import HealthCheck, Status

__all__ = ["history", "no_such_service"]

_DEFAULT_LIMIT: Final = 100
_LONGEST_DETAILS: Final = 120
_LARGEST_PAGE: Final = 1000
_COLUMNS: Final = (
    Column("CHECKED AT"),
    Column("STATUS"),
    Column("LATENCY", right=True, rank=1),
    Column("DETAILS", rank=2),
)


class _Range(TypedDict):
    """Which checks are wanted."""

    since: datetime | None
    until: datetime | None
    status: Status | None


@click.command(cls=DatabaseCommand)
@click.argument("service", metavar="SERVICE")
@click.option(
    "--since",
    type=INSTANT,
    metavar="TIME",
    help="From then on: 24h (ago), or ISO 8601 with a time zone.",
)
@click.option("--until", type=INSTANT, metavar="TIME", help="Before then; written like --since.")
@click.option(
    "--status",
    type=click.Choice(["healthy", "degraded", "down"], case_sensitive=False),
    help="Only checks with this status.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000_000),
    metavar="N",
    help="At most so many, the newest (100).",
)
@click.option("--all", "everything", is_flag=True, help="No limit.")
def history(
    service: str,
    since: datetime | None,
    until: datetime | None,
    status: str | None,
    limit: int | None,
    *,
    everything: bool,
) -> None:
    """Show the checks of SERVICE, newest first."""
    if everything and limit is not None:
        message = "--all and --limit exclude each other"
        raise click.UsageError(message, click.get_current_context())
    if since and until and since >= until:
        message = f"--since ({time_text(since)}) must be before --until ({time_text(until)})"
        raise click.UsageError(message, click.get_current_context())
    most = None if everything else limit or _DEFAULT_LIMIT
    options = current_options()
    with options.connect() as connection:
        # One more than asked for tells whether there are more.
        wanted: _Range = {"since": since, "until": until, "status": cast("Status | None", status)}
        checks = _found(connection, service, most and most + 1, wanted)
        if not checks and no_such_service(connection, service):
            raise Failure(_unknown(connection, service))
    if options.json:
        print_json({"service_name": service, "checks": checks[:most]})
    else:
        _show(service, checks, most)


def no_such_service(connection: Connection, service: str) -> bool:
    """Whether no check of this service was ever stored."""
    from pulsebase.models.health_check import HealthCheckModel

    return not HealthCheckModel.find_latest(connection, service_name=service)


def _found(
    connection: Connection, service: str, most: int | None, wanted: _Range
) -> list[HealthCheck]:
    from pulsebase.models.health_check import HealthCheckModel

    if most is not None and most <= _LARGEST_PAGE:  # one small request, not a page of 1000
        return HealthCheckModel.find_by_service(connection, service, **wanted, limit=most)
    pages = HealthCheckModel.iterate_by_service(connection, service, **wanted)
    with progress("reading checks", most) as bar:
        return list(_counted(islice(pages, most), bar.advance))


def _counted(checks: Iterator[HealthCheck], advance: Any) -> Iterator[HealthCheck]:
    for check in checks:
        advance()
        yield check


def _unknown(connection: Connection, service: str) -> str:
    """The sentence for a service of which there is nothing, with the name that was meant."""
    from pulsebase.models.health_check import HealthCheckModel

    names = [check.service_name for check in HealthCheckModel.find_latest(connection)]
    if not names:
        return "no check is stored yet; see: pulsebase record --help"
    near = difflib.get_close_matches(service, names, n=1)
    advice = f"did you mean {near[0]!r}?" if near else "see the names with: pulsebase status"
    return f"no check of {service!r} is stored; {advice}"


def _show(service: str, checks: list[HealthCheck], most: int | None) -> None:
    if not checks:
        tell(f"no checks of {service} in this range")
        return
    print_table(_COLUMNS, [_row(check) for check in checks[:most]])
    if most is not None and len(checks) > most:
        tell(f"only the newest {most:,} are shown; --limit or --all shows more")


def _row(check: HealthCheck) -> list[Cell]:
    details = (
        ""
        if check.probe_details is None
        else json.dumps(check.probe_details, ensure_ascii=False, separators=(",", ":"))
    )
    return [
        time_text(check.checked_at),
        status_cell(check.status),
        "" if check.latency_ms is None else f"{check.latency_ms:,} ms",
        shortened(details, _LONGEST_DETAILS),
    ]
