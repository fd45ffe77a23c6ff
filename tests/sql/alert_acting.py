"""Small steps for tests of what people do: an incident, whom it was told, and what holds it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

if TYPE_CHECKING:
    import psycopg

__all__ = ["Acting", "Incident"]


@dataclass(frozen=True, slots=True)
class Incident:
    """A service that is down, and what is active."""

    service: str
    incident_id: UUID
    event_id: UUID


@dataclass(frozen=True, slots=True)
class Acting:
    """A database in which incidents are made by hand, as evaluation leaves them."""

    connection: psycopg.Connection[Any]

    def channel(self, name: str, **columns: Any) -> None:
        """A channel without a window."""
        self.connection.execute(
            "insert into alert_channels (name, group_window_seconds, disabled_at)"
            " values (%s, 0, %s)",
            [name, columns.get("disabled_at")],
        )

    def incident(self, service: str, **details: Any) -> Incident:
        """A service that has been down for ten minutes; channels are owed the opening."""
        made = Incident(service, uuid4(), uuid4())
        started_at = self.value("select now() - interval '10 minutes'").isoformat()
        written = {"incident_id": str(made.incident_id), "started_at": started_at, **details}
        self.connection.execute(
            "insert into alert_events (id, service_name, alert_type, status, details)"
            " values (%s, %s, 'service_down', 'active', %s)",
            [made.event_id, service, json.dumps(written)],
        )
        self.connection.execute(
            "insert into service_states (service_name, status, since, is_steady, last_checked_at,"
            " last_check_id, tracks, incident_id, event_id, first_failed, last_failed)"
            """ values (%s, 'down', now(), false, now(), %s, '{"": {}}', %s, %s, '{}', '{}')""",
            [service, uuid4(), made.incident_id, made.event_id],
        )
        self.connection.execute(
            "select queue_alert_messages('opened', %s, %s, %s)",
            [service, made.incident_id, made.event_id],
        )
        return made

    def tell(self, *channels: str) -> list[tuple[str, str]]:
        """Deliver everything that may go now: kind and service, in order."""
        told = []
        worker = uuid4()
        while messages := self.value(
            "select claim_alert_messages(%s, %s)", [worker, list(channels)]
        )["messages"]:
            for message in messages:
                told += [(each["kind"], each["service_name"]) for each in message["deliveries"]]
                self.value(
                    "select finish_alert_message(%s, %s, 'delivered')",
                    [message["id"], message["attempt"]],
                )
        return told

    def acts(self, **columns: Any) -> list[tuple[str, str]]:
        """Act and actor, in order, of the acts with these columns."""
        (name, value) = next(iter(columns.items()))
        query = f"select act, actor from alert_acts where {name} = %s order by acted_at, id"  # noqa: S608 -- a name of ours
        return self.connection.execute(query.encode(), [value]).fetchall()

    def holds(self, delivery_of: Incident, *, as_kind: str = "opened") -> str | None:
        """Why the delivery of an incident's opening, or a reminder of it, would have to wait."""
        reason: str | None = self.value(
            "select hold_reason from pulsebase_find_hold_reasons(array("
            "select id from alert_deliveries where event_id = %s), clock_timestamp(), %s)",
            [delivery_of.event_id, as_kind],
        )
        return reason

    def value(self, query: str, parameters: Any = None) -> Any:
        """The only value of a query."""
        row = self.connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row[0]
