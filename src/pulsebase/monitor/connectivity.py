"""Tells failures of services from a failure of this monitor's own network.

A failure is believed when, after it, one of the targets answered. While none of them does, the
network of this machine is away, and what failed meanwhile says nothing about the services.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from pulsebase.monitor.background import in_background
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.probes import Look, ProbeTools, UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.sighting import Sighting
    from pulsebase.probes import Probe

__all__ = ["Connectivity"]

log = logging.getLogger("pulsebase.monitor")

_PAUSE_SECONDS: Final = 5.0
_TIMEOUT_SECONDS: Final = 5.0
_GRACE_SECONDS: Final = 0.5
_ANY_STATUS: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
_PERIODS_REMEMBERED: Final = 100


class Connectivity:
    """Asks the targets when something failed, and while they are away; open while it may be asked.

    All who doubt share one round of questions, and rounds begin at most every five seconds. Times
    are steady seconds. Without targets nothing is asked and everything is believed.
    """

    def __init__(
        self,
        targets: Iterable[str],
        tools: ProbeTools,
        *,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._targets = tuple(targets)
        self._tools = tools
        self._pause_seconds = pause_seconds
        self._resources = AsyncExitStack()
        self._wanted = asyncio.Event()
        self._hurried = asyncio.Event()
        self._round_ended = asyncio.Event()
        self._answered_round_at = float("-inf")
        self._away_since: float | None = None
        self._away_periods: deque[tuple[float, float]] = deque(maxlen=_PERIODS_REMEMBERED)

    @property
    def is_away(self) -> bool:
        """Whether none of the targets answered when they were asked last."""
        return self._away_since is not None

    @property
    def reason(self) -> str:
        """What to show instead of a failure that says nothing."""
        targets = ", ".join(map(_shown, self._targets))
        return f"this monitor's own network is away: none of {targets} answers"

    def update(self, targets: Iterable[str]) -> None:
        """Ask these from the next round on."""
        self._targets = tuple(targets)

    async def judge(
        self, seen: Sighting, check: NewHealthCheck | None, *, began_at: float
    ) -> tuple[Sighting, NewHealthCheck | None]:
        """What to show and record of a look that has just ended: a failure only if it is one."""
        if not self.doubts(check) or not await self.was_away(began_at, steady_seconds()):
            return seen, check
        return replace(seen, status="unknown", latency_ms=None, why=self.reason), None

    def doubts(self, check: NewHealthCheck | None) -> bool:
        """Whether to `judge` may take a while: only what would be recorded as down is doubted."""
        return bool(self._targets) and check is not None and check.status == "down"

    async def was_away(self, began_at: float, ended_at: float) -> bool:
        """Whether the network was away during a look that failed; waits until that is known.

        It was, when nobody answered in a round during the look or in the first one after it. It was
        not, when somebody answered in a round that began after the look had ended.
        """
        while self._targets:
            if self._overlaps(began_at, ended_at):
                return True
            if self._answered_round_at >= ended_at:
                return False
            self._wanted.set()
            await self._round_ended.wait()
            if self.is_away:
                return True
        return False

    def hurry(self) -> None:
        """Begin the next round at once, since there is no time to wait."""
        self._hurried.set()

    def _overlaps(self, began_at: float, ended_at: float) -> bool:
        if self._away_since is not None and self._away_since <= ended_at:
            return True
        return any(since <= ended_at and began_at <= until for since, until in self._away_periods)

    async def _run(self) -> None:
        while True:
            if not self.is_away:
                await self._wanted.wait()
            self._wanted.clear()
            began_at = steady_seconds()
            answers = not self._targets or await self._anybody_answers()
            self._conclude(began_at, answers=answers)
            self._round_ended.set()
            self._round_ended = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(began_at + self._pause_seconds - steady_seconds()):
                    await self._hurried.wait()
            self._hurried.clear()

    def _conclude(self, began_at: float, *, answers: bool) -> None:
        if answers:
            self._answered_round_at = began_at
            if self._away_since is not None:
                # It came back at some time since the last round: up to now nothing is certain.
                self._away_periods.append((self._away_since, steady_seconds()))
                self._away_since = None
                log.warning("this monitor's own network is back")
        elif self._away_since is None:
            self._away_since = began_at
            log.warning("%s; failures are shown as unknown and not recorded", self.reason)

    async def _anybody_answers(self) -> bool:
        asked = [asyncio.create_task(self._answers(target)) for target in self._targets]
        try:
            for answer in asyncio.as_completed(asked):
                if await answer:
                    return True
            return False
        finally:
            for task in asked:
                task.cancel()

    async def _answers(self, target: str) -> bool:
        look = Look(
            service_name="connectivity", timeout_seconds=_TIMEOUT_SECONDS, tools=self._tools
        )
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS + _GRACE_SECONDS):
                return (await _probe_of(target).probe(look)).status == "healthy"
        except (TimeoutError, UnknownHealthError):
            return False
        except Exception:
            log.exception("cannot ask %s whether the network is there", _shown(target))
            return False

    async def __aenter__(self) -> Self:
        await self._resources.enter_async_context(in_background(self._run(), name="connectivity"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()


def _probe_of(target: str) -> Probe:
    """What asks a target: any answer in HTTP will do, or that a port takes the connection."""
    if target.startswith("tcp://"):
        from pulsebase.probes.tcp import TcpProbe

        parts = urlsplit(target)
        return TcpProbe(host=parts.hostname or "", port=parts.port or 0)

    from pulsebase.probes.http import HttpExpectation, HttpProbe

    expect = HttpExpectation(status=_ANY_STATUS)
    return HttpProbe(url=target, method="HEAD", expect=expect, follow_redirects=False)


def _shown(target: str) -> str:
    """A target without what may be secret in it."""
    parts = urlsplit(target)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
