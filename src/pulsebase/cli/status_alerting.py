"""What `pulsebase status` says of alerting: who is on it, what is quiet, what flaps, what is old.

A database that was migrated by an earlier version has nothing of this; then nothing of it is said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, TypeVar

from pulsebase.cli.alerts.standing import Standing, silences_of, standings
from pulsebase.errors import NotMigratedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pulsebase.connection import Connection, Steps
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.models.alert_silence import AlertSilence
    from pulsebase.models.service_state import ServiceState

__all__ = ["Alerting", "Watched", "alerting_of", "watched_services"]

T = TypeVar("T")

# A check may be late by one interval and a half; with very short intervals, by what storing takes.
_INTERVALS: Final = 2.5
_LEAST_STALE_AFTER: Final = timedelta(minutes=1)
_LONGEST_INTERVAL: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of services: the interval of each that is configured, and what was decided."""

    intervals: Mapping[str, timedelta] = field(default_factory=dict)
    states: Mapping[str, ServiceState] = field(default_factory=dict)

    def stale_after(self, name: str, otherwise: timedelta) -> timedelta:
        """How old the newest check of a service may be: two and a half of its intervals."""
        interval = self.intervals.get(name)
        if interval is None:
            return otherwise
        return max(min(interval, _LONGEST_INTERVAL) * _INTERVALS, _LEAST_STALE_AFTER)

    def since(self, name: str, status: str) -> datetime | None:
        """When the status began, if it is the one that was decided."""
        state = self.states.get(name)
        return state.since if state is not None and state.status == status else None

    def flapping_since(self, name: str) -> datetime | None:
        """Since when the service has been flapping, if it does."""
        state = self.states.get(name)
        return None if state is None else state.flapping_since


@dataclass(frozen=True, slots=True)
class Alerting:
    """The active alerts by service, and the silences that hold; those of None are not known."""

    standings: Mapping[str, tuple[Standing, ...]] = field(default_factory=dict)
    silences: Mapping[str, tuple[AlertSilence, ...]] | None = field(default_factory=dict)

    def silences_of(self, name: str) -> tuple[AlertSilence, ...] | None:
        """The silences of one service."""
        if name in self.standings:
            return self.standings[name][0].silences
        return None if self.silences is None else self.silences.get(name, ())


def watched_services(connection: Connection) -> Watched:
    """The intervals and states of all services."""
    return _where_migrated(connection, _watched(), Watched())


def alerting_of(
    connection: Connection, names: Sequence[str], events: Sequence[AlertEvent]
) -> Alerting:
    """How the active alerts stand, and which services are silenced."""
    unknown = _grouped([Standing(event=event) for event in events])
    return _where_migrated(connection, _alerting(names, events), Alerting(unknown))


def _where_migrated(connection: Connection, steps: Steps[T], otherwise: T) -> T:
    try:
        return connection.run(steps)
    except NotMigratedError:
        return otherwise


def _watched() -> Steps[Watched]:
    from pulsebase.models.monitored_service import MonitoredServiceModel
    from pulsebase.models.service_state import ServiceStateModel

    services = yield from MonitoredServiceModel.find_all.steps()
    states = yield from ServiceStateModel.find_all.steps()
    return Watched(
        {
            service.service_name: service.interval
            for service in services
            if service.interval is not None
        },
        {state.service_name: state for state in states},
    )


def _alerting(names: Sequence[str], events: Sequence[AlertEvent]) -> Steps[Alerting]:
    found = yield from standings(events, names[0] if len(names) == 1 else None)
    with_alerts = {event.service_name for event in events}
    silences = yield from silences_of(name for name in names if name not in with_alerts)
    return Alerting(_grouped(found), silences)


def _grouped(found: Sequence[Standing]) -> dict[str, tuple[Standing, ...]]:
    grouped: dict[str, tuple[Standing, ...]] = {}
    for standing in found:
        name = standing.event.service_name
        grouped[name] = (*grouped.get(name, ()), standing)
    return grouped
