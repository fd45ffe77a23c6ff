"""Monitored services: the rows of `monitored_services`, what configurations say of services."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pulsebase.connection import Call, Steps
from pulsebase.models import fields
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["MonitoredService", "MonitoredServiceModel", "NewMonitoredService"]

_PAGE = fields.LARGEST_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMonitoredService:
    """What a configuration says of a service that alerting needs; valid by construction.

    While one of those in `depends_on` is not well, this one's openings wait. `alert_policy` holds
    the keys in which its policy differs.
    """

    service_name: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    depends_on: tuple[str, ...] = ()
    interval: timedelta | None = None
    alert_policy: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check every field."""
        fields.service_name(self.service_name)
        fields.json_object("labels", dict(self.labels))
        for name in self.depends_on:
            fields.service_name(name, "depends_on")
        fields.optional(fields.duration, "interval", self.interval)
        fields.optional(fields.json_object, "alert_policy", self.alert_policy)

    def _members(self) -> dict[str, Any]:
        return {
            "service_name": self.service_name,
            "labels": dict(self.labels),
            "depends_on": list(self.depends_on),
            "interval_seconds": None if self.interval is None else self.interval.total_seconds(),
            "alert_policy": self.alert_policy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoredService:
    """A service as a configuration described it last. Times are in UTC."""

    service_name: str
    labels: dict[str, str]
    depends_on: tuple[str, ...]
    interval: timedelta | None
    alert_policy: dict[str, Any] | None
    updated_at: datetime


def _service(row: Mapping[str, Any]) -> MonitoredService:
    seconds = row["interval_seconds"]
    return MonitoredService(
        service_name=row["service_name"],
        labels=row["labels"],
        depends_on=tuple(row["depends_on"]),
        interval=None if seconds is None else timedelta(seconds=float(seconds)),
        alert_policy=row["alert_policy"],
        updated_at=fields.parsed_instant(row["updated_at"]),
    )


_row = fields.decoder(_service)


class MonitoredServiceModel:
    """Keeps what configurations say of services.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def publish(*, services: Iterable[NewMonitoredService]) -> Call[int]:
        """Store what is said of these services, and of no others; how many were new or differ.

        All in one call and transaction: give thousands in pieces.
        """
        text = json.dumps([service._members() for service in services])  # noqa: SLF001 -- the same module
        arguments: dict[str, str | int | JsonText | None] = {"services": JsonText(text)}
        return Call(Request("publish_monitored_services", arguments), fields.count)

    @procedure
    @staticmethod
    def find_all() -> Steps[list[MonitoredService]]:
        """All services that a configuration has described, by name."""
        found: list[MonitoredService] = []
        while True:
            arguments: dict[str, str | int | JsonText | None] = {"max_rows": _PAGE}
            if found:
                arguments["after_service_name"] = found[-1].service_name
            page: list[MonitoredService] = yield Call(
                Request("find_monitored_services", arguments), fields.rows(_row)
            )
            found += page
            if len(page) < _PAGE:
                return found
