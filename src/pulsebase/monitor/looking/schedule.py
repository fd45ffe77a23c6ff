"""When each service is due: at its own phase of its interval, without drift, never overlapping.

The turns of a service lie where `seconds since 1970 ≡ phase (modulo interval)`, with a phase that
depends on its name and interval alone. So every monitor, and this one after a restart, has the same
turns; who probes can change without a gap. The wall clock only says where the turns lie. From then
on the steady clock paces: when somebody sets the wall clock, no turn comes at once and none is
missing; each service goes over to its new place with the turn after its next one.
"""

from __future__ import annotations

import heapq
import logging
import time
from itertools import count
from math import floor
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from pulsebase.monitor.clocks import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pulsebase.monitor.configuration import Service

__all__ = ["Schedule", "Turn", "phase_seconds"]

log = logging.getLogger("pulsebase.monitor")

_PHASES: Final = 2**32
# Nobody waits longer than a minute for the first look at a service; and it is not wasted in the
# first moments, in which a monitor does not know its share yet.
_FIRST_LOOK_SECONDS: Final = 3.0
_LATEST_FIRST_LOOK_SECONDS: Final = 60.0
# Smaller differences between the clocks are noise.
_JUMP_SECONDS: Final = 0.5
_SAME_MOMENT_SECONDS: Final = 0.05


class Turn(NamedTuple):
    """One turn of a service, in steady seconds; an extra one lies between the regular ones."""

    service: Service
    at_seconds: float
    is_extra: bool


class _Watch:
    """Where a service stands. `regular_at` is its last regular turn, or would have been."""

    __slots__ = ("at", "interval", "is_extra", "number", "phase", "regular_at", "service")

    def __init__(self, service: Service, number: int) -> None:
        self.service = service
        self.number = number
        self.interval = service.interval.total_seconds()
        self.phase = phase_seconds(service.name, self.interval)
        self.at = 0.0
        self.is_extra = False
        self.regular_at = 0.0


class Schedule:
    """The services in the order in which they are due.

    A service that was taken is not due again until `done` puts it back, so that a slow probe never
    overlaps the next one. Turns that were missed meanwhile are left out, not caught up.
    """

    def __init__(
        self,
        services: Iterable[Service] = (),
        *,
        clock: Callable[[], float] = steady_seconds,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._wall_clock = wall_clock
        self._wall_ahead = wall_clock() - clock()
        self._watches: dict[str, _Watch] = {}
        self._busy: dict[str, Turn] = {}
        self._heap: list[tuple[float, int, _Watch]] = []
        self._numbers = count()
        self.left_out = 0
        self.update(services)

    def update(self, services: Iterable[Service]) -> None:
        """Watch these from now on: what is equal stays as it is, what is not begins anew.

        A service that is being probed keeps its turn until `done`, whatever becomes of it.
        """
        now, known = self._clock(), self._watches
        self._notice_clock()
        self._watches = {}
        for service in services:
            watch = known.get(service.name)
            if watch is None or watch.service != service:
                watch = self._begin(service, now)
            self._watches[service.name] = watch
        self._arrange()

    def is_current(self, turn: Turn) -> bool:
        """Whether the turn is of a service that is still watched, and as it is still defined."""
        watch = self._watches.get(turn.service.name)
        return watch is not None and watch.service is turn.service

    def next_at_seconds(self) -> float | None:
        """When the next service is due; None while every service is being probed."""
        return self._heap[0][0] if self._heap else None

    def take_due(self) -> list[Turn]:
        """The turns that are due by now. One that is a whole interval late is left out."""
        self._notice_clock()
        now, heap = self._clock(), self._heap
        due: list[Turn] = []
        while heap and heap[0][0] <= now:
            _, _, watch = heapq.heappop(heap)
            turn = Turn(watch.service, watch.at, watch.is_extra)
            if now - watch.at < watch.interval:
                self._busy[watch.service.name] = turn
                due.append(turn)
            else:
                # After a long sleep of the machine everything is due; the next turns are spread.
                self.left_out += 1
                self._put_back(watch, turn, now, retry=False)
        return due

    def done(self, turn: Turn, *, retry: bool = False) -> None:
        """Put a service back; with `retry`, after its retry interval, if it has one."""
        name = turn.service.name
        if self._busy.get(name) is not turn:
            return
        del self._busy[name]
        watch, now = self._watches.get(name), self._clock()
        if watch is None:
            return
        if watch.service is turn.service:
            self._put_back(watch, turn, now, retry=retry)
            return
        # It was defined anew meanwhile; its first turn may have gone by.
        if watch.at <= now:
            watch.at, watch.is_extra = self._regular_after(watch, now), False
        heapq.heappush(self._heap, (watch.at, watch.number, watch))

    def hasten(self, names: Iterable[str]) -> None:
        """Make these due now, by an extra turn each; their regular turns stay where they are."""
        now = self._clock()
        for name in names:
            watch = self._watches.get(name)
            if watch is not None and name not in self._busy and watch.at > now:
                watch.at, watch.is_extra = now, True
        self._arrange()

    def _arrange(self) -> None:
        self._heap = [
            (watch.at, watch.number, watch)
            for name, watch in self._watches.items()
            if name not in self._busy
        ]
        heapq.heapify(self._heap)

    def _begin(self, service: Service, now: float) -> _Watch:
        watch = _Watch(service, next(self._numbers))
        regular = self._regular_after(watch, now)
        watch.regular_at = regular - watch.interval
        spread = _LATEST_FIRST_LOOK_SECONDS - _FIRST_LOOK_SECONDS
        first = now + _FIRST_LOOK_SECONDS + watch.phase / watch.interval * spread
        watch.is_extra = watch.interval > _LATEST_FIRST_LOOK_SECONDS and first < regular
        watch.at = first if watch.is_extra else regular
        return watch

    def _put_back(self, watch: _Watch, turn: Turn, now: float, *, retry: bool) -> None:
        if not turn.is_extra:
            watch.regular_at = turn.at_seconds
        # Half an interval after the last one: where the clock was set, the nearest new place.
        regular = self._regular_after(watch, max(now, watch.regular_at + watch.interval / 2))
        watch.at, watch.is_extra = regular, False
        if retry and (pause := watch.service.retry_interval) is not None:
            again = _first_after(now, turn.at_seconds, pause.total_seconds())
            if again < regular:
                watch.at, watch.is_extra = again, True
        heapq.heappush(self._heap, (watch.at, watch.number, watch))

    def _regular_after(self, watch: _Watch, after: float) -> float:
        return _first_after(after, watch.phase - self._wall_ahead, watch.interval)

    def _notice_clock(self) -> None:
        """Find out whether somebody set the wall clock."""
        before = self._clock()
        ahead = self._wall_clock() - before
        # Between two readings this process may have been stopped for a while.
        if self._clock() - before > _SAME_MOMENT_SECONDS:
            return
        jump = ahead - self._wall_ahead
        if abs(jump) >= _JUMP_SECONDS:
            log.warning("the clock was set by %+.1f s; turns move to their new places", jump)
            self._wall_ahead = ahead


def phase_seconds(name: str, interval_seconds: float) -> float:
    """Where in each interval a service's turn lies: spread evenly, and the same everywhere."""
    return crc32(name.encode()) / _PHASES * interval_seconds


def _first_after(after: float, origin: float, step: float) -> float:
    """The first of origin, origin ± step, origin ± 2 step … that comes later."""
    turns = floor((after - origin) / step) + 1
    while (found := origin + turns * step) <= after:  # rounding, where `after` is one of them
        turns += 1
    return found
