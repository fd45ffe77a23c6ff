"""Runs probes and makes a sighting and a check of what each of them saw.

A probe answers with an outcome whatever the service does. Where we could not look, and where the
probe broke, which is a mistake of ours, the service is unknown and nothing is recorded.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Self

from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.background import in_background, repeatedly
from pulsebase.monitor.rarely import Rarely, often
from pulsebase.monitor.sighting import Sighting, why
from pulsebase.probes import Look, NothingYetError, UnknownHealthError

if TYPE_CHECKING:
    from types import TracebackType

    from pulsebase.monitor.configuration import MonitorKeys, Service
    from pulsebase.probes import Outcome, ProbeTools

__all__ = ["Prober"]

log = logging.getLogger("pulsebase.monitor")

# A kind keeps its timeout itself, and knows best what to say of it; this is for one that does not.
_GRACE_SECONDS: Final = 0.5
_SWEEP_SECONDS: Final = 0.5


class _BrokenRuleError(Exception):
    """A kind did what no kind may do; says what."""


class Prober:
    """Looks at services, with tools that all looks share; open while looks are under way.

    `broken` counts the looks of which a kind made nothing: it raised, or ran over its timeout and
    was cut off a second or so later.
    """

    def __init__(self, tools: ProbeTools, *, keys: MonitorKeys | None = None) -> None:
        self._tools = tools
        self._marks = _marks_of(keys)
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._overdue: set[asyncio.Task[Any]] = set()
        self._cut_off: set[asyncio.Task[Any]] = set()
        self._resources = AsyncExitStack()
        self._rarely = Rarely()
        self.broken = 0

    async def look(self, service: Service) -> tuple[Sighting, NewHealthCheck | None]:
        """Look at a service once; what is to be shown, and what is to be recorded, if anything."""
        try:
            outcome = await self._outcome_of(service)
            check = None if outcome.already_recorded else self._check_of(service, outcome)
            sighting = _sighting_of(service, outcome)
        except NothingYetError as error:
            return replace(_unknown(service, str(error)), is_awaited=True), None
        except UnknownHealthError as error:
            self._tell_unknown(service, str(error))
            return _unknown(service, str(error)), None
        except Exception as error:  # noqa: BLE001 -- a kind may break in any way
            self._tell_broken(service, error)
            return _unknown(service, "the probe broke; see the log"), None
        log.debug("%s is %s (%s ms)", service.name, outcome.status, outcome.latency_ms)
        return sighting, check

    async def _outcome_of(self, service: Service) -> Outcome:
        timeout_seconds = service.timeout.total_seconds()
        look = Look(service_name=service.name, timeout_seconds=timeout_seconds, tools=self._tools)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- this is a coroutine
        self._deadlines[task] = asyncio.get_running_loop().time() + timeout_seconds
        try:
            outcome = await service.probe.probe(look)
        except asyncio.CancelledError as error:
            if task not in self._cut_off:
                if task.cancelling():
                    raise
                message = "it let through that a part of it was cancelled"
                raise _BrokenRuleError(message) from error
        except SystemExit as error:
            message = "it tried to end the process"
            raise _BrokenRuleError(message) from error
        else:
            if task not in self._cut_off:
                return outcome
        finally:
            del self._deadlines[task]
            self._cut_off.discard(task)
        while task.cancelling():
            task.uncancel()
        message = f"it did not end within its timeout of {timeout_seconds:g} s"
        raise _BrokenRuleError(message)

    def _check_of(self, service: Service, outcome: Outcome) -> NewHealthCheck:
        given = {} if outcome.id is None else {"id": outcome.id}
        return NewHealthCheck(
            service_name=service.name,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            checked_at=outcome.checked_at,
            probe_details=(outcome.details | self._marks) or None,
            **given,
        )

    def _tell_unknown(self, service: Service, reason: str) -> None:
        if times := self._rarely.times(reason):
            log.warning("cannot look at %r%s: %s", service.name, often(times), reason)

    def _tell_broken(self, service: Service, error: Exception) -> None:
        self.broken += 1
        # What a foreign exception says could be a secret; its class is none.
        reason = str(error) if isinstance(error, _BrokenRuleError) else type(error).__name__
        if times := self._rarely.times(f"{service.kind}: {reason}"):
            log.error(
                "the probe of %r (%s) broke%s: %s; nothing is recorded for this turn",
                service.name,
                service.kind,
                often(times),
                reason,
                exc_info=error,
            )

    def _cut_off_overdue(self) -> None:
        # One look around for all costs less than a timer for each. Only what was overdue the last
        # time as well: if this process stood still, answers may be there that nobody has read yet.
        overdue_at = asyncio.get_running_loop().time() - _GRACE_SECONDS
        overdue = {task for task, deadline in self._deadlines.items() if deadline < overdue_at}
        # Again and again: a kind may have caught the last one.
        self._cut_off |= overdue & self._overdue
        for task in overdue & self._overdue:
            task.cancel()
        self._overdue = overdue

    async def __aenter__(self) -> Self:
        sweeping = repeatedly(self._cut_off_overdue, every_seconds=_SWEEP_SECONDS)
        await self._resources.enter_async_context(in_background(sweeping, name="prober"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()


def _marks_of(keys: MonitorKeys | None) -> dict[str, str]:
    """Who looked, and from where, as keys of `probe_details`."""
    if keys is None:
        return {}
    marks = {"monitor": keys.name, "location": keys.location}
    return {key: text for key, text in marks.items() if text is not None}


def _sighting_of(service: Service, outcome: Outcome) -> Sighting:
    return Sighting(
        service_name=service.name,
        status=outcome.status,
        checked_at=outcome.checked_at,
        latency_ms=outcome.latency_ms,
        why=why(outcome.details),
    )


def _unknown(service: Service, reason: str) -> Sighting:
    return Sighting(
        service_name=service.name, status="unknown", checked_at=datetime.now(UTC), why=reason
    )
