"""Small steps for tests of alerting: a service that is checked, channels, and who is told what."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

__all__ = ["AT_ONCE", "Alerting", "Told"]

_START = datetime.now(UTC) - timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that a channel was told."""

    channel: str
    kind: str
    service_name: str
    alert_type: str


@dataclass(slots=True)
class Alerting:
    """A database in which services are checked by plain INSERTs, one check each second."""

    connection: psycopg.Connection[Any]
    worker: UUID = field(default_factory=uuid4)
    _seconds: count[int] = field(default_factory=count)

    def channel(self, name: str, **columns: Any) -> None:
        """A channel without a window, or with what is given."""
        columns = {"group_window_seconds": 0, **columns, "name": name}
        self._insert("alert_channels", columns)

    def route(self, *channels: str, **columns: Any) -> None:
        """A route, after those that are there."""
        position = self.value("select count(*) from alert_routes")
        self._insert("alert_routes", {"position": position, "channels": list(channels), **columns})

    def service(
        self, name: str, policy: Mapping[str, Any], *, depends_on: tuple[str, ...] = ()
    ) -> None:
        """What the configuration says of a service; says it anew where it is known."""
        self.connection.execute(
            "insert into monitored_services (service_name, depends_on, alert_policy)"
            " values (%s, %s, %s) on conflict (service_name) do update"
            " set depends_on = excluded.depends_on, alert_policy = excluded.alert_policy",
            [name, list(depends_on), json.dumps(dict(policy))],
        )

    def at_once(self, *names: str, depends_on: tuple[str, ...] = (), **policy: Any) -> None:
        """Services whose every check decides."""
        for name in names:
            self.service(name, {**AT_ONCE, **policy}, depends_on=depends_on)

    def check(self, service: str, *statuses: str, details: dict[str, Any] | None = None) -> None:
        """One check after another, each in a statement of its own."""
        for status in statuses:
            self.connection.execute(
                "insert into service_health_checks"
                " (service_name, status, checked_at, probe_details) values (%s, %s, %s, %s)",
                [service, status, self.moment(), json.dumps(details or {})],
            )

    def moment(self) -> datetime:
        """The next second."""
        return _START + timedelta(seconds=next(self._seconds))

    def silence(self, *services: str, kind: str = "silence") -> UUID:
        """A silence that holds now, until it is lifted."""
        silence_id = uuid4()
        matcher = json.dumps({"services": list(services)})
        columns = {"id": silence_id, "kind": kind, "matcher": matcher, "created_by": "a test"}
        self._insert("alert_silences", columns)
        period = {"silence_id": silence_id, "starts_at": datetime.now(UTC) - timedelta(hours=1)}
        self._insert("alert_silence_periods", period)
        return silence_id

    def lift(self, silence_id: UUID) -> None:
        """End a silence."""
        self.connection.execute(
            "update alert_silences set lifted_at = now() where id = %s", [silence_id]
        )

    def acknowledge(self, service: str) -> None:
        """Somebody has seen what is active of a service."""
        self.connection.execute(
            "select acknowledge_alert_event(id => e.id, actor => 'a test')"
            " from alert_events as e where service_name = %s and status = 'active'",
            [service],
        )

    def status(self, service: str) -> str:
        """What has been decided; healthy where nothing was."""
        query = "select max(status) from service_states where service_name = %s"
        status: str | None = self.value(query, [service])
        return status or "healthy"

    def events(self, service: str) -> list[tuple[str, str, str | None]]:
        """Type, status and how it was resolved, of all events in their order."""
        return self.connection.execute(
            "select alert_type, status, details ->> 'resolved_by' from alert_events"
            " where service_name = %s order by created_at, id",
            [service],
        ).fetchall()

    def claim(self, *channels: str, lease_seconds: float = 60) -> list[dict[str, Any]]:
        """The messages that may be sent now."""
        answer = self.value(
            "select claim_alert_messages(%s, %s, %s, 1000)",
            [self.worker, list(channels), lease_seconds],
        )
        return list(answer["messages"])

    def finish(self, message: dict[str, Any], outcome: str = "delivered", **more: Any) -> Any:
        """Report what became of a message."""
        arguments = {"id": message["id"], "attempt": message["attempt"], "outcome": outcome, **more}
        named = ", ".join(f"{name} => %({name})s" for name in arguments)
        return self.value(f"select finish_alert_message({named})", arguments)

    def deliver(self, *channels: str) -> list[Told]:
        """Send everything that may go now, as if nothing failed; what was told, in order."""
        told = []
        while messages := self.claim(*channels):
            for message in messages:
                told += [_told(message, delivery) for delivery in message["deliveries"]]
                self.finish(message)
        return told

    def pass_time(self, **duration: float) -> None:
        """Make everything that is remembered of messages older, as if time had gone by."""
        for table, columns in _CLOCKS.items():
            moved = ", ".join(f"{column} = {column} - %(time)s" for column in columns)
            query = f"update {table} set {moved}"  # noqa: S608 -- our own names
            self.connection.execute(query.encode(), {"time": timedelta(**duration)})

    def forget(self) -> None:
        """Empty what a long series of tests would otherwise fill."""
        for table in ("alert_silences", "alert_silence_periods", "alert_deliveries"):
            self.connection.execute(f"delete from {table}".encode())  # noqa: S608 -- our own names

    def restarted(self) -> Alerting:
        """As if the process that delivers had ended and begun anew."""
        return Alerting(self.connection)

    def waiting(self, service: str) -> list[tuple[str, str | None]]:
        """Kind and reason of what is owed about a service, and waits."""
        return self.connection.execute(
            "select kind, held_by from alert_deliveries"
            " where service_name = %s and message_id is null and cancelled_at is null",
            [service],
        ).fetchall()

    def value(self, query: str, parameters: Any = None) -> Any:
        """The only value of a query."""
        row = self.connection.execute(query.encode(), parameters).fetchone()
        assert row is not None
        return row[0]

    def _insert(self, table: str, columns: dict[str, Any]) -> None:
        names = ", ".join(columns)
        values = ", ".join(f"%({name})s" for name in columns)
        query = f"insert into {table} ({names}) values ({values})"  # noqa: S608 -- names of tests
        self.connection.execute(query.encode(), columns)


AT_ONCE: dict[str, Any] = dict.fromkeys(
    ("down_open_checks", "down_close_checks", "degraded_open_checks", "degraded_close_checks"), 1
)

_CLOCKS = {
    "alert_deliveries": ("created_at", "due_at", "held_since", "released_at"),
    "alert_messages": (
        *("created_at", "next_attempt_at", "give_up_at", "leased_until", "finished_at"),
    ),
    "alert_message_attempts": ("started_at", "finished_at"),
    "alert_events": ("created_at", "resolved_at"),
}


def _told(message: dict[str, Any], delivery: dict[str, Any]) -> Told:
    return Told(
        channel=message["channel"],
        kind=delivery["kind"],
        service_name=delivery["service_name"],
        alert_type=delivery["alert_type"],
    )
