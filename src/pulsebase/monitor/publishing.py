"""What the configuration says of alerting, told to the database, where the rules are decided.

Services with their labels, parents and intervals are always told. Policies, channels, routes and
maintenance windows only from a file that has any: a second monitor that merely probes must not take
away whom the first one tells. Addresses and secrets stay here.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pulsebase.errors import NotMigratedError, PulsebaseError, UnavailableError
from pulsebase.models.alert_channel import AlertChannelModel
from pulsebase.models.alert_policy import AlertPolicyModel
from pulsebase.models.alert_silence import AlertSilenceModel
from pulsebase.models.monitored_service import MonitoredServiceModel, NewMonitoredService
from pulsebase.monitor.counted import counted
from pulsebase.monitor.rarely import Rarely, often
from pulsebase.probes.heartbeat import HeartbeatProbe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.configuration import Configuration, Service
    from pulsebase.monitor.reachability import Reachability

__all__ = ["Published", "Publishing", "publish"]

log = logging.getLogger("pulsebase.monitor")

# About 150 kB a call: far below what any door takes, and no pause that a probe would notice.
_SERVICES_A_CALL: Final = 1000
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """How many rows were new or different."""

    services: int
    policies: int = 0
    channels: int = 0
    windows: int = 0


class Publishing:
    """Tells the database of each configuration, once, as soon as it answers."""

    def __init__(
        self,
        connection: AsyncConnection,
        configuration: Configuration,
        *,
        reachability: Reachability,
    ) -> None:
        self._connection = connection
        self._configuration = configuration
        self._reachability = reachability
        self._has_alerting = False
        self._changed = asyncio.Event()
        self._changed.set()
        self._rarely = Rarely()

    def update(self, configuration: Configuration) -> None:
        """Tell of this configuration from now on."""
        self._configuration = configuration
        self._changed.set()

    async def run(self) -> None:
        """Publish now, and after each change; where it fails, again and again until it is done."""
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._succeeds():
                pause_seconds = _FIRST_PAUSE_SECONDS
                continue
            with suppress(TimeoutError):  # a changed file may mend it
                await asyncio.wait_for(self._changed.wait(), pause_seconds)
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)
            self._changed.set()

    async def publish_once(self) -> Published:
        """Publish what holds now; raises what the database says."""
        configuration = self._configuration
        # What this process has published it also takes away, when it has gone from the file.
        has_alerting = _has_alerting(configuration)
        self._has_alerting |= has_alerting
        published = await publish(self._connection, configuration, alerting=self._has_alerting)
        self._has_alerting = has_alerting
        return published

    async def _succeeds(self) -> bool:
        try:
            published = await self.publish_once()
        except (UnavailableError, NotMigratedError) as error:
            if isinstance(error, UnavailableError):
                self._reachability.failed()
            log.debug("the configuration is not published yet: %s", error)
            return False
        except PulsebaseError as error:
            if times := self._rarely.times(type(error).__name__):
                log.warning(
                    "alerting does not know this configuration yet%s: %s", often(times), error
                )
            return False
        log.debug(
            "published: %s, %s, %s and %s are new or different",
            counted(published.services, "service"),
            counted(published.policies, "policy row"),
            counted(published.channels, "channel"),
            counted(published.windows, "maintenance window"),
        )
        return True


async def publish(
    connection: AsyncConnection, configuration: Configuration, *, alerting: bool = True
) -> Published:
    """Store what a configuration says of its services and, if wanted, of alerting.

    Channels come last: once they are there, whatever opens is owed to them.
    """
    services = 0
    for start in range(0, len(configuration.services), _SERVICES_A_CALL):
        piece = configuration.services[start : start + _SERVICES_A_CALL]
        services += await MonitoredServiceModel.publish(connection, services=_described(piece))
    if not alerting:
        return Published(services=services)
    policies = await AlertPolicyModel.publish(connection, policies=configuration.policies)
    # In a thread: it plans every window ahead, which may take a second that no probe can spare.
    planned = await asyncio.to_thread(
        AlertSilenceModel.publish_maintenance.call, windows=configuration.maintenance
    )
    windows = await connection.execute(planned)
    channels = await AlertChannelModel.publish(
        connection,
        channels=[channel.rules for channel in configuration.channels],
        routes=configuration.routes,
    )
    return Published(
        services=services,
        policies=policies,
        channels=channels.changed + channels.unpublished,
        windows=windows.created + windows.lifted,
    )


def _described(services: Sequence[Service]) -> list[NewMonitoredService]:
    return [
        NewMonitoredService(
            service_name=service.name,
            labels=service.labels,
            depends_on=service.depends_on,
            interval=_expected_every(service),
            alert_policy=None if service.alert_policy is None else dict(service.alert_policy),
        )
        for service in services
    ]


def _expected_every(service: Service) -> timedelta | None:
    """How often checks are to be expected; of a job that reports by itself, by its own period."""
    return service.probe.period if isinstance(service.probe, HeartbeatProbe) else service.interval


def _has_alerting(configuration: Configuration) -> bool:
    return bool(
        configuration.policies
        or configuration.channels
        or configuration.routes
        or configuration.maintenance
    )
