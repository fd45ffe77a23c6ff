"""What must hold of what each channel is told, whatever happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

__all__ = ["BEGINNINGS", "Ledger", "Owed", "assert_rate"]

BEGINNINGS = ("opened", "flapping_started")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One delivery, with its message and its alert event as they are now."""

    id: str
    channel: str
    service_name: str
    incident_id: str
    event_id: str
    kind: str
    is_escalation: bool
    created_at: datetime
    due_at: datetime
    held_by: str | None
    released_at: datetime | None
    cancelled_at: datetime | None
    message_id: str | None
    formed_at: datetime | None
    message_status: str | None
    finished_at: datetime | None
    alert_type: str
    is_active: bool
    # Whether its incident is what its service is in now.
    is_current: bool

    @property
    def is_waiting(self) -> bool:
        return self.message_id is None and self.cancelled_at is None

    @property
    def is_finished(self) -> bool:
        return self.message_status in ("delivered", "dead") or self.cancelled_at is not None

    @property
    def ready_at(self) -> datetime:
        return max(self.due_at, self.released_at or self.due_at)

    @property
    def turn(self) -> tuple[Any, ...]:
        return self.formed_at, self.message_id, self.created_at, self.id


@dataclass(slots=True)
class Ledger:
    """What is known of every delivery that there ever was, and what each channel has been told."""

    known: dict[str, Owed] = field(default_factory=dict)
    # What was as good as told when its alert ended: it goes, whatever holds it.
    promised: set[str] = field(default_factory=set)
    open: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    ended_unhealthy: set[str] = field(default_factory=set)
    pruned: set[str] = field(default_factory=set)

    @property
    def present(self) -> list[Owed]:
        """What was not tidied away: its times are those of the database."""
        return [row for row in self.known.values() if row.id not in self.pruned]

    def take(self, rows: Iterable[Owed], *, allow_pruned: bool = False) -> list[Owed]:
        """Take what is there now; what was made into messages since, in its order."""
        now = {row.id: row for row in rows}
        for lost in self.known.keys() - now.keys():
            before = self.known[lost]
            assert allow_pruned or lost in self.pruned, f"{before} is lost"
            assert before.is_finished, f"{before} was deleted before its end"
            self.pruned.add(lost)
        formed = [
            row
            for row in now.values()
            if row.message_id and not (row.id in self.known and self.known[row.id].message_id)
        ]
        for row in now.values():
            self._assert_one_way(row)
            is_new = row.id not in self.known
            if is_new and row.kind == "flapping_ended" and _is_in_trouble(row, now.values()):
                self.ended_unhealthy.add(row.id)
        self.known.update(now)
        formed.sort(key=lambda row: row.turn)
        return formed

    def tell(self, formed: Iterable[Owed]) -> None:
        """Go through what was made into messages: an end follows its beginning, and once."""
        for row in formed:
            state = self.open.setdefault((row.service_name, row.channel), {})
            match row.kind:
                case "opened":
                    state[row.incident_id] = "told"
                case "flapping_started":
                    assert "flapping" not in state, f"{row} twice"
                    state["flapping"] = row.incident_id
                    state[row.incident_id] = "told"
                case "flapping_ended":
                    assert "flapping" in state, f"{row} without a beginning"
                    state.pop(state.pop("flapping"), None)
                    if row.id in self.ended_unhealthy:
                        state[row.incident_id] = "told"
                case "reminder":
                    assert row.incident_id in state, f"{row} of what was not told, or is over"
                case "resolved":
                    assert state.pop(row.incident_id, None), f"{row} without an opening, or twice"

    def assert_all_is_over(self) -> None:
        """Everything that was owed has come to an end, and everything told is resolved."""
        for row in self.known.values():
            assert row.is_finished, f"{row} is not finished"
        told = {key: state for key, state in self.open.items() if state}
        assert not told, f"never resolved: {told}"

    def _assert_one_way(self, row: Owed) -> None:
        assert row.cancelled_at is None or row.message_id is None, f"{row} is dropped and sent"
        before = self.known.get(row.id)
        if before is None:
            return
        assert before.message_id in (None, row.message_id), f"{row} is in two messages"
        assert before.cancelled_at is None or row.cancelled_at, f"{row} came back"


def _is_in_trouble(ended: Owed, rows: Iterable[Owed]) -> bool:
    """Whether a service kept still in trouble, be it that this is over by now."""
    return ended.is_current or any(
        row.kind == "resolved"
        and (row.incident_id, row.channel) == (ended.incident_id, ended.channel)
        and row.created_at > ended.created_at
        for row in rows
    )


def assert_rate(formed_at: Iterable[datetime], rate: Mapping[str, Any]) -> None:
    """No more messages within any period than the rate allows."""
    if rate.get("rate_limit") is None:
        return
    times = sorted(set(formed_at))
    for first, last in zip(times, times[rate["rate_limit"] :], strict=False):
        assert (last - first).total_seconds() >= rate["rate_period_seconds"] * 0.99, "too often"
