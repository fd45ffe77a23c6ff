"""Alert deliveries: the rows of `alert_deliveries`, the outbox.

A delivery is what is owed to one channel about one event. It waits until nothing holds it back, and
is then in a message (`alert_message.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

from pulsebase.models import fields

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from pulsebase.models.alert_event import AlertStatus, AlertType
    from pulsebase.models.health_check import Status

__all__ = ["ClaimedDelivery", "DeliveryKind", "HoldReason", "WaitingDelivery"]

DeliveryKind: TypeAlias = Literal[
    "opened", "resolved", "reminder", "flapping_started", "flapping_ended"
]
HoldReason: TypeAlias = Literal["maintenance", "silence", "parent", "acknowledged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """What a message tells of one alert event, with what is known by now.

    `held_by` is what it had waited for, since `held_since` until `released_at`. `sequence` counts
    reminders. `service_status` is how the service is now, None where nothing was ever decided.
    """

    id: UUID
    kind: DeliveryKind
    sequence: int
    service_name: str
    labels: dict[str, str]
    event_id: UUID
    incident_id: UUID
    alert_type: AlertType
    event_status: AlertStatus
    event_created_at: datetime
    resolved_at: datetime | None
    details: dict[str, Any] | None
    held_by: HoldReason | None
    held_since: datetime | None
    released_at: datetime | None
    created_at: datetime
    service_status: Status | None
    flapping_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingDelivery:
    """What a channel is owed, and is in no message yet; `hold_reason` is what it waits for now."""

    id: UUID
    channel: str
    kind: DeliveryKind
    sequence: int
    service_name: str
    alert_type: AlertType
    event_id: UUID
    incident_id: UUID
    is_escalation: bool
    created_at: datetime
    due_at: datetime
    hold_reason: HoldReason | None
    held_since: datetime | None


def optional_instant(text: str | None) -> datetime | None:
    """The UTC datetime of a text, None of null."""
    return None if text is None else fields.parsed_instant(text)


def claimed_delivery(row: Mapping[str, Any]) -> ClaimedDelivery:
    """What a message tells."""
    return ClaimedDelivery(
        id=UUID(row["id"]),
        kind=row["kind"],
        sequence=int(row["sequence"]),
        service_name=row["service_name"],
        labels={label: str(value) for label, value in row["labels"].items()},
        event_id=UUID(row["event_id"]),
        incident_id=UUID(row["incident_id"]),
        alert_type=row["alert_type"],
        event_status=row["event_status"],
        event_created_at=fields.parsed_instant(row["event_created_at"]),
        resolved_at=optional_instant(row["resolved_at"]),
        details=row["details"],
        held_by=row["held_by"],
        held_since=optional_instant(row["held_since"]),
        released_at=optional_instant(row["released_at"]),
        created_at=fields.parsed_instant(row["created_at"]),
        service_status=row["service_status"],
        flapping_since=optional_instant(row["flapping_since"]),
    )


def _waiting(row: Mapping[str, Any]) -> WaitingDelivery:
    return WaitingDelivery(
        id=UUID(row["id"]),
        channel=row["channel"],
        kind=row["kind"],
        sequence=int(row["sequence"]),
        service_name=row["service_name"],
        alert_type=row["alert_type"],
        event_id=UUID(row["event_id"]),
        incident_id=UUID(row["incident_id"]),
        is_escalation=bool(row["is_escalation"]),
        created_at=fields.parsed_instant(row["created_at"]),
        due_at=fields.parsed_instant(row["due_at"]),
        hold_reason=row["hold_reason"],
        held_since=None if row["released_at"] is not None else optional_instant(row["held_since"]),
    )


waiting_delivery = fields.decoder(_waiting)
