"""Shares the services among the monitors on one database, without a leader and without a setting.

Each monitor beats: it keeps its row fresh and gets those of the others back. Among those at its
location rendezvous hashing says whose each service is. The database judges who is gone, by its own
clock. While it is away nobody can be judged, so each keeps the share that it had; so does everybody
when it returns, since only a monitor that reached it all the time may call another one silent.
"""

from __future__ import annotations

import asyncio
import logging
import platform
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from pulsebase import __version__
from pulsebase.correlation import correlated
from pulsebase.errors import NotMigratedError, PulsebaseError, UnavailableError
from pulsebase.models.monitor import MonitorModel, MonitorServices
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.sharing.footprints import Footprints
from pulsebase.monitor.sharing.rendezvous import Candidate, ServiceSet, owner_of, service_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import timedelta
    from uuid import UUID

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.monitor import Monitor
    from pulsebase.monitor.reachability import Reachability

__all__ = ["Sharing"]

log = logging.getLogger("pulsebase.monitor")

_SILENT_AFTER_INTERVALS = 2.5  # as in the database's function
_JITTER = 0.05
_RETRY_INTERVALS = 0.2
_SHORTEST_PAUSE_SECONDS = 0.05
_SHORTEST_BEAT_TIMEOUT_SECONDS = 1.0
_EXCHANGE_TIMEOUT_SECONDS = 10.0  # 100,000 services are a megabyte
_FAREWELL_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Share:
    """Who there is at our location, ourselves among them; and what was worked out from it so far.

    Each service is worked out at its first turn after a change: no join ever stalls the loop.
    """

    own: UUID
    candidates: tuple[Candidate, ...]
    _owned: dict[str, bool] = field(default_factory=dict[str, bool], compare=False)

    def owns(self, service_name: str) -> bool:
        owned = self._owned.get(service_name)
        if owned is None:
            owned = owner_of(service_hash(service_name), self.candidates) == self.own
            self._owned[service_name] = owned
        return owned

    @property
    def is_alone(self) -> bool:
        return len(self.candidates) == 1


