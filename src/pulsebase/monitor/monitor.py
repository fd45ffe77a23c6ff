"""The monitor: schedule, probes and recorder together."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pulsebase.correlation import correlated
from pulsebase.models.health_check import HealthCheckModel
from pulsebase.monitor.prober import probe_service
from pulsebase.monitor.recorder import Recorder
from pulsebase.monitor.schedule import Schedule
from pulsebase.probes import ProbeTools

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.health_check import CreatedMany, NewHealthCheck
    from pulsebase.monitor.configuration import Configuration, Service
    from pulsebase.monitor.sighting import Sighting

log = logging.getLogger("pulsebase.monitor")

_MOST_PROBES_AT_ONCE = 500
_FAREWELL_SECONDS = 5.0


async def check_once(
    services: Sequence[Service],
) -> list[tuple[Sighting, NewHealthCheck | None]]:
    """Probe every service once, at the same time; in the order of the services."""
    gate = asyncio.Semaphore(_MOST_PROBES_AT_ONCE)

    async def one(service: Service, tools: ProbeTools) -> tuple[Sighting, NewHealthCheck | None]:
        async with gate:
            return await probe_service(service, tools)

    async with ProbeTools() as tools:
        return await asyncio.gather(*(one(service, tools) for service in services))


async def record(connection: AsyncConnection, checks: Sequence[NewHealthCheck]) -> CreatedMany:
    """Store checks now; raises what the database says."""
    return await HealthCheckModel.create_many(connection, checks=checks)


class Monitor:
    """Probes services on their intervals and records what it sees, until it is told to stop."""

    def __init__(self, configuration: Configuration, connection: AsyncConnection) -> None:
        self._services = configuration.services
        self._gate = asyncio.Semaphore(_MOST_PROBES_AT_ONCE)
        self._stopping = asyncio.Event()
        self._returned = asyncio.Event()
        self._probing: set[asyncio.Task[None]] = set()
        self.recorder = Recorder(connection)
        self.latest: dict[str, Sighting] = {}

    def stop(self) -> None:
        """End soon: no new probes; those under way are given up, what is known is recorded."""
        self._stopping.set()
        self._returned.set()

    async def run(self) -> int:
        """Probe until `stop`; how many checks could not be stored."""
        self.recorder.start()
        try:
            async with ProbeTools() as tools:
                await self._probe_until_stopped(tools)
                await self._give_up_probes()
        finally:
            left = await self.recorder.stop(within_seconds=_FAREWELL_SECONDS)
        return left

    async def _probe_until_stopped(self, tools: ProbeTools) -> None:
        clock = asyncio.get_running_loop().time
        schedule = Schedule(self._services, clock())
        log.info("watching %d services", len(self._services))
        while not self._stopping.is_set():
            for service, turn_at in schedule.take_due(clock()):
                task = asyncio.create_task(self._turn(schedule, service, turn_at, tools))
                self._probing.add(task)
                task.add_done_callback(self._probing.discard)
            await self._wait(schedule.next_at_seconds(), clock())

    async def _wait(self, until_seconds: float | None, now_seconds: float) -> None:
        """Until the next turn, or until a probe came back and its service may be due earlier."""
        delay = None if until_seconds is None else max(0.0, until_seconds - now_seconds)
        try:
            async with asyncio.timeout(delay):
                await self._returned.wait()
        except TimeoutError:
            pass
        if not self._stopping.is_set():
            self._returned.clear()

    async def _turn(
        self, schedule: Schedule, service: Service, turn_at_seconds: float, tools: ProbeTools
    ) -> None:
        try:
            with correlated():
                async with self._gate:
                    sighting, check = await probe_service(service, tools)
                self.latest[service.name] = sighting
                if check is not None:
                    self.recorder.put(check)
        finally:
            now_seconds = asyncio.get_running_loop().time()
            schedule.done(service, turn_at_seconds, now_seconds)
            self._returned.set()

    async def _give_up_probes(self) -> None:
        for task in self._probing:
            task.cancel()
        await asyncio.gather(*self._probing, return_exceptions=True)
