"""The services on which one depends, and which of them are not well."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulsebase.connection import Call, Steps
    from pulsebase.models.service_state import ServiceState

__all__ = ["ailing_parents"]


def ailing_parents(service_name: str) -> Steps[dict[str, str]]:
    """How the parents of a service are, and theirs, of those that are not well; by their names."""
    from pulsebase.connection import Many
    from pulsebase.models.monitored_service import MonitoredServiceModel
    from pulsebase.models.service_state import ServiceStateModel

    services = yield from MonitoredServiceModel.find_all.steps()
    parents = {service.service_name: service.depends_on for service in services}
    names = _ancestors(service_name, parents)
    calls: list[Call[ServiceState | None]] = [
        ServiceStateModel.find_by_service.call(name) for name in names
    ]
    states: list[ServiceState | None] = (yield Many(calls)) if calls else []
    return {
        state.service_name: "failing" if state.status == "healthy" else state.status
        for state in states
        if state is not None and (state.status != "healthy" or not state.is_steady)
    }


def _ancestors(service_name: str, parents: dict[str, tuple[str, ...]]) -> list[str]:
    """All of them, the nearest first; somebody may have written a circle."""
    found = dict.fromkeys(parents.get(service_name, ()))
    for name in (waiting := list(found)):
        more = [each for each in parents.get(name, ()) if each not in found]
        waiting += more
        found |= dict.fromkeys(more)
    found.pop(service_name, None)
    return list(found)
