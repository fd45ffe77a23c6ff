"""When each service is due: at its own phase of its interval, without drift, never overlapping."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pulsebase.monitor.configuration import Service

_PHASES = 2**32


@dataclass(order=True, slots=True)
class _Due:
    at_seconds: float
    name: str
    service: Service = field(compare=False)


class Schedule:
    """The services in the order in which they are due. Times are monotonic seconds.

    A service that was taken is not due again until `done` puts it back, so that a slow probe never
    overlaps the next one; turns that were missed meanwhile are left out, not caught up.
    """

    def __init__(self, services: Iterable[Service], now_seconds: float) -> None:
        self._waiting = [
            _Due(now_seconds + first_delay_seconds(service), service.name, service)
            for service in services
        ]
        heapq.heapify(self._waiting)

    def next_at_seconds(self) -> float | None:
        """When the next service is due; None while every service is being probed."""
        return self._waiting[0].at_seconds if self._waiting else None

    def take_due(self, now_seconds: float) -> list[tuple[Service, float]]:
        """The services that are due by now, each with the time of its turn."""
        due: list[tuple[Service, float]] = []
        while self._waiting and self._waiting[0].at_seconds <= now_seconds:
            turn = heapq.heappop(self._waiting)
            due.append((turn.service, turn.at_seconds))
        return due

    def done(self, service: Service, turn_at_seconds: float, now_seconds: float) -> None:
        """Put a service back, for its first turn after now; turns keep their phase."""
        interval = service.interval.total_seconds()
        missed = max(0, int((now_seconds - turn_at_seconds) / interval))
        next_turn = turn_at_seconds + (missed + 1) * interval
        heapq.heappush(self._waiting, _Due(next_turn, service.name, service))


def first_delay_seconds(service: Service) -> float:
    """How long to wait before the first probe: a stable phase that spreads services evenly."""
    phase = crc32(service.name.encode()) / _PHASES
    return phase * service.interval.total_seconds()
