"""What is told: a message of one notice, or a digest of many."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

__all__ = ["AlertType", "Message", "Notice", "NoticeKind"]

NoticeKind = Literal["opened", "resolved", "reminder", "flapping_started", "flapping_ended"]
AlertType = Literal["service_down", "service_degraded", "recovery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to say about one event of one service: a delivery, with what is known by now.

    `event_created_at` is when the event was written down, `details["started_at"]` when what it is
    about began. `held_by` says what kept the notice waiting: maintenance, a silence, a parent.
    """

    id: UUID
    kind: NoticeKind
    service_name: str
    incident_id: UUID
    event_id: UUID
    alert_type: AlertType
    event_created_at: datetime
    created_at: datetime
    sequence: int = 0
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    event_status: Literal["active", "resolved"] = "active"
    resolved_at: datetime | None = None
    details: Mapping[str, Any] | None = None
    held_by: str | None = None
    held_since: datetime | None = None
    service_status: Literal["healthy", "degraded", "down"] | None = None
    flapping_since: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a naive time, which is a mistake of the caller."""
        _require_aware(
            event_created_at=self.event_created_at,
            created_at=self.created_at,
            resolved_at=self.resolved_at,
            held_since=self.held_since,
            flapping_since=self.flapping_since,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What goes to one channel at once; `id` stays the same however often it is sent.

    `attempt` counts from 1.
    """

    id: UUID
    channel: str
    attempt: int
    created_at: datetime
    notices: tuple[Notice, ...]

    def __post_init__(self) -> None:
        """Refuse a message about nothing, and a naive time: mistakes of the caller."""
        if not self.notices:
            message = "a message has at least one notice"
            raise ValueError(message)
        _require_aware(created_at=self.created_at)


def _require_aware(**moments: datetime | None) -> None:
    for name, moment in moments.items():
        if moment is not None and moment.utcoffset() != timedelta(0):
            message = f"{name} must be aware and in UTC"
            raise ValueError(message)
