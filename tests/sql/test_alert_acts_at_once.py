"""Many people at once: each act happens once, whole, and nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import psycopg
import pytest

import pulsebase
from pulsebase import AlertEventModel, HealthCheckModel
from pulsebase.models.alert_silence import AlertSilenceModel, MaintenanceWindow
from pulsebase.models.schedules import CronSchedule, WeeklySchedule
from tests.sql.alert_acting import Acting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from pulsebase import AlertEvent, Connection
    from pulsebase.models.alert_silence import AlertSilence, PublishedMaintenance

T = TypeVar("T")

SESSIONS = 8
ALWAYS = WeeklySchedule(days=(1, 2, 3, 4, 5, 6, 7), from_time=time(0), until_time=time(0))
HOURLY = CronSchedule(cron="0 * * * *", duration=timedelta(minutes=5), zone="Europe/Berlin")


@pytest.fixture
def acting(database: str) -> Iterator[Acting]:
    with psycopg.connect(database, autocommit=True) as connection:
        acting = Acting(connection)
        acting.channel("ops")
        yield acting


def at_once(url: str, act: Callable[[Connection, int], T]) -> list[T]:
    """What eight sessions got, that were connected before and let loose together."""
    start = Barrier(SESSIONS)

    def run(number: int) -> T:
        with pulsebase.connect(url) as connection:
            HealthCheckModel.find_by_id(connection, uuid4())
            start.wait(20)
            return act(connection, number)

    with ThreadPoolExecutor(SESSIONS) as threads:
        return list(threads.map(run, range(SESSIONS)))


def test_many_resolve_one_incident_and_it_is_resolved_once(acting: Acting, database: str) -> None:
    for number in range(5):
        incident = acting.incident(f"service {number}")
        acting.tell("ops")

        def resolve(door: Connection, who: int, event_id: UUID = incident.event_id) -> AlertEvent:
            return AlertEventModel.resolve(door, event_id, by=f"person {who}")

        answers = at_once(database, resolve)
        assert answers == [answers[0]] * SESSIONS
        assert len(acting.acts(event_id=incident.event_id)) == 1
        assert acting.tell("ops") == [("resolved", incident.service)]


def test_who_acknowledges_while_others_resolve_finds_it_acknowledged_or_resolved(
    acting: Acting, database: str
) -> None:
    """Whatever comes first: never an acknowledgement after the resolution."""
    for number in range(10):
        incident = acting.incident(f"service {number}")

        def act(door: Connection, who: int, event_id: UUID = incident.event_id) -> str:
            by = f"person {who}"
            if who % 4 == 0:
                return AlertEventModel.resolve(door, event_id, by=by).status
            if who % 4 == 1:
                return AlertEventModel.unacknowledge(door, event_id, by=by).status
            return AlertEventModel.acknowledge(door, event_id, by=by).status

        at_once(database, act)
        kinds = [kind for kind, _ in acting.acts(event_id=incident.event_id)]
        assert kinds[-1] == "resolve"
        assert kinds.count("resolve") == 1
        assert "resolve" not in kinds[:-1]


def test_acknowledgements_count_in_the_order_in_which_they_are_dated(
    acting: Acting, database: str
) -> None:
    """Also in transactions that began in another order."""
    incident = acting.incident("api")
    with psycopg.connect(database) as early:
        early.execute("select now()")  # its transaction begins before the other's
        acting.value("select acknowledge_alert_event(id => %s, actor => 'b')", [incident.event_id])
        early.execute(
            "select unacknowledge_alert_event(id => %s, actor => 'a')", [incident.event_id]
        )
    assert acting.holds(incident, as_kind="reminder") is None
    assert [kind for kind, _ in acting.acts(event_id=incident.event_id)] == [
        "acknowledge",
        "unacknowledge",
    ]


def test_many_lift_one_silence_and_it_is_lifted_once(acting: Acting, database: str) -> None:
    for number in range(5):
        name = f"silence {number}"
        made = AlertSilenceModel.create(acting.connection, by="Ann", matcher={}, name=name)

        def lift(door: Connection, who: int, made: AlertSilence = made) -> AlertSilence:
            by = f"person {who}"
            if who % 2:
                return AlertSilenceModel.lift(door, made.id, by=by)
            return AlertSilenceModel.lift(door, name=made.name, by=by)

        answers = at_once(database, lift)
        assert answers == [answers[0]] * SESSIONS
        assert [kind for kind, _ in acting.acts(silence_id=made.id)] == ["silence", "lift"]


def test_many_create_one_silence_and_it_is_there_once(acting: Acting, database: str) -> None:
    for number in range(5):
        name, silence_id = f"silence {number}", uuid4()

        def create(
            door: Connection, who: int, name: str = name, silence_id: UUID = silence_id
        ) -> AlertSilence:
            return AlertSilenceModel.create(
                door,
                by="Ann",
                service_name="x",
                name=name,
                schedule=HOURLY,
                id=silence_id if who % 2 else None,
            )

        answers = at_once(database, create)
        assert len({each.id for each in answers}) == 1
        assert len(acting.acts(silence_id=answers[0].id)) == 1
    assert acting.value("select count(*) from alert_silences") == 5


def test_monitors_that_start_together_publish_one_set_of_windows(
    acting: Acting, database: str
) -> None:
    now = datetime.now(UTC)

    def publish(door: Connection, _: int) -> PublishedMaintenance:
        windows = [
            MaintenanceWindow(name="always", matcher={}, schedule=ALWAYS),
            MaintenanceWindow(name="hourly", matcher={"services": ["a*"]}, schedule=HOURLY),
            MaintenanceWindow(
                name="once", matcher={}, starts_at=now, ends_at=now + timedelta(hours=1)
            ),
        ]
        return AlertSilenceModel.publish_maintenance(door, windows=windows)

    answers = at_once(database, publish)
    assert sum(each.created for each in answers) == 3
    assert sum(each.lifted for each in answers) == 0
    assert acting.value("select count(*) from alert_acts") == 3


def test_monitors_that_plan_together_leave_no_hole(acting: Acting, database: str) -> None:
    """Windows that touch make one period; whoever looks further makes it longer."""
    made = AlertSilenceModel.create(acting.connection, by="Ann", matcher={}, schedule=ALWAYS)
    hourly = AlertSilenceModel.create(acting.connection, by="Ann", matcher={}, schedule=HOURLY)
    for days in (50, 80, 120, 180):

        def plan(door: Connection, who: int, days: int = days) -> object:
            return AlertSilenceModel.plan_all(door, horizon=timedelta(days=days + who))

        at_once(database, plan)
        covered = acting.value(
            "select range_agg(tstzrange(starts_at, ends_at)) @> tstzrange(now(), now() + %s)"
            " from alert_silence_periods where silence_id = %s",
            [timedelta(days=days), made.id],
        )
        assert covered
    gaps = acting.connection.execute(
        "select starts_at - lag(starts_at) over (order by starts_at), count(*)"
        " from alert_silence_periods where silence_id = %s group by starts_at",
        [hourly.id],
    ).fetchall()
    assert len(gaps) in range(839, 842)  # enough for now
    assert {gap for gap, _ in gaps} == {None, timedelta(hours=1)}


def test_who_resolves_waits_for_the_check_that_is_being_decided(
    acting: Acting, database: str
) -> None:
    """The state is locked first, by both: no deadlock, and the act sees what was decided."""
    incident = acting.incident("api")
    with psycopg.connect(database) as deciding, ThreadPoolExecutor(1) as threads:
        deciding.execute("select from service_states where service_name = 'api' for update")
        resolving = threads.submit(
            acting.value,
            "select resolve_alert_event(id => %s, actor => 'Ann')",
            [incident.event_id],
        )
        # As a recovery does it: it may take the event, for who resolves waits for the state.
        deciding.execute("set local lock_timeout = '10s'")
        deciding.execute(
            "update alert_events set status = 'resolved', resolved_at = now(),"
            """ details = details || '{"resolved_by": "recovery"}' where id = %s""",
            [incident.event_id],
        )
        deciding.commit()
        assert resolving.result(20)["details"]["resolved_by"] == "recovery"
    assert acting.acts(event_id=incident.event_id) == []


def test_a_hand_made_event_is_not_adopted_while_it_is_being_resolved(
    acting: Acting, database: str
) -> None:
    """Who resolves makes the state where there is none, so that an evaluation has to wait."""
    event = acting.value("select create_alert_event('new', 'service_down')")
    with psycopg.connect(database) as resolving:
        resolving.execute("select resolve_alert_event(id => %s)", [event["id"]])
        with psycopg.connect(database) as evaluating:
            evaluating.execute("set local lock_timeout = '100ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                evaluating.execute("insert into service_states (service_name) values ('new')")
    state = acting.value("select to_jsonb(s) from service_states as s")
    assert (state["status"], state["incident_id"]) == ("healthy", None)
