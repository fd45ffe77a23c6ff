"""The loop: takes the turns as they come due, probes, and hands over what was seen.

One task for each look under way and none for what waits: a service that is not due is an entry of
the schedule, one that is due and has no place yet an entry of a queue.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pulsebase.correlation import bind_correlation_id_when_needed
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.counted import counted
from pulsebase.monitor.looking.concurrency import Admission
from pulsebase.monitor.looking.schedule import Schedule, Turn
from pulsebase.monitor.rarely import Rarely

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.configuration import Configuration
    from pulsebase.monitor.connectivity import Connectivity
    from pulsebase.monitor.looking.prober import Prober
    from pulsebase.monitor.looking.standstill import Standstill
    from pulsebase.monitor.sighting import Sighting

__all__ = ["Turns"]

log = logging.getLogger("pulsebase.monitor")

# Turns that come due within this time begin together: the loop wakes up once for all of them.
_TOGETHER_SECONDS: Final = 0.005
_LONGEST_PAUSE_SECONDS: Final = 1.0
_LATE_SECONDS: Final = 1.0
_LAST_VERDICT_SECONDS: Final = 3.0
_SLICE: Final = 200


class Turns:
    """Runs every turn that is ours until `stop`, each service at most once at a time.

    `owns` says whether a service is ours; `see` is handed what there is to show and to record, and
    `not_ours` the name of a service that another monitor probes.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        prober: Prober,
        connectivity: Connectivity,
        standstill: Standstill,
        owns: Callable[[str], bool],
        see: Callable[[Sighting, NewHealthCheck | None], None],
        not_ours: Callable[[str], None],
    ) -> None:
        keys = configuration.monitor
        self._prober = prober
        self._connectivity = connectivity
        self._standstill = standstill
        self._owns = owns
        self._see = see
        self._not_ours = not_ours
        self._schedule = Schedule(configuration.services)
        self._admission = Admission[Turn](
            self._begin, limit=keys.concurrency, host_limit=keys.host_concurrency
        )
        self._hosts: dict[str, str | None] = {}
        self._passed: dict[str, float] = {}  # the last turn that was not ours, by name
        self._catching: set[asyncio.Task[None]] = set()
        self._looking: set[asyncio.Task[None]] = set()
        self._doubting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._sleeps_until = 0.0
        self._is_stopping = False
        self._rarely = Rarely()
        self._late_before = 0
        self._latest_seconds = 0.0
        self.begun = 0
        self.late = 0

    @property
    def behind_seconds(self) -> float:
        """How long ago the first turn was due that has not begun; 0 where all have.

        A turn that waits for its own host, since that is slow, does not count.
        """
        waiting = self._admission.next_ready()
        due_at = waiting.at_seconds if waiting else self._schedule.next_at_seconds()
        return 0.0 if due_at is None else max(0.0, steady_seconds() - due_at)

    @property
    def left_out(self) -> int:
        """How many turns were left out, since they were a whole interval late."""
        return self._schedule.left_out

    @property
    def waiting(self) -> int:
        """How many turns are due and wait for a place."""
        return self._admission.waiting

    def update(self, configuration: Configuration) -> None:
        """Other services and limits; what is equal is not touched."""
        keys = configuration.monitor
        self._hosts.clear()
        self._passed.clear()
        self._schedule.update(configuration.services)
        self._admission.set_limits(limit=keys.concurrency, host_limit=keys.host_concurrency)
        self._wake.set()

    def catch_up(self, since_seconds: float) -> None:
        """Look soon at what is ours since just now and had its turn after `since_seconds`.

        Whoever had it then may have died before; waiting for its next turn would double the gap.
        """
        task = asyncio.create_task(self._catch_up(since_seconds), name="catching up")
        self._catching.add(task)
        task.add_done_callback(self._catching.discard)

    async def _catch_up(self, since_seconds: float) -> None:
        missed = [name for name, at_seconds in self._passed.items() if at_seconds >= since_seconds]
        ours: list[str] = []
        for start in range(0, len(missed), _SLICE):
            ours += filter(self._owns, missed[start : start + _SLICE])
            await asyncio.sleep(0)  # whose each is has to be worked out anew
        if ours and not self._is_stopping:
            self._schedule.hasten(ours)
            self._wake.set()

    def stop(self) -> None:
        """Let `run` return soon: nothing new begins, and looks under way are given up."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Begin each turn when it is due, until `stop`."""
        try:
            while not self._is_stopping:
                for turn in self._schedule.take_due():
                    self._take(turn)
                self._tell_late()
                await self._pause()
        finally:
            await self._end()

    async def _pause(self) -> None:
        now = steady_seconds()
        due_at = self._schedule.next_at_seconds()
        longest = now + _LONGEST_PAUSE_SECONDS
        self._sleeps_until = longest if due_at is None else min(due_at, longest)
        pause = max(_TOGETHER_SECONDS, self._sleeps_until - now)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._wake.wait()
        self._wake.clear()

    def _take(self, turn: Turn) -> None:
        name = turn.service.name
        if not self._owns(name):
            self._passed[name] = turn.at_seconds
            self._schedule.done(turn)
            self._not_ours(name)
            return
        self._passed.pop(name, None)
        if name not in self._hosts:
            self._hosts[name] = turn.service.probe.host
        self._admission.enter(turn, self._hosts[name])

    def _begin(self, turn: Turn, host: str | None) -> bool:
        """Whether the turn did begin; not one whose service was taken away while it waited."""
        late_seconds = steady_seconds() - turn.at_seconds
        if self._is_stopping or not self._schedule.is_current(turn):
            self._put_back(turn, retry=False)
            return False
        self.begun += 1
        if late_seconds > _LATE_SECONDS:
            self.late += 1
            self._latest_seconds = max(self._latest_seconds, late_seconds)
        self._looking.add(asyncio.create_task(self._turn(turn, host)))
        return True

    async def _turn(self, turn: Turn, host: str | None) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- this is a coroutine
        bind_correlation_id_when_needed()
        try:
            await self._look(turn, host, task)
        except Exception:
            log.exception("the turn of %r failed; nothing is recorded for it", turn.service.name)
        finally:
            self._looking.discard(task)
            self._doubting.discard(task)

    async def _look(self, turn: Turn, host: str | None, task: asyncio.Task[None]) -> None:
        began_at, is_well = steady_seconds(), False
        try:
            sighting, check = await self._prober.look(turn.service)
            sighting, check = self._standstill.judge(
                turn.service, sighting, check, began_at=began_at
            )
            is_well = sighting.status == "healthy"
        finally:
            self._put_back(turn, retry=not is_well)
            self._admission.leave(host)
        if self._connectivity.doubts(check):
            # The place is free again: whoever waits for a verdict keeps nobody else from looking.
            self._looking.discard(task)
            self._doubting.add(task)
            sighting, check = await self._connectivity.judge(sighting, check, began_at=began_at)
        if self._schedule.is_current(turn):
            self._see(sighting, check)

    def _put_back(self, turn: Turn, *, retry: bool) -> None:
        self._schedule.done(turn, retry=retry)
        due_at = self._schedule.next_at_seconds()
        if due_at is not None and due_at < self._sleeps_until:
            self._wake.set()

    def _tell_late(self) -> None:
        if self.late == self._late_before:
            return
        if self._rarely.times("late"):
            log.warning(
                "%s began over a second late, the latest after %.1f s; %d waiting; %s",
                counted(self.late - self._late_before, "turn"),
                self._latest_seconds,
                self.waiting,
                "raise concurrency or host_concurrency"
                if self.waiting
                else "this machine is too busy: watch fewer services here, or give it more CPU",
            )
            self._late_before, self._latest_seconds = self.late, 0.0

    async def _end(self) -> None:
        """Give up the looks under way; what already failed may still get its verdict."""
        self._is_stopping = True
        for task in self._looking:
            task.cancel()
        if self._doubting:
            self._connectivity.hurry()
            await asyncio.wait(self._doubting, timeout=_LAST_VERDICT_SECONDS)
        left = [*self._looking, *self._doubting, *self._catching]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
