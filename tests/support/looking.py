"""One look at a service, as the monitor asks a probe for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pulsebase.probes import Look, ProbeTools

if TYPE_CHECKING:
    from pulsebase.probes import Outcome, Probe

__all__ = ["a_look", "look_once"]


def a_look(tools: ProbeTools, *, timeout_seconds: float = 5, service_name: str = "a") -> Look:
    """What a probe is handed."""
    return Look(service_name=service_name, timeout_seconds=timeout_seconds, tools=tools)


async def look_once(
    probe: Probe, *, timeout_seconds: float = 5, service_name: str = "a"
) -> Outcome:
    """What a probe answers to one look with tools of its own."""
    async with ProbeTools() as tools:
        look = a_look(tools, timeout_seconds=timeout_seconds, service_name=service_name)
        return await probe.probe(look)


def raises() -> None:
    """A health function of somebody who is not well."""
    message = "the queue is stuck"
    raise RuntimeError(message)
