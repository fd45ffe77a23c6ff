"""What is so now, as far as it decides who is told, and the choices that histories are made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from tests.sql.alert_ledger_rules import BEGINNINGS

if TYPE_CHECKING:
    from datetime import datetime

    from tests.sql.alert_ledger_rules import Owed

__all__ = [
    "AGE",
    "AHEAD",
    "CHANNELS",
    "OWED",
    "PARENTS",
    "REMIND_SECONDS",
    "ROUTES",
    "RULES",
    "TABLES",
    "Silence",
    "World",
]

PARENTS: dict[str, tuple[str, ...]] = {"db": (), "api": ("db",), "web": ("api",), "lone": ()}
CHANNELS = ("a", "b", "c")
REMIND_SECONDS = 300

OWED = """
select delivery.id::text, delivery.channel, delivery.service_name, incident_id::text,
    event_id::text, kind, is_escalation, delivery.created_at, due_at, held_by, released_at,
    cancelled_at, message_id::text, message.created_at as formed_at,
    message.status as message_status, message.finished_at, alert_type,
    event.status = 'active' as is_active,
    exists (select from service_states as state
        where state.service_name = delivery.service_name
        and state.incident_id = delivery.incident_id) as is_current
from alert_deliveries as delivery
join alert_events as event on event.id = event_id
left join alert_messages as message on message.id = message_id
"""
AHEAD = """
select count(*) from alert_messages as mine
join alert_messages as earlier on earlier.channel = mine.channel
    and (earlier.created_at, earlier.id) < (mine.created_at, mine.id)
    and earlier.status in ('pending', 'sending')
where mine.id = any(%s::uuid[]) and exists (
    select from alert_deliveries as one
    join alert_deliveries as other on other.service_name = one.service_name
    where one.message_id = mine.id and other.message_id = earlier.id)
"""
TABLES = (
    *("alert_acts", "alert_channels", "alert_deliveries", "alert_events", "alert_messages"),
    *("alert_message_attempts", "alert_routes", "alert_silences", "alert_silence_periods"),
    *("monitored_services", "service_health_checks", "service_states"),
)
AGE = """
update alert_silence_periods
    set starts_at = starts_at - %(time)s, ends_at = ends_at - %(time)s where true;
update alert_acts set acted_at = acted_at - %(time)s, until = until - %(time)s where true
"""

RULES = st.fixed_dictionaries(
    {
        "group_window_seconds": st.sampled_from([0, 0, 10]),
        "rate": st.sampled_from([(None, None), (None, None), (1, 60), (2, 600)]),
        "remind_every_seconds": st.sampled_from([None, REMIND_SECONDS]),
    }
)
ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "channels": st.sampled_from([["a"], ["b"], ["a", "b"], ["c"]]),
            "alert_types": st.sampled_from([None, None, ["service_down"], ["service_degraded"]]),
            "matcher": st.sampled_from([None, None, '{"services": ["*b"]}']),
            "after_seconds": st.sampled_from([0, 0, 120]),
        }
    ),
    max_size=3,
)


@dataclass(slots=True)
class Silence:
    """What holds services back until somebody lifts it, or its time is over."""

    id: Any
    pattern: str
    ends_at: float


@dataclass(slots=True)
class World:
    """What is so now, as far as it decides who is told."""

    now: float = 0
    silences: list[Silence] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    published: set[str] = field(default_factory=lambda: set(CHANNELS))
    enabled: set[str] = field(default_factory=lambda: set(CHANNELS))
    troubled: set[str] = field(default_factory=set)

    def holds(self, owed: Owed, *, as_kind: str | None = None) -> bool:
        """Whether something holds this back."""
        kind = as_kind or owed.kind
        if kind not in (*BEGINNINGS, "reminder"):
            return False
        is_muted = any(
            fnmatchcase(owed.service_name, silence.pattern) and silence.ends_at > self.now
            for silence in self.silences
        )
        is_orphaned = kind != "reminder" and bool(ancestors(owed.service_name) & self.troubled)
        is_seen = owed.event_id in self.acknowledged and (kind == "reminder" or owed.is_escalation)
        return is_muted or is_orphaned or is_seen

    def lets_speak(self, owed: Owed, moment: datetime) -> bool:
        """Whether nothing but its turn is missing."""
        return (
            owed.is_waiting
            and owed.due_at <= moment
            and not self.holds(owed)
            and (owed.held_by is None or owed.released_at is not None)
            and owed.channel in self.published
        )


def ancestors(service: str) -> set[str]:
    """The services that this one depends on."""
    return {one for parent in PARENTS[service] for one in (parent, *ancestors(parent))}
