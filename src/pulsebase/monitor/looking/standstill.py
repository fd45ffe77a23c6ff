"""Times at which this process stood still: stopped, suspended, or without a CPU for a while.

An answer that came meanwhile was read late, and looks like a slow one or like none. That is our own
trouble and must not be recorded as the service's.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self

from pulsebase.monitor.background import in_background, repeatedly
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.rarely import Rarely, often

if TYPE_CHECKING:
    from types import TracebackType

    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.configuration import Service
    from pulsebase.monitor.sighting import Sighting

__all__ = ["Standstill"]

log = logging.getLogger("pulsebase.monitor")

_TICK_SECONDS: Final = 0.25
_SHORTEST_SECONDS: Final = 1.0
_PERIODS_REMEMBERED: Final = 50


class Standstill:
    """Notices gaps in the life of the event loop while it is open. Times are steady seconds."""

    def __init__(self) -> None:
        self._resources = AsyncExitStack()
        self._ticked_at = steady_seconds()
        self._rarely = Rarely()
        self._periods: deque[tuple[float, float]] = deque(maxlen=_PERIODS_REMEMBERED)

    def judge(
        self, service: Service, seen: Sighting, check: NewHealthCheck | None, *, began_at: float
    ) -> tuple[Sighting, NewHealthCheck | None]:
        """What to show and record of a look that has just ended.

        A judgement of time counts only if nothing stood still during the look. After a standstill
        as long as its timeout no failure counts: the other side may have given up on us.
        """
        if check is None or check.status == "healthy":
            return seen, check
        longest = self._longest_since(began_at)
        is_doubtful = longest > 0 and _is_about_time(check)
        if not is_doubtful and not longest >= service.timeout.total_seconds():
            return seen, check
        reason = f"this monitor stood still for {longest:.1f} s during the look"
        return replace(seen, status="unknown", latency_ms=None, why=reason), None

    def _longest_since(self, began_at: float) -> float:
        """The longest standstill since then, or 0; also one that has only just ended."""
        periods = [*self._periods, (self._ticked_at, steady_seconds())]
        return max(
            (
                until - since
                for since, until in periods
                if until >= began_at and until - since > _SHORTEST_SECONDS
            ),
            default=0.0,
        )

    def _tick(self) -> None:
        now = steady_seconds()
        if (stood_seconds := now - self._ticked_at) > _SHORTEST_SECONDS:
            self._periods.append((self._ticked_at, now))
            if times := self._rarely.times("stood still"):
                log.warning("this monitor stood still for %.1f s%s", stood_seconds, often(times))
        self._ticked_at = now

    async def __aenter__(self) -> Self:
        self._ticked_at = steady_seconds()
        ticking = repeatedly(self._tick, every_seconds=_TICK_SECONDS)
        await self._resources.enter_async_context(in_background(ticking, name="standstill"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()


def _is_about_time(check: NewHealthCheck) -> bool:
    match check.probe_details or {}:
        case {"error": {"kind": "timeout"}}:
            return True
        case {"failed": {"expectation": str(expectation)}}:
            return expectation.endswith("_above")
    return False
