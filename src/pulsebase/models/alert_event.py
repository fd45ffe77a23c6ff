"""Alert events: the rows of `alert_events`, and what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID

from uuid_utils.compat import uuid7

from pulsebase.connection import Call, Pages, Steps
from pulsebase.errors import NotFoundError
from pulsebase.models import fields
from pulsebase.models.alert_act import new_act
from pulsebase.models.batches import delete_in_batches
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure, stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

__all__ = ["AlertEvent", "AlertEventModel", "AlertStatus", "AlertType"]

AlertType: TypeAlias = Literal["service_down", "service_degraded", "recovery"]
AlertStatus: TypeAlias = Literal["active", "resolved"]
ALERT_TYPES: tuple[str, ...] = get_args(AlertType)
ALERT_STATUSES: tuple[str, ...] = get_args(AlertStatus)

_PAGE = fields.LARGEST_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEvent:
    """One alert event, as it is stored. Times are in UTC."""

    id: UUID
    service_name: str
    alert_type: AlertType
    status: AlertStatus
    details: dict[str, Any] | None
    created_at: datetime
    resolved_at: datetime | None


def _event(row: Mapping[str, Any]) -> AlertEvent:
    resolved_at = row["resolved_at"]
    return AlertEvent(
        id=UUID(row["id"]),
        service_name=row["service_name"],
        alert_type=row["alert_type"],
        status=row["status"],
        details=row["details"],
        created_at=fields.parsed_instant(row["created_at"]),
        resolved_at=None if resolved_at is None else fields.parsed_instant(resolved_at),
    )


_row = fields.decoder(_event)


class AlertEventModel:
    """Records, reads and resolves alert events.

    Every verb takes a connection first (ours, an application's own, or an async one, which makes
    the result awaitable); without one it uses the connection that the environment names.
    """

    @operation
    @staticmethod
    def create(
        *,
        service_name: str,
        alert_type: AlertType,
        status: AlertStatus = "active",
        details: dict[str, Any] | None = None,
        id: UUID | None = None,  # noqa: A002 -- the column's name
    ) -> Call[AlertEvent]:
        """Store one alert event and return its row; with an `id` that is there, that row.

        An event that is created as `resolved` has `resolved_at` at once. `details` is JSON up to
        64 KiB.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": str(uuid7()) if id is None else fields.identifier(id),
            "service_name": fields.service_name(service_name),
            "alert_type": fields.one_of("alert_type", alert_type, ALERT_TYPES),
            "status": fields.one_of("status", status, ALERT_STATUSES),
            "details": fields.optional(fields.json_object, "details", details),
        }
        return Call(Request("create_alert_event", arguments), _row)

    @operation
    @staticmethod
    def find_by_id(id: UUID | str) -> Call[AlertEvent | None]:  # noqa: A002 -- the column's name
        """The alert event with this id, or None."""
        request = Request("find_alert_event", {"id": fields.identifier(id)})
        return Call(request, fields.optional_row(_row))

    @procedure
    @staticmethod
    def find_active(*, service_name: str | None = None) -> Steps[list[AlertEvent]]:
        """All active events, of one service or of all, oldest first."""
        arguments: dict[str, str | int | JsonText | None] = {
            "service_name": None if service_name is None else fields.service_name(service_name),
            "max_rows": _PAGE,
        }
        found: list[AlertEvent] = []
        while True:
            request = Request("find_active_alert_events", dict(arguments))
            page: list[AlertEvent] = yield Call(request, fields.rows(_row))
            found += page
            if len(page) < _PAGE:
                return found
            arguments["after_created_at"] = fields.instant("created_at", page[-1].created_at)
            arguments["after_id"] = str(page[-1].id)

    @operation
    @staticmethod
    def find_by_service(
        service_name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        status: AlertStatus | None = None,
        limit: int = 100,
        before: AlertEvent | None = None,
    ) -> Call[list[AlertEvent]]:
        """At most `limit` (1 to 1000) events of a service, newest first.

        `since` is included, `until` is not. For the next page give the last row as `before`.
        """
        return _page_call(
            service_name,
            since=since,
            until=until,
            status=status,
            size=fields.limit(limit),
            before=before,
        )

    @stream
    @staticmethod
    def iterate_by_service(
        service_name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        status: AlertStatus | None = None,
    ) -> Pages[AlertEvent]:
        """All events of a service, newest first, however many; fetched 1000 at a time."""
        return Pages(
            lambda last: _page_call(
                service_name, since=since, until=until, status=status, size=_PAGE, before=last
            ),
            _PAGE,
        )

    @operation
    @staticmethod
    def resolve(
        id: UUID | str,  # noqa: A002 -- the column's name
        *,
        resolved_at: datetime | None = None,
        by: str | None = None,
        note: str | None = None,
    ) -> Call[AlertEvent]:
        """Resolve an active event by hand and return its row; one that is resolved stays as it is.

        `resolved_at` is now, by the database's clock, unless it is given. No recovery is written;
        a service that goes on failing opens anew by its policy. Raises NotFoundError when there
        is no event with this id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": fields.identifier(id),
            "resolved_at": fields.optional(fields.past_instant, "resolved_at", resolved_at),
            **new_act(by, note),
        }
        return Call(Request("resolve_alert_event", arguments), lambda row: _found(row, id))

    @operation
    @staticmethod
    def acknowledge(
        id: UUID | str,  # noqa: A002 -- the column's name
        *,
        by: str,
        note: str | None = None,
        until: datetime | None = None,
    ) -> Call[AlertEvent]:
        """Say that somebody has seen an active event; its reminders and escalations wait.

        Until it is resolved, withdrawn, or `until`, which must be in the future. Returns the
        event; one that is resolved is not acknowledged. Raises NotFoundError when there is no
        event with this id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": fields.identifier(id),
            "until": fields.optional(fields.instant, "until", until),
            **new_act(fields.service_name(by, "by"), note),
        }
        return Call(Request("acknowledge_alert_event", arguments), lambda row: _found(row, id))

    @operation
    @staticmethod
    def unacknowledge(
        id: UUID | str,  # noqa: A002 -- the column's name
        *,
        by: str,
        note: str | None = None,
    ) -> Call[AlertEvent]:
        """Withdraw the acknowledgement of an active event, if there is one; returns the event.

        Raises NotFoundError when there is no event with this id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": fields.identifier(id),
            **new_act(fields.service_name(by, "by"), note),
        }
        return Call(Request("unacknowledge_alert_event", arguments), lambda row: _found(row, id))

    @procedure
    @staticmethod
    def delete_older_than(age: timedelta) -> Steps[int]:
        """Delete the events that were resolved longer than `age` ago; never an active one."""
        return delete_in_batches("delete_alert_events_older_than", age)


def _found(row: Any, sought: UUID | str) -> AlertEvent:
    if row is None:
        msg = f"there is no alert event with the id {sought}"
        raise NotFoundError(msg)
    return _row(row)


def _page_call(
    service_name: str,
    *,
    since: datetime | None,
    until: datetime | None,
    status: AlertStatus | None,
    size: int,
    before: AlertEvent | None,
) -> Call[list[AlertEvent]]:
    arguments: dict[str, str | int | JsonText | None] = {
        "service_name": fields.service_name(service_name),
        "since": fields.optional(fields.instant, "since", since),
        "until": fields.optional(fields.instant, "until", until),
        "status": None if status is None else fields.one_of("status", status, ALERT_STATUSES),
        "max_rows": size,
    }
    if before is not None:
        arguments["before_created_at"] = fields.instant("before", before.created_at)
        arguments["before_id"] = str(before.id)
    return Call(Request("find_alert_events", arguments), fields.rows(_row))
