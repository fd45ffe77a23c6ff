"""`pulsebase status`: how everything is, now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.options import DURATION, HealthCommand, current_options
from pulsebase.cli.output import (
    Column,
    exit_code,
    print_json,
    print_table,
    status_cell,
    tell,
    worst,
)
from pulsebase.cli.text import age_text, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pulsebase.cli.output import (
        Cell,
    )
    from pulsebase.connection import Call, Steps
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.models.health_check import HealthCheck, LatestHealthCheck

__all__ = ["ServiceStatus", "status"]

_DEFAULT_STALE_AFTER: Final = timedelta(minutes=5)
# Finding out since when takes one request for each service; with more of them it is left out.
_MOST_SERVICES_WITH_SINCE: Final = 25
_CHECKS_FOR_SINCE: Final = 100
_COLUMNS: Final = (
    Column("SERVICE"),
    Column("STATUS"),
    Column("SINCE", rank=4),
    Column("LATENCY", right=True, rank=3),
    Column("CHECKED", right=True, rank=2),
    Column("ALERT", rank=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One line of the answer. `status` is `unknown` when the newest check is too old, or none.

    `last_status` is what the newest check said. `since` is when the status began, where the last
    100 checks tell it.
    """

    service_name: str
    status: str
    last_status: str | None = None
    since: datetime | None = None
    latency_ms: int | None = None
    checked_at: datetime | None = None
    age_seconds: float | None = None
    active_alerts: tuple[AlertEvent, ...] = ()


@click.command(cls=HealthCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--stale-after",
    type=DURATION,
    default=_DEFAULT_STALE_AFTER,
    metavar="DURATION",
    help="A service is unknown when its newest check is older than this (5m).",
)
def status(names: tuple[str, ...], stale_after: timedelta) -> int:
    """Show every service's newest check; exit by the worst status.

    With NAMEs only those services.

    \b
    Exit codes:
      0  every service is healthy
      1  the worst is degraded
      2  one is down
      3  unknown: stale, never checked, no services, or no answer from the database
    """  # noqa: D301 -- click's mark for a paragraph that is not to be filled
    options = current_options()
    with options.connect() as connection:
        services = connection.run(_services(tuple(dict.fromkeys(names)), stale_after))
    overall = worst(service.status for service in services)
    if options.json:
        print_json({"status": overall, "services": services})
    elif services:
        print_table(_COLUMNS, [_row(service) for service in services])
    else:
        tell("no service has been checked yet; see: pulsebase record --help")
    return exit_code(overall)


def _services(names: Sequence[str], stale_after: timedelta) -> Steps[list[ServiceStatus]]:
    from pulsebase.models.alert_event import AlertEventModel

    checks = yield from _latest(names, stale_after)
    events = yield from AlertEventModel.find_active.steps()
    beginnings = yield from _beginnings(checks)
    found = [_service(check, events, beginnings, stale_after) for check in checks]
    known = {check.service_name for check in checks}
    never = [
        ServiceStatus(service_name=name, status="unknown") for name in names if name not in known
    ]
    return [*found, *never]


def _latest(names: Sequence[str], stale_after: timedelta) -> Steps[list[LatestHealthCheck]]:
    from pulsebase.models.health_check import HealthCheckModel

    if not names:
        return (yield from HealthCheckModel.find_latest.steps(stale_after=stale_after))
    found: list[LatestHealthCheck] = []
    for name in names:
        found += yield from HealthCheckModel.find_latest.steps(
            service_name=name, stale_after=stale_after
        )
    return found


def _beginnings(checks: Sequence[LatestHealthCheck]) -> Steps[dict[str, datetime]]:
    """When the status of each service began, where its last checks tell it."""
    from pulsebase.connection import Many
    from pulsebase.models.health_check import HealthCheckModel

    fresh = [check.service_name for check in checks if not check.is_stale]
    if len(fresh) > _MOST_SERVICES_WITH_SINCE:
        return {}
    calls: list[Call[list[HealthCheck]]] = [
        HealthCheckModel.find_by_service.call(name, limit=_CHECKS_FOR_SINCE) for name in fresh
    ]
    histories: list[list[HealthCheck]] = yield Many(calls)
    began = {name: _began(history) for name, history in zip(fresh, histories, strict=True)}
    return {name: moment for name, moment in began.items() if moment}


def _began(history: Sequence[HealthCheck]) -> datetime | None:
    """The first of the newest checks that agree, if the list reaches back to it."""
    for newer, older in pairwise(history):
        if older.status != newer.status:
            return newer.checked_at
    whole = 0 < len(history) < _CHECKS_FOR_SINCE
    return history[-1].checked_at if whole else None


def _service(
    check: LatestHealthCheck,
    events: Sequence[AlertEvent],
    beginnings: dict[str, datetime],
    stale_after: timedelta,
) -> ServiceStatus:
    name = check.service_name
    since = check.checked_at + stale_after if check.is_stale else beginnings.get(name)
    return ServiceStatus(
        service_name=name,
        status="unknown" if check.is_stale else check.status,
        last_status=check.status,
        since=since,
        latency_ms=check.latency_ms,
        checked_at=check.checked_at,
        age_seconds=check.age_seconds,
        active_alerts=tuple(event for event in events if event.service_name == name),
    )


def _row(service: ServiceStatus) -> list[Cell]:
    return [
        service.service_name,
        status_cell(service.status, _status_words(service)),
        time_text(service.since),
        "" if service.latency_ms is None else f"{service.latency_ms:,} ms",
        "never" if service.age_seconds is None else f"{age_text(service.age_seconds)} ago",
        ", ".join(_alert_words(event) for event in service.active_alerts),
    ]


def _status_words(service: ServiceStatus) -> str:
    was = service.last_status
    return f"unknown (was {was})" if service.status == "unknown" and was else service.status


def _alert_words(event: AlertEvent) -> str:
    return f"{event.alert_type} at {time_text(event.created_at)}"
