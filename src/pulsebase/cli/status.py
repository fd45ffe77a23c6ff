"""`pulsebase status`: how everything is, now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.alerts.standing import quiet_words
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.options import DURATION, HealthCommand, current_options
from pulsebase.cli.output import (
    Column,
    exit_code,
    print_json,
    status_cell,
    tell,
    worst,
)
from pulsebase.cli.status_alerting import Alerting, Watched, alerting_of, watched_services
from pulsebase.cli.text import age_text, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pulsebase.cli.output import (
        Cell,
    )
    from pulsebase.connection import Call, Connection, Steps
    from pulsebase.models.alert_act import AlertAct
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.models.alert_silence import AlertSilence
    from pulsebase.models.health_check import HealthCheck, LatestHealthCheck

__all__ = ["ServiceStatus", "status"]

_DEFAULT_STALE_AFTER: Final = timedelta(minutes=5)
# Finding out since when takes one request for each service; with more of them it is left out.
_MOST_SERVICES_WITH_SINCE: Final = 25
_CHECKS_FOR_SINCE: Final = 100
_TEXTS: Final = ("ALERT", "QUIET")
_COLUMNS: Final = (
    Column("SERVICE"),
    Column("STATUS"),
    Column("SINCE", rank=4),
    Column("LATENCY", right=True, rank=3),
    Column("CHECKED", right=True, rank=2),
    Column("ALERT", rank=1),
    Column("QUIET", rank=5),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One line of the answer. `status` is `unknown` when the newest check is too old, or none.

    `last_status` is what the newest check said. `since` is when the status began, where the last
    100 checks or the state of the service tell it. `acknowledgements` are those of the active
    alerts, `held_by` why messages about them wait; `silences` those that match the service now,
    None where that was not asked.
    """

    service_name: str
    status: str
    last_status: str | None = None
    since: datetime | None = None
    latency_ms: int | None = None
    checked_at: datetime | None = None
    age_seconds: float | None = None
    stale_after_seconds: float | None = None
    active_alerts: tuple[AlertEvent, ...] = ()
    acknowledgements: tuple[AlertAct, ...] = ()
    held_by: tuple[str, ...] = ()
    silences: tuple[AlertSilence, ...] | None = ()
    flapping_since: datetime | None = None


@click.command(cls=HealthCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--stale-after",
    type=DURATION,
    metavar="DURATION",
    help="A service is unknown when its newest check is older than this (two and a half of its "
    "intervals; 5m where none is known).",
)
def status(names: tuple[str, ...], stale_after: timedelta | None) -> int:
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
        services = _services(connection, tuple(dict.fromkeys(names)), stale_after)
    overall = worst(service.status for service in services)
    if options.json:
        print_json({"status": overall, "services": services})
    elif services:
        print_texts(_COLUMNS, [_row(service) for service in services], _TEXTS)
        if any(service.silences is None for service in services):
            tell("silences are not shown for so many services; see: pulsebase alerts silences")
    else:
        tell("no service has been checked yet; see: pulsebase record --help")
    return exit_code(overall)


def _services(
    connection: Connection, names: Sequence[str], stale_after: timedelta | None
) -> list[ServiceStatus]:
    from pulsebase.models.alert_event import AlertEventModel

    watched = watched_services(connection)
    checks = connection.run(
        _latest(names, _DEFAULT_STALE_AFTER if stale_after is None else stale_after)
    )
    limits = {
        check.service_name: stale_after
        or watched.stale_after(check.service_name, _DEFAULT_STALE_AFTER)
        for check in checks
    }
    fresh = [check.service_name for check in checks if not _is_stale(check, limits)]
    beginnings = connection.run(_beginnings(fresh))
    never = [name for name in names if name not in limits]
    shown = [*limits, *never]
    active = AlertEventModel.find_active(connection)
    events = [event for event in active if event.service_name in limits]
    alerting = alerting_of(connection, shown, events)
    found = [_service(check, limits, watched, beginnings, alerting) for check in checks]
    return [*found, *(ServiceStatus(service_name=name, status="unknown") for name in never)]


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


def _is_stale(check: LatestHealthCheck, limits: Mapping[str, timedelta]) -> bool:
    return check.age_seconds > limits[check.service_name].total_seconds()


def _beginnings(names: Sequence[str]) -> Steps[dict[str, datetime]]:
    """When the status of each service began, where its last checks tell it."""
    from pulsebase.connection import Many
    from pulsebase.models.health_check import HealthCheckModel

    if not 0 < len(names) <= _MOST_SERVICES_WITH_SINCE:
        return {}
    calls: list[Call[list[HealthCheck]]] = [
        HealthCheckModel.find_by_service.call(name, limit=_CHECKS_FOR_SINCE) for name in names
    ]
    histories: list[list[HealthCheck]] = yield Many(calls)
    began = {name: _began(history) for name, history in zip(names, histories, strict=True)}
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
    limits: Mapping[str, timedelta],
    watched: Watched,
    beginnings: Mapping[str, datetime],
    alerting: Alerting,
) -> ServiceStatus:
    name, limit = check.service_name, limits[check.service_name]
    is_stale = _is_stale(check, limits)
    began = beginnings.get(name) or watched.since(name, check.status)
    found = alerting.standings.get(name, ())
    return ServiceStatus(
        service_name=name,
        status="unknown" if is_stale else check.status,
        last_status=check.status,
        since=check.checked_at + limit if is_stale else began,
        latency_ms=check.latency_ms,
        checked_at=check.checked_at,
        age_seconds=check.age_seconds,
        stale_after_seconds=limit.total_seconds(),
        active_alerts=tuple(each.event for each in found),
        acknowledgements=tuple(each.acknowledgement for each in found if each.acknowledgement),
        held_by=tuple(dict.fromkeys(reason for each in found for reason in each.held_by)),
        silences=alerting.silences_of(name),
        flapping_since=watched.flapping_since(name),
    )


def _row(service: ServiceStatus) -> list[Cell]:
    return [
        service.service_name,
        status_cell(service.status, _status_words(service)),
        time_text(service.since),
        "" if service.latency_ms is None else f"{service.latency_ms:,} ms",
        "never" if service.age_seconds is None else f"{age_text(service.age_seconds)} ago",
        _alert_words(service),
        quiet_words(service.silences or (), service.held_by),
    ]


def _status_words(service: ServiceStatus) -> str:
    was = service.last_status
    return f"unknown (was {was})" if service.status == "unknown" and was else service.status


def _alert_words(service: ServiceStatus) -> str:
    acknowledged = {act.event_id: act.actor for act in service.acknowledgements}
    words: list[str] = []
    for event in service.active_alerts:
        actor = acknowledged.get(event.id)
        who = f", acknowledged by {actor}" if actor is not None else ""
        words.append(f"{event.alert_type} at {time_text(event.created_at)}{who}")
    if service.flapping_since is not None:
        words.append(f"flapping since {time_text(service.flapping_since)}")
    return "; ".join(words)
