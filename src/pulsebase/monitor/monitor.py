"""The monitor: schedule, probes, recorder, dispatcher and what stands by them, together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

from pulsebase.models.health_check import HealthCheckModel
from pulsebase.monitor.background import in_background, repeatedly
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.condition import Condition
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.connectivity import Connectivity
from pulsebase.monitor.dead_man import DeadMan
from pulsebase.monitor.delivering.dispatcher import Dispatcher
from pulsebase.monitor.looking.prober import Prober
from pulsebase.monitor.looking.standstill import Standstill
from pulsebase.monitor.looking.turns import Turns
from pulsebase.monitor.publishing import Publishing
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.recording.recorder import Recorder
from pulsebase.monitor.reports import DatabaseReports
from pulsebase.monitor.sharing.sharing import Sharing
from pulsebase.probes import ProbeTools
from pulsebase.probes.support.reports import Reports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.health_check import CreatedMany, NewHealthCheck
    from pulsebase.monitor.configuration import Configuration, Service
    from pulsebase.monitor.recording.spool import Spool
    from pulsebase.monitor.sighting import Health, Sighting

__all__ = ["Monitor", "check_once", "record"]

log = logging.getLogger("pulsebase.monitor")

_FAREWELL_SECONDS: Final = 5.0


async def check_once(
    services: Sequence[Service],
    *,
    keys: MonitorKeys | None = None,
    connection: AsyncConnection | None = None,
) -> list[tuple[Sighting, NewHealthCheck | None]]:
    """Probe every service once, at the same time; in the order of the services.

    Heartbeats read what jobs have reported over the connection.
    """
    keys = keys or MonitorKeys()
    gate = asyncio.Semaphore(keys.concurrency)
    given = {} if connection is None else {Reports: DatabaseReports(connection)}
    async with (
        ProbeTools(given=given) as tools,
        Prober(tools, keys=keys) as prober,
        Connectivity(keys.connectivity, tools) as connectivity,
        Standstill() as standstill,
    ):

        async def one(service: Service) -> tuple[Sighting, NewHealthCheck | None]:
            async with gate:
                began_at = steady_seconds()
                seen, check = await prober.look(service)
            seen, check = standstill.judge(service, seen, check, began_at=began_at)
            return await connectivity.judge(seen, check, began_at=began_at)

        return await asyncio.gather(*map(one, services))


async def record(connection: AsyncConnection, checks: Sequence[NewHealthCheck]) -> CreatedMany:
    """Store checks now; raises what the database says."""
    return await HealthCheckModel.create_many(connection, checks=checks)


class Monitor:
    """Probes services on their intervals and records what it sees, until it is told to stop.

    `latest` holds the newest look at each service that this monitor probes now.
    """

    def __init__(
        self,
        configuration: Configuration,
        connection: AsyncConnection,
        *,
        spool: Spool | None = None,
    ) -> None:
        keys = configuration.monitor
        self._configuration = configuration
        self.latest: dict[str, Sighting] = {}
        self.reachability = Reachability()
        self.recorder = Recorder(connection, reachability=self.reachability, spool=spool)
        self.sharing = Sharing(
            connection,
            name=keys.name,
            location=keys.location,
            heartbeat_interval=keys.heartbeat_interval,
            reachability=self.reachability,
        )
        self.sharing.watch(service.name for service in configuration.services)
        reports = DatabaseReports(connection, self.reachability)
        self._tools = ProbeTools(given={Reports: reports})
        self._prober = Prober(self._tools, keys=keys)
        self._connectivity = Connectivity(keys.connectivity, self._tools)
        self._standstill = Standstill()
        self._turns = Turns(
            configuration,
            prober=self._prober,
            connectivity=self._connectivity,
            standstill=self._standstill,
            owns=self.sharing.owns,
            see=self._see,
            not_ours=self._not_ours,
        )
        self.sharing.when_moved(self._turns.catch_up)
        self._publishing = Publishing(connection, configuration, reachability=self.reachability)
        self.dispatcher = Dispatcher(
            connection, configuration.notifiers, reachability=self.reachability
        )
        self._condition = Condition(
            turns=self._turns,
            connectivity=self._connectivity,
            recorder=self.recorder,
            reachability=self.reachability,
            dispatcher=self.dispatcher,
        )
        self._dead_man = DeadMan(keys, self._tools, self._condition.trouble)

    @property
    def total(self) -> int:
        """How many services are watched, by all monitors together."""
        return len(self._configuration.services)

    @property
    def owned(self) -> int:
        """How many of them are this monitor's, now."""
        return sum(self.sharing.owns(service.name) for service in self._configuration.services)

    @property
    def monitors(self) -> int:
        """How many monitors there are on this database, this one included."""
        return max(1, len(self.sharing.monitors))

    @property
    def counts(self) -> Mapping[Health, int]:
        """How many services of this monitor have each status."""
        return Counter(sighting.status for sighting in self.latest.values())

    @property
    def broken(self) -> int:
        """How many looks were lost by mistakes of probes."""
        return self._prober.broken

    @property
    def late(self) -> int:
        """How many turns began over a second late."""
        return self._turns.late

    @property
    def left_out(self) -> int:
        """How many turns were left out, since they were a whole interval late."""
        return self._turns.left_out

    @property
    def behind_seconds(self) -> float:
        """How long ago the first turn was due that has not begun; 0 where all have."""
        return self._turns.behind_seconds

    @property
    def network_is_away(self) -> bool:
        """Whether failures are not believed now, since no connectivity target answers."""
        return self._connectivity.is_away

    def stop(self) -> None:
        """End soon: no new probes; those under way are given up, what is known is recorded.

        No message is claimed any more; those under way have some seconds to get through.
        """
        self._turns.stop()
        self.dispatcher.stop()

    def reload(self, configuration: Configuration) -> None:
        """Go on with this configuration; what is equal goes on undisturbed.

        A look under way at a service that is gone or changed comes to nothing; a message under way
        goes where it was going. Of `[monitor]`, the keys of the spool and those by which other
        monitors know this one need a new start.
        """
        keys = configuration.monitor
        self._configuration = configuration
        self._turns.update(configuration)
        self._connectivity.update(keys.connectivity)
        self._dead_man.update(keys)
        self._publishing.update(configuration)
        self.dispatcher.update(configuration.notifiers)
        names = {service.name for service in configuration.services}
        self.sharing.watch(names)
        for name in self.latest.keys() - names:
            del self.latest[name]
        log.debug("watching %d services", len(names))

    async def run(self) -> int:
        """Probe until `stop`; how many checks could not be stored."""
        log.debug("watching %d services", self.total)
        self.recorder.start()
        try:
            async with AsyncExitStack() as parts:
                await parts.enter_async_context(self._tools)
                await parts.enter_async_context(self._prober)
                await parts.enter_async_context(self._connectivity)
                await parts.enter_async_context(self._standstill)
                noting = repeatedly(self._condition.note, every_seconds=1.0)
                await parts.enter_async_context(in_background(noting, name="condition"))
                await parts.enter_async_context(self._dead_man)
                publishing = in_background(self._publishing.run(), name="publishing")
                await parts.enter_async_context(publishing)
                await parts.enter_async_context(self.dispatcher)
                self.sharing.start()
                parts.push_async_callback(self.sharing.stop)
                await self._turns.run()
        finally:
            left = await self.recorder.stop(within_seconds=_FAREWELL_SECONDS)
        return left

    def _see(self, sighting: Sighting, check: NewHealthCheck | None) -> None:
        self._condition.saw(sighting)
        if check is not None:
            self._condition.put()
            self.recorder.put(check)
        name = sighting.service_name
        before = self.latest.get(name)
        # A failure that waited for its verdict may be older than what was seen since.
        if before is None or before.seen_at_seconds <= sighting.seen_at_seconds:
            self.latest[name] = sighting

    def _not_ours(self, name: str) -> None:
        self.latest.pop(name, None)
