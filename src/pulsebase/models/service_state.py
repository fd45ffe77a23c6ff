"""Service states: the rows of `service_states`, what has been decided of each service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pulsebase.connection import Call, Steps
from pulsebase.models import fields
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pulsebase.models.health_check import Status

__all__ = ["ServiceState", "ServiceStateModel"]

_PAGE = fields.LARGEST_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """What has been decided of a service; one that never failed has none. Times are in UTC.

    `status` is the one that alerts go by: it follows the checks by the policy. `since` is when that
    was first seen. `tracks` holds the streaks of each location while the service is not steady.
    """

    service_name: str
    status: Status
    since: datetime | None
    is_steady: bool
    last_checked_at: datetime | None
    tracks: dict[str, Any]
    incident_id: UUID | None
    event_id: UUID | None
    first_failed: dict[str, Any] | None
    last_failed: dict[str, Any] | None
    flapping_since: datetime | None
    changes: int
    updated_at: datetime


def _state(row: Mapping[str, Any]) -> ServiceState:
    return ServiceState(
        service_name=row["service_name"],
        status=row["status"],
        since=_instant(row["since"]),
        is_steady=bool(row["is_steady"]),
        last_checked_at=_instant(row["last_checked_at"]),
        tracks=row["tracks"],
        incident_id=_uuid(row["incident_id"]),
        event_id=_uuid(row["event_id"]),
        first_failed=row["first_failed"],
        last_failed=row["last_failed"],
        flapping_since=_instant(row["flapping_since"]),
        changes=len(row["changed_at"]),
        updated_at=fields.parsed_instant(row["updated_at"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else fields.parsed_instant(text)


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


_row = fields.decoder(_state)


class ServiceStateModel:
    """Reads what has been decided of services.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def find_by_service(service_name: str) -> Call[ServiceState | None]:
        """The state of a service, or None for one that never failed."""
        arguments: dict[str, str | int | JsonText | None] = {
            "service_name": fields.service_name(service_name)
        }
        return Call(Request("find_service_states", arguments), _first)

    @procedure
    @staticmethod
    def find_all() -> Steps[list[ServiceState]]:
        """The states of all services that ever failed, by name."""
        found: list[ServiceState] = []
        while True:
            arguments: dict[str, str | int | JsonText | None] = {"max_rows": _PAGE}
            if found:
                arguments["after_service_name"] = found[-1].service_name
            page: list[ServiceState] = yield Call(
                Request("find_service_states", arguments), fields.rows(_row)
            )
            found += page
            if len(page) < _PAGE:
                return found

    @operation
    @staticmethod
    def catch_up() -> Call[int]:
        """Evaluate stored checks of services in trouble that nobody has; says how many.

        Such are committed at the moment in which another session decides. The dispatcher calls it
        with every round; calling it at any time changes nothing that was decided.
        """
        return Call(Request("evaluate_health_checks"), _evaluated)


_evaluated = fields.decoder(lambda answer: int(answer["evaluated"]))


def _first(answer: Any) -> ServiceState | None:
    found = fields.rows(_row)(answer)
    return found[0] if found else None
