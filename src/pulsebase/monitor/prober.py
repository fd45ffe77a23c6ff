"""Runs one probe and makes a check of what it saw."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pulsebase.models.health_check import NewHealthCheck

if TYPE_CHECKING:
    from pulsebase.monitor.configuration import Service
    from pulsebase.probes import ProbeTools

log = logging.getLogger("pulsebase.monitor")


async def probe_service(service: Service, tools: ProbeTools) -> NewHealthCheck | None:
    """Look at a service once; None when the probe itself broke, which says nothing of the service.

    A probe answers with an outcome whatever the service does. An exception is a mistake of ours: it
    is logged, and nothing is recorded as down.
    """
    try:
        outcome = await service.probe.probe(
            timeout_seconds=service.timeout.total_seconds(), tools=tools
        )
        check = NewHealthCheck(
            service_name=service.name,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            checked_at=outcome.checked_at,
            probe_details=outcome.details or None,
        )
    except Exception:
        log.exception("the probe of %r broke; nothing is recorded for this turn", service.name)
        return None
    log.debug("%s is %s (%s ms)", service.name, check.status, check.latency_ms)
    return check
