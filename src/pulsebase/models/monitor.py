"""Monitors: the rows of `monitors`, one for each running process, kept up by its beats."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pulsebase.connection import Call
from pulsebase.errors import InvalidValueError, MalformedResponseError
from pulsebase.models import fields
from pulsebase.transports.request import Request
from pulsebase.verbs import operation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

__all__ = ["Monitor", "MonitorModel", "MonitorServices"]

HASH_BYTES = 8  # of each service in `MonitorServices.hashes`
_LONGEST_INTERVAL_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """One monitor process as the database knows it. Times are in UTC, by the database's clock.

    `is_silent` when it has not been seen for two and a half of its heartbeat intervals; `gone_at`
    is set once another monitor has noticed, which had reached the database all that time.
    """

    id: UUID
    name: str | None
    location: str | None
    version: str
    heartbeat_interval_seconds: float
    started_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None
    age_seconds: float
    is_silent: bool
    service_count: int
    services_digest: str | None


@dataclass(frozen=True, slots=True)
class MonitorServices:
    """Which services a monitor watches: sorted hashes of 8 bytes each, and a digest of them all."""

    digest: str
    hashes: bytes


def _columns(row: Mapping[str, Any]) -> Monitor:
    return Monitor(
        id=UUID(row["id"]),
        name=row["name"],
        location=row["location"],
        version=row["version"],
        heartbeat_interval_seconds=float(row["heartbeat_interval_seconds"]),
        started_at=fields.parsed_instant(row["started_at"]),
        last_seen_at=fields.parsed_instant(row["last_seen_at"]),
        gone_at=None if row["gone_at"] is None else fields.parsed_instant(row["gone_at"]),
        age_seconds=float(row["age_seconds"]),
        is_silent=bool(row["is_silent"]),
        service_count=int(row["service_count"]),
        services_digest=row["services_digest"],
    )


def _services_of(row: Mapping[str, Any]) -> MonitorServices:
    try:
        hashes = base64.b64decode(row["services"], validate=True)
    except binascii.Error as error:
        msg = f"the answer holds no hashes of services ({error})"
        raise MalformedResponseError(msg) from error
    if len(hashes) % HASH_BYTES:
        msg = f"the answer holds {len(hashes)} bytes, not hashes of {HASH_BYTES} each"
        raise MalformedResponseError(msg)
    return MonitorServices(str(row["digest"]), hashes)


_row = fields.decoder(_columns)
_services = fields.decoder(_services_of)


class MonitorModel:
    """Keeps the list of the monitors that share this database.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def beat(
        *,
        id: UUID,  # noqa: A002 -- the column's name
        heartbeat_interval: timedelta,
        version: str,
        name: str | None = None,
        location: str | None = None,
        was_cut_off: bool = False,
    ) -> Call[list[Monitor]]:
        """Say that the monitor `id` is alive; all that are there, itself among them.

        It counts as gone when it has not beaten for two and a half `heartbeat_interval`s (up to a
        day), while another one has. Say `was_cut_off` when the database could not be reached since
        the last beat: for then the silence of others means nothing.
        """
        arguments = {
            "id": fields.identifier(id),
            "heartbeat_interval_seconds": str(_interval_seconds(heartbeat_interval)),
            "version": version,
            "name": fields.optional(_text, "name", name),
            "location": fields.optional(_text, "location", location),
            "was_cut_off": "true" if was_cut_off else "false",
        }
        return Call(Request("beat_monitor", arguments), fields.rows(_row))

    @operation
    @staticmethod
    def publish_services(
        id: UUID,  # noqa: A002 -- the column's name
        *,
        services: MonitorServices,
    ) -> Call[bool]:
        """Store which services the monitor watches; False when it has no row, so beat first."""
        if len(services.hashes) % HASH_BYTES:
            field = "services"
            raise InvalidValueError(field, len(services.hashes), "hashes of 8 bytes each")
        arguments = {
            "id": fields.identifier(id),
            "digest": services.digest,
            "services": base64.b64encode(services.hashes).decode("ascii"),
        }
        return Call(Request("publish_monitor_services", arguments), bool)

    @operation
    @staticmethod
    def find_services(id: UUID) -> Call[MonitorServices | None]:  # noqa: A002 -- the column's name
        """Which services the monitor watches; None while it has not said so."""
        request = Request("find_monitor_services", {"id": fields.identifier(id)})
        return Call(request, fields.optional_row(_services))

    @operation
    @staticmethod
    def find_all() -> Call[list[Monitor]]:
        """All monitors of the last day, also those that are gone; the oldest first."""
        return Call(Request("find_monitors"), fields.rows(_row))

    @operation
    @staticmethod
    def remove(id: UUID) -> Call[bool]:  # noqa: A002 -- the column's name
        """Remove the row of a monitor that ends; whether there was one."""
        return Call(Request("remove_monitor", {"id": fields.identifier(id)}), bool)


def _interval_seconds(value: object) -> float:
    field = "heartbeat_interval"
    seconds = fields.duration(field, value).total_seconds()
    if seconds > _LONGEST_INTERVAL_SECONDS:
        raise InvalidValueError(field, value, "a timedelta of at most a day")
    return seconds


def _text(field: str, value: object) -> str:
    return fields.service_name(value, field)