class Sharing:
    """Knows which services this monitor probes; beats in the background until `stop`.

    Before the first answer it owns nothing, unless the database cannot be asked: then everything.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        name: str | None,
        location: str | None,
        heartbeat_interval: timedelta,
        reachability: Reachability,
        footprints: Footprints | None = None,
    ) -> None:
        self.id: UUID = uuid7()
        self._connection = connection
        self._name = name or platform.node()[:100] or None
        self._location = location
        self._interval = heartbeat_interval
        self._interval_seconds = heartbeat_interval.total_seconds()
        self._reachability = reachability
        self._reached_since = reachability.since
        self._footprints = Footprints() if footprints is None else footprints
        self._names: frozenset[str] = frozenset()
        self._services: tuple[frozenset[str], ServiceSet] = (frozenset(), ServiceSet.of(()))
        self._sets: dict[str, ServiceSet] = {}
        self._monitors: tuple[Monitor, ...] = ()
        self._share: _Share | None = None
        self._was_cut_off = False
        self._trouble = ""
        self._abandoned: list[UUID] = []
        self._beat_timeout_seconds = max(_SHORTEST_BEAT_TIMEOUT_SECONDS, self._interval_seconds / 2)
        self._stirred = asyncio.Event()
        self._stopping = False
        self._awake_at_seconds = self._met_at_seconds = steady_seconds()
        self._moved: Callable[[float], None] | None = None
        self._missed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """The monitors that are there, of all locations, as of the last beat."""
        return self._monitors

    def when_moved(self, call: Callable[[float], None]) -> None:
        """Call this when services may have become ours, with the steady seconds since when.

        Turns since then may have been missed: by one that died, or by us, who did not know.
        """
        self._moved = call

    def watch(self, service_names: Iterable[str]) -> None:
        """Share these services from now on; the other monitors are told at once."""
        self._names = frozenset(service_names)
        self._stirred.set()

    def owns(self, service_name: str) -> bool:
        """Whether this monitor probes the service now. Cheap: it is asked at each turn."""
        share = self._share
        if share is None:
            return False
        if share.is_alone:
            return True
        if self._was_asleep():
            self._missed = True
            self._stirred.set()
            return False  # the others have taken over meanwhile; the next beat tells
        return share.owns(service_name)

    def start(self) -> None:
        """Begin to beat in the background."""
        self._awake_at_seconds = steady_seconds()
        self._task = asyncio.create_task(self._run(), name="sharing")

    async def stop(self) -> None:
        """Leave, so that the others take over at their next beat; takes two seconds at most."""
        self._stopping = True
        self._stirred.set()
        if self._task is None:
            return
        # A beat under way is let through, or it could arrive after the farewell and undo it.
        await asyncio.wait({self._task}, timeout=_FAREWELL_SECONDS / 2)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS / 2):
                await MonitorModel.remove(self._connection, self.id)
        except (PulsebaseError, TimeoutError) as error:
            log.debug("could not leave, the others will notice: %s", error)
        else:
            self._footprints.erase(self.id)

    def _was_asleep(self) -> bool:
        asleep_seconds = steady_seconds() - self._awake_at_seconds
        return asleep_seconds > _SILENT_AFTER_INTERVALS * self._interval_seconds

    async def _run(self) -> None:
        self._abandoned = await asyncio.to_thread(self._footprints.leave, self.id)
        while not self._stopping:
            with correlated():
                delay_seconds = await self._turn()
            await self._pause(delay_seconds)

    async def _pause(self, seconds: float) -> None:
        self._awake_at_seconds = steady_seconds()
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass

    async def _turn(self) -> float:
        """Beat once, whatever comes of it; in how many seconds the next beat is due."""
        self._stirred.clear()
        try:
            await self._meet()
        except NotMigratedError as error:
            self._go_on_without(error, logging.WARNING)
            return self._interval_seconds
        except (UnavailableError, TimeoutError) as error:
            self._reachability.failed()
            self._go_on_without(error, logging.INFO)  # the recorder tells people
        except PulsebaseError as error:
            self._go_on_without(error, logging.WARNING)
        except Exception as error:  # without beats the others would take over
            log.debug("the beat of this monitor broke", exc_info=True)
            self._go_on_without(error, logging.ERROR)
        else:
            return self._next_beat_seconds()
        return self._retry_seconds()

    async def _meet(self) -> None:
        """Beat, exchange the sets of services where they are new, and see whose share is what."""
        own = await self._own_services()
        await self._sweep()
        monitors = await self._beat()
        if not any(each.id == self.id and each.services_digest == own.digest for each in monitors):
            packed = MonitorServices(own.digest, own.hashes)
            async with asyncio.timeout(_EXCHANGE_TIMEOUT_SECONDS):
                await MonitorModel.publish_services(self._connection, self.id, services=packed)
        # One that has not said what it watches has only just come, and probes nothing yet.
        others = [
            each
            for each in monitors
            if each.id != self.id and each.location == self._location and each.services_digest
        ]
        candidates = [Candidate(each.id, await self._services_of(each)) for each in others]
        since_seconds = self._unprobed_since_seconds({each.id for each in monitors})
        self._monitors, self._met_at_seconds = tuple(monitors), steady_seconds()
        self._divide((Candidate(self.id), *candidates), since_seconds)

    async def _own_services(self) -> ServiceSet:
        names, services = self._services
        if names is not self._names:
            names = self._names
            services = await asyncio.to_thread(ServiceSet.of, names)
            self._services = (names, services)
        self._sets[services.digest] = services
        return services

    async def _sweep(self) -> None:
        """Remove the rows of monitors that died on this machine, so that nobody waits for them."""
        while self._abandoned:
            async with asyncio.timeout(self._beat_timeout_seconds):
                was_here = await MonitorModel.remove(self._connection, self._abandoned[-1])
            identifier = self._abandoned.pop()
            if was_here:
                self._footprints.erase(identifier)

    async def _beat(self) -> list[Monitor]:
        cut_off = self._was_cut_off or self._reachability.since != self._reached_since
        async with asyncio.timeout(self._beat_timeout_seconds):
            monitors = await MonitorModel.beat(
                self._connection,
                id=self.id,
                heartbeat_interval=self._interval,
                version=__version__,
                name=self._name,
                location=self._location,
                was_cut_off=cut_off,
            )
        self._reachability.succeeded()
        self._reached_since, self._was_cut_off = self._reachability.since, False
        return monitors

    async def _services_of(self, monitor: Monitor) -> ServiceSet | None:
        """What another monitor watches: asked for once for each digest."""
        digest = monitor.services_digest or ""
        if digest not in self._sets:
            async with asyncio.timeout(_EXCHANGE_TIMEOUT_SECONDS):
                packed = await MonitorModel.find_services(self._connection, monitor.id)
            if packed is None:
                return ServiceSet.of(())  # it has just left
            self._sets[digest] = await asyncio.to_thread(ServiceSet, packed.hashes)
        return self._sets[digest]

    def _unprobed_since_seconds(self, there: set[UUID]) -> float:
        """Since when nobody may have probed what is ours from now on."""
        last_beats = [
            self._met_at_seconds - each.age_seconds
            for each in self._monitors
            if each.id not in there
        ]
        return min([self._met_at_seconds, *last_beats])

    def _divide(self, candidates: tuple[Candidate, ...], since_seconds: float) -> None:
        if self._share is None or self._share.candidates != candidates:
            if len(candidates) > 1 or self._share is not None:
                log.info("monitors at this location that share the services: %d", len(candidates))
            self._share = _Share(self.id, candidates)
            self._missed = True
        if self._missed:
            self._missed = False
            self._tell_moved(since_seconds)
        if self._trouble:
            log.info("the monitors meet again")
        self._trouble = ""
        kept = {each.services.digest for each in candidates if each.services}
        kept.add(self._services[1].digest)
        self._sets = {digest: each for digest, each in self._sets.items() if digest in kept}

    def _tell_moved(self, since_seconds: float) -> None:
        if self._moved is not None:
            self._moved(since_seconds)

    def _go_on_without(self, error: Exception, level: int) -> None:
        """Keep the share that there was, or take everything if there was none; tell it once."""
        self._was_cut_off = True
        if self._share is None:
            self._share = _Share(self.id, (Candidate(self.id),))
            self._tell_moved(self._met_at_seconds)
        kind = type(error).__name__
        text = str(error) or "no answer in time"
        alone = "probing all services" if self._share.is_alone else "keeping the share"
        log.log(
            logging.DEBUG if self._trouble == kind else level,
            "cannot meet the other monitors, %s: %s",
            alone,
            text,
        )
        self._trouble = kind

    def _next_beat_seconds(self) -> float:
        """After an interval; sooner where something will be to be seen by then.

        That is another one's death, or which services one watches that has only just come.
        """
        if not all(each.services_digest for each in self._monitors if each.id != self.id):
            return self._retry_seconds()
        dues = [
            _SILENT_AFTER_INTERVALS * each.heartbeat_interval_seconds - each.age_seconds
            for each in self._monitors
            if each.id != self.id
        ]
        soonest = min((due for due in dues if due > 0), default=self._interval_seconds)
        return min(self._jittered_seconds(), soonest + _SHORTEST_PAUSE_SECONDS)

    def _retry_seconds(self) -> float:
        return max(_SHORTEST_PAUSE_SECONDS, _RETRY_INTERVALS * self._jittered_seconds())

    def _jittered_seconds(self) -> float:
        spread = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 -- keeps no secret
        return self._interval_seconds * spread
