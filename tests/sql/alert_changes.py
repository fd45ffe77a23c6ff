"""The changes that evaluation and people make, as rows and the call that owes messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from tests.sql.alerting import Alerting

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Changes", "Incident"]

_STATUS = {"service_down": "down", "service_degraded": "degraded"}


@dataclass(slots=True)
class Incident:
    """A trouble of a service, and its newest event."""

    service: str
    event_id: UUID
    id: UUID = field(default_factory=uuid4)
    alert_type: str = "service_down"


class Changes(Alerting):
    """An `Alerting` whose services change when they are told to."""

    def opened(
        self, service: str, alert_type: str = "service_down", change: str = "opened"
    ) -> Incident:
        """A new incident of a service."""
        with self.connection.transaction():
            incident = Incident(service, self._event(service, alert_type), alert_type=alert_type)
            self._state(incident)
            self._queue(change, incident)
        return incident

    def superseded(self, incident: Incident, alert_type: str) -> None:
        """Another event takes the place of the active one."""
        with self.connection.transaction():
            previous = incident.event_id
            self._resolve(previous)
            incident.event_id = self._event(incident.service, alert_type)
            incident.alert_type = alert_type
            self._state(incident)
            self._queue("superseded", incident, previous)

    def recovered(self, *incidents: Incident, change: str = "recovered") -> None:
        """The services are well again."""
        for incident in incidents:
            with self.connection.transaction():
                self._resolve(incident.event_id)
                self._well(incident.service)
                self._queue(change, incident)

    def recovered_unheard(self, incident: Incident) -> None:
        """A service that flaps is well again: an event, and no message."""
        self._resolve(incident.event_id)
        self._well(incident.service)

    def opened_unheard(self, service: str, alert_type: str = "service_down") -> Incident:
        """A service that flaps fails again: an event, and no message."""
        incident = Incident(service, self._event(service, alert_type), alert_type=alert_type)
        self._state(incident)
        return incident

    def flapping_ended(self, beginning: Incident, now: Incident | None = None) -> None:
        """The service keeps still: well, or in the incident of now."""
        self._queue("flapping_ended", now or beginning, beginning.event_id)

    def acknowledged(self, incident: Incident, *, until: datetime | None = None) -> None:
        """Somebody has seen it."""
        self._act("acknowledge", incident, until)

    def unacknowledged(self, incident: Incident) -> None:
        """They were wrong."""
        self._act("unacknowledge", incident, None)

    def owed(self) -> list[tuple[str, str, str, str | None]]:
        """Channel, kind, service and why it was dropped, of every delivery in its order."""
        return self.connection.execute(
            "select channel, kind, service_name, cancelled_because from alert_deliveries"
            " order by created_at, id"
        ).fetchall()

    def kinds(self, *channels: str) -> list[str]:
        """What was told when everything was delivered that may go."""
        return [each.kind for each in self.deliver(*channels)]

    def digests(self, *channels: str) -> list[list[str]]:
        """The services of each message that could be sent now, and was."""
        sent = self.claim(*channels)
        for message in sent:
            self.finish(message)
        return [[each["service_name"] for each in message["deliveries"]] for message in sent]

    def _event(self, service: str, alert_type: str) -> UUID:
        event_id: UUID = self.value(
            "insert into alert_events (service_name, alert_type, status, created_at)"
            " values (%s, %s, 'active', clock_timestamp()) returning id",
            [service, alert_type],
        )
        return event_id

    def _resolve(self, event_id: UUID) -> None:
        self.connection.execute(
            "update alert_events set status = 'resolved', resolved_at = now() where id = %s",
            [event_id],
        )

    def _state(self, incident: Incident) -> None:
        self.connection.execute(
            "insert into service_states (service_name, status, is_steady, incident_id, event_id)"
            " values (%(service)s, %(status)s, false, %(incident)s, %(event)s)"
            " on conflict (service_name) do update set status = excluded.status, is_steady = false,"
            " incident_id = excluded.incident_id, event_id = excluded.event_id",
            {
                "service": incident.service,
                "status": _STATUS[incident.alert_type],
                "incident": incident.id,
                "event": incident.event_id,
            },
        )

    def _well(self, service: str) -> None:
        self.connection.execute(
            "update service_states set status = 'healthy', is_steady = true, incident_id = null,"
            " event_id = null where service_name = %s",
            [service],
        )

    def _queue(self, change: str, incident: Incident, previous: UUID | None = None) -> None:
        self.connection.execute(
            "select queue_alert_messages(%s, %s, %s, %s, %s)",
            [change, incident.service, incident.id, incident.event_id, previous],
        )

    def _act(self, act: str, incident: Incident, until: datetime | None) -> None:
        self.connection.execute(
            "insert into alert_acts (id, act, actor, acted_at, event_id, until)"
            " values (gen_random_uuid(), %s, 'a test', clock_timestamp(), %s, %s)",
            [act, incident.event_id, until],
        )
