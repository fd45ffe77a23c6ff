"""Runs one probe and makes a sighting and a check of what it saw."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.sighting import Sighting, why
from pulsebase.probes import Look, UnknownHealthError

if TYPE_CHECKING:
    from pulsebase.monitor.configuration import Service
    from pulsebase.probes import Outcome, ProbeTools

log = logging.getLogger("pulsebase.monitor")


async def probe_service(
    service: Service, tools: ProbeTools
) -> tuple[Sighting, NewHealthCheck | None]:
    """Look at a service once; what is to be shown, and what is to be recorded, if anything.

    A probe answers with an outcome whatever the service does. Where we could not look, and where
    the probe broke, which is a mistake of ours, the service is unknown and nothing is recorded.
    """
    look = Look(
        service_name=service.name, timeout_seconds=service.timeout.total_seconds(), tools=tools
    )
    try:
        outcome = await service.probe.probe(look)
        check = None if outcome.already_recorded else _check_of(service, outcome)
    except UnknownHealthError as error:
        log.warning("cannot look at %r: %s", service.name, error)
        return _unknown(service, str(error)), None
    except Exception:
        log.exception("the probe of %r broke; nothing is recorded for this turn", service.name)
        return _unknown(service, "the probe broke; see the log"), None
    log.debug("%s is %s (%s ms)", service.name, outcome.status, outcome.latency_ms)
    return _sighting_of(service, outcome), check


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


def _check_of(service: Service, outcome: Outcome) -> NewHealthCheck:
    given = {} if outcome.id is None else {"id": outcome.id}
    return NewHealthCheck(
        service_name=service.name,
        status=outcome.status,
        latency_ms=outcome.latency_ms,
        checked_at=outcome.checked_at,
        probe_details=outcome.details or None,
        **given,
    )
