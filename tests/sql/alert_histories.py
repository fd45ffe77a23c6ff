"""Histories of checks, in a database and in the reference model: both decide the same."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from pulsebase import HealthCheckModel, NewHealthCheck
from tests.sql.alert_reference import BUILT_IN, Check, Event, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import psycopg

    from pulsebase import Connection

__all__ = ["Database", "Histories", "Run"]

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
_COLUMNS = "id, service_name, status, checked_at, probe_details"
_INSERT = f"insert into service_health_checks ({_COLUMNS})"
_VALUES = "(%s, %s, %s, %s, %s)"

_EVENTS = """
select service_name, alert_type, details ->> 'started_at', resolved_at,
    details ->> 'resolved_by', details ->> 'downtime_seconds'
from alert_events
where service_name = any(%s)
order by created_at, id
"""
_STATES = """
select service_name, state.status, is_steady, flapping_since,
    (select count(*) from alert_events as event
        where event.id = state.event_id and event.status = 'active'
        and event.alert_type = 'service_' || state.status)
from service_states as state
where service_name = any(%s)
"""
_FORGET = """
with states as (delete from service_states where service_name = any(%(names)s)),
    services as (delete from monitored_services where service_name = any(%(names)s))
delete from alert_policies where position = %(position)s
"""


@dataclass(slots=True)
class Database:
    """The doors through which checks reach one database."""

    connection: psycopg.Connection[Any]
    ours: Connection
    histories: count[int] = field(default_factory=lambda: count(1))

    def statement(self, rows: Sequence[Sequence[Any]]) -> None:
        """One INSERT of them all."""
        values = ", ".join([_VALUES] * len(rows))
        query = f"{_INSERT} values {values} on conflict do nothing"
        self.connection.execute(query.encode(), [value for row in rows for value in row])

    def function(self, rows: Sequence[Sequence[Any]]) -> None:
        """Our function, as HTTP clients call it."""
        checks = json.dumps([_json_row(row) for row in rows])
        self.connection.execute("select create_health_checks(%s)", [checks])

    def model(self, rows: Sequence[Sequence[Any]]) -> None:
        """Our model."""
        checks = [
            NewHealthCheck(
                id=check_id,
                service_name=service,
                status=status,
                checked_at=checked_at,
                probe_details=None if details is None else json.loads(details),
            )
            for check_id, service, status, checked_at, details in rows
        ]
        HealthCheckModel.create_many(self.ours, checks=checks)

    def twice(self, rows: Sequence[Sequence[Any]]) -> None:
        """An INSERT, and somebody who hands the same rows over once more."""
        known = self._known(rows)
        self.statement(rows)
        self._hand_over([row for row in rows if row[0] not in known])

    def by_hand(self, rows: Sequence[Sequence[Any]]) -> None:
        """Without the trigger, as an engine that has none stores and then evaluates them."""
        known = self._known(rows)
        self.unseen(rows)
        self._hand_over([row for row in rows if row[0] not in known])

    def unseen(self, rows: Sequence[Sequence[Any]]) -> None:
        """Stored while nobody looks, as a healthy check is that another transaction hides."""
        with self.connection.transaction():
            self.connection.execute("set local session_replication_role = replica")
            self.statement(rows)

    def _hand_over(self, rows: Sequence[Sequence[Any]]) -> None:
        ids = [row[0] for row in rows]
        self.connection.execute(
            "select evaluate_health_checks(jsonb_agg(to_jsonb(one)))"
            " from service_health_checks as one where id = any(%s) having count(*) > 0",
            [ids],
        )

    def _known(self, rows: Sequence[Sequence[Any]]) -> set[UUID]:
        query = "select id from service_health_checks where id = any(%s)"
        return {row[0] for row in self.connection.execute(query, [[row[0] for row in rows]])}


def _json_row(row: Sequence[Any]) -> dict[str, Any]:
    check_id, service, status, checked_at, details = row
    return {
        "id": str(check_id),
        "service_name": service,
        "status": status,
        "checked_at": checked_at.isoformat(),
        "probe_details": None if details is None else json.loads(details),
    }


def _form(level: str) -> st.SearchStrategy[dict[str, Any]]:
    """How an event of this level opens; always the three keys together, as they are published."""
    number = st.sampled_from([1, 1, 2, 3])
    in_a_row = st.tuples(number, st.none(), st.none())
    of = st.tuples(number, st.sampled_from([3, 4, 7]), st.none())
    seconds = st.tuples(number, st.none(), st.sampled_from([1, 5, 30]))
    keys = [f"{level}_open_{part}" for part in ("checks", "of", "seconds")]
    return st.one_of(in_a_row, of, seconds).map(lambda form: dict(zip(keys, form, strict=True)))


_MOSTLY = st.sampled_from([True, True, True, False])
_CLOSE = st.sampled_from([1, 2, 3])
_OTHER_KEYS = st.fixed_dictionaries(
    {},
    optional={
        "enabled": _MOSTLY,
        "degraded_enabled": _MOSTLY,
        "down_close_checks": _CLOSE,
        "degraded_close_checks": _CLOSE,
        "locations_agree": st.sampled_from([0, -1, 1, 2]),
        "location_fresh_seconds": st.sampled_from([5, 30, 300]),
        "flapping_changes": st.sampled_from([0, 2, 3, 6]),
        "flapping_within_seconds": st.sampled_from([20, 100, 3600]),
    },
)
_NOTHING: st.SearchStrategy[dict[str, Any]] = st.just({})
_POLICIES = st.tuples(
    st.one_of(_NOTHING, _form("down")), st.one_of(_NOTHING, _form("degraded")), _OTHER_KEYS
).map(lambda parts: parts[0] | parts[1] | parts[2])


@dataclass(frozen=True, slots=True)
class Run:
    """Some checks in a row of one service, that say the same."""

    service: int
    location: int
    status: str
    length: int = 1
    gap: int = 1
    late: int = 0
    order: int = 0


# The first service has no locations, the second two, the third three.
_RUNS = st.builds(
    Run,
    service=st.sampled_from([0, 1, 2]),
    location=st.sampled_from([0, 1, 2]),
    status=st.sampled_from(["healthy", "healthy", "degraded", "down", "down"]),
    length=st.sampled_from([1, 1, 2, 3, 4]),
    gap=st.sampled_from([0, 1, 1, 1, 4, 40]),
    late=st.sampled_from([0, 0, 0, 0, 2, 50]),
    order=st.sampled_from([0, 1]),
)
_DOORS = st.sampled_from(["statement", "rows", "function", "model", "twice", "by_hand"])
_WORSE = st.sampled_from(["service_degraded", "service_down"])


class Histories(RuleBasedStateMachine):
    """One history of three services, in the database and in the model."""

    database: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.history = next(self.database.histories)
        self.names = [f"h{self.history}-{number}" for number in range(3)]
        self.everybody: dict[str, Any] = {}
        self.own: dict[str, dict[str, Any]] = {name: {} for name in self.names}
        self.reference = Reference(self.policy_of)
        self.clock = 0
        self.numbers = count(1)
        self.checks: list[Check] = []

    def policy_of(self, service: str) -> Mapping[str, Any]:
        return {**BUILT_IN, **self.everybody, **self.own[service]}

    @initialize(policy=_POLICIES)
    def begin(self, policy: dict[str, Any]) -> None:
        self.publish_for_all(policy)

    @rule(policy=_POLICIES)
    def publish_for_all(self, policy: dict[str, Any]) -> None:
        self.everybody = policy
        self.execute(
            "insert into alert_policies (position, matcher, alert_policy) values (%s, %s, %s)"
            " on conflict (position) do update set alert_policy = excluded.alert_policy",
            [self.history, json.dumps({"services": [f"h{self.history}-*"]}), json.dumps(policy)],
        )

    @rule(number=st.sampled_from([0, 1, 2]), policy=_POLICIES)
    def publish_for_one(self, number: int, policy: dict[str, Any]) -> None:
        self.own[self.names[number]] = policy
        self.execute(
            "insert into monitored_services (service_name, alert_policy) values (%s, %s)"
            " on conflict (service_name) do update set alert_policy = excluded.alert_policy",
            [self.names[number], json.dumps(policy)],
        )

    @rule(runs=st.lists(_RUNS, min_size=1, max_size=6), door=_DOORS)
    def check(self, runs: list[Run], door: str) -> None:
        checks = [check for run in runs for check in self.made(run)]
        for batch in [[check] for check in checks] if door == "rows" else [checks]:
            self.store("statement" if door == "rows" else door, batch)
            self.reference.insert(batch)

    @precondition(lambda self: self.checks)
    @rule(data=st.data(), run=_RUNS, door=_DOORS.filter(lambda door: door != "rows"))
    def repeat(self, data: st.DataObject, run: Run, door: str) -> None:
        """Checks that are stored already come again, among new ones."""
        again = data.draw(st.lists(st.sampled_from(self.checks), min_size=1, max_size=4))
        checks = [*again, *self.made(run)]
        self.store(door, checks)
        self.reference.insert(checks)

    @rule(run=_RUNS)
    def hide(self, run: Run) -> None:
        """Healthy checks that raced with failing ones: nobody looks at them yet."""
        checks = [
            Check(check.checked_at, check.id, check.service, "healthy", check.location)
            for check in self.made(run)
        ]
        self.store("unseen", checks)
        self.reference.store(checks)

    @rule()
    def catch_up(self) -> None:
        self.execute("select evaluate_health_checks(null)")
        self.reference.catch_up()

    @rule(number=st.sampled_from([0, 1, 2]), alert_type=_WORSE)
    def make_an_event_by_hand(self, number: int, alert_type: str) -> None:
        name = self.names[number]
        self.execute(
            "insert into alert_events (service_name, alert_type, status)"
            " values (%s, %s, 'active') on conflict do nothing",
            [name, alert_type],
        )
        if (name, alert_type) not in self.active():
            self.reference.events.append(Event(name, alert_type))

    @precondition(lambda self: self.active())
    @rule(data=st.data())
    def resolve_by_hand(self, data: st.DataObject) -> None:
        self.resolve(*data.draw(st.sampled_from(sorted(self.active()))))

    def resolve(self, service: str, alert_type: str) -> None:
        event = self.active()[service, alert_type]
        self.execute(
            "select resolve_alert_event(id, resolved_at => %s, actor => 'somebody')"
            " from alert_events"
            " where service_name = %s and alert_type = %s and status = 'active'",
            [_moment(self.clock), service, alert_type],
        )
        self.reference.resolve(event, self.clock)

    def teardown(self) -> None:
        """Everything is compared at the end: a history that fails is made short anyway."""
        if hasattr(self, "numbers"):
            try:
                assert list(self.decided()) == list(self.expected())
                assert list(self.found_states()) == list(self.expected_states())
            finally:
                self.execute(_FORGET, {"names": self.names, "position": self.history})

    def decided(self) -> Iterator[tuple[Any, ...]]:
        rows = self.execute(_EVENTS, [self.names]).fetchall()
        for service, alert_type, started_at, resolved_at, resolved_by, downtime in rows:
            started, resolved = _seconds(started_at), _seconds(resolved_at)
            if started is not None and resolved is not None:
                assert started <= resolved
                assert alert_type != "recovery" or float(downtime) == resolved - started
            yield service, alert_type, started, resolved, resolved_by

    def expected(self) -> Iterator[tuple[Any, ...]]:
        for one in self.reference.events:
            yield one.service, one.alert_type, one.started_at, one.resolved_at, one.resolved_by

    def found_states(self) -> Iterator[tuple[Any, ...]]:
        rows = self.execute(_STATES, [self.names]).fetchall()
        found = {row[0]: row[1:] for row in rows}
        for name in self.names:
            status, is_steady, flapping_since, events = found.get(name, ("healthy", True, None, 0))
            assert events == int(status != "healthy")
            yield name, status, is_steady, _seconds(flapping_since)

    def expected_states(self) -> Iterator[tuple[Any, ...]]:
        for name in self.names:
            state = self.reference.states[name]
            yield name, state.status, state.is_steady, state.flapping_since

    def active(self) -> dict[tuple[str, str], Event]:
        return {event.key: event for event in self.reference.events if event.is_active}

    def made(self, run: Run) -> Iterator[Check]:
        locations = [""] if run.service == 0 else ["a", "b", "c"][: run.service + 1]
        for _ in range(run.length):
            self.clock += run.gap
            check = Check(
                self.clock - run.late,
                # What ties two checks of one moment is their id, not when they came.
                next(self.numbers) + (run.order << 32),
                self.names[run.service],
                run.status,
                locations[run.location % len(locations)],
            )
            self.checks.append(check)
            yield check

    def store(self, door: str, checks: Sequence[Check]) -> None:
        rows = [self.row(check) for check in checks]
        write: Callable[[list[Any]], None] = getattr(self.database, door)
        write(rows)

    def row(self, check: Check) -> tuple[Any, ...]:
        details = json.dumps({"location": check.location}) if check.location else None
        check_id = UUID(int=(self.history << 64) + check.id)
        return check_id, check.service, check.status, _moment(check.checked_at), details

    def execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self.database.connection.execute(query.encode(), parameters)


def _moment(seconds: int) -> datetime:
    return _BEGINNING + timedelta(seconds=seconds)


def _seconds(moment: datetime | str | None) -> float | None:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return None if moment is None else (moment - _BEGINNING).total_seconds()
