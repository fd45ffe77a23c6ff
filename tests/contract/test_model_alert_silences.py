"""Every verb of AlertSilenceModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pulsebase import InvalidValueError, NotFoundError, PulsebaseError
from pulsebase.models.alert_act import AlertActModel
from pulsebase.models.alert_silence import AlertSilence, AlertSilenceModel, MaintenanceWindow
from pulsebase.models.schedules import CronSchedule, WeeklySchedule

if TYPE_CHECKING:
    from tests.contract.callers import Caller

NOTE = "Ünïcode 😀 \" \\ '%s'\n\u202eesrever\u202c $1"
HOUR = timedelta(hours=1)
ALWAYS = WeeklySchedule(days=(1, 2, 3, 4, 5, 6, 7), from_time=time(0), until_time=time(0))
NIGHTLY = CronSchedule(cron="0 2 * * *", duration=HOUR, zone="Europe/Berlin")


def create(call: Caller, service: str, **fields: Any) -> AlertSilence:
    values = {"by": "Ann", "service_name": service, **fields}
    silence = call(AlertSilenceModel.create, **values)
    assert isinstance(silence, AlertSilence)
    return silence


def active(call: Caller, service: str) -> list[AlertSilence]:
    found: list[AlertSilence] = call(AlertSilenceModel.find_active, service_name=service)
    return found


def test_a_silence_has_every_field(call: Caller, service: str) -> None:
    starts_at = datetime.now(UTC) - HOUR
    ends_at = starts_at + 2 * HOUR
    silence = create(
        call,
        service,
        labels={"team": "ai", "tier": "*"},
        starts_at=starts_at,
        ends_at=ends_at,
        kind="maintenance",
        name=f"name {service}"[:100],
        note=NOTE,
    )
    assert silence == AlertSilence(
        id=silence.id,
        kind="maintenance",
        name=f"name {service}",
        matcher={"services": [service], "labels": {"team": "ai", "tier": "*"}},
        schedule=None,
        note=NOTE,
        created_by="Ann",
        created_at=silence.created_at,
        lifted_at=None,
        lifted_by=None,
        planned_until=None,
        starts_at=starts_at,
        ends_at=ends_at,
        is_active=True,
        is_over=False,
    )
    assert call(AlertSilenceModel.find_by_id, silence.id) == silence
    (act,) = call(AlertActModel.find, silence_id=silence.id)
    assert (act.act, act.actor, act.note) == ("maintenance", "Ann", NOTE)


def test_a_silence_begins_now_by_the_clock_of_the_database(call: Caller, service: str) -> None:
    silence = create(call, service, duration=HOUR)
    assert silence.starts_at is not None
    assert silence.ends_at == silence.starts_at + HOUR
    assert silence.created_at <= silence.starts_at < silence.created_at + HOUR
    assert silence.is_active


def test_a_silence_without_an_end_holds_until_it_is_lifted(call: Caller, service: str) -> None:
    silence = create(call, service)
    assert (silence.is_active, silence.ends_at) == (True, None)
    assert active(call, service) == [silence]
    lifted = call(AlertSilenceModel.lift, silence.id, by="Bob", note="done")
    assert (lifted.is_active, lifted.is_over, lifted.lifted_by) == (False, True, "Bob")
    assert active(call, service) == []
    assert call(AlertSilenceModel.lift, silence.id, by="Cyd") == lifted
    found = call(AlertActModel.find, silence_id=silence.id)
    assert [(each.act, each.actor, each.note) for each in found] == [
        ("lift", "Bob", "done"),
        ("silence", "Ann", None),
    ]


def test_the_same_id_is_the_same_silence(call: Caller, service: str) -> None:
    first = create(call, service, id=uuid4(), note="first")
    again = create(call, "another", id=first.id, note="second")
    assert again == first
    assert len(call(AlertActModel.find, silence_id=first.id)) == 1


def test_a_name_is_one_silence_until_that_is_over(call: Caller, service: str) -> None:
    first = create(call, service, name=service)
    assert create(call, service, name=service) == first
    with pytest.raises(PulsebaseError, match="lift it first"):
        create(call, "another", name=service)
    lifted = call(AlertSilenceModel.lift, name=service, by="Ann")
    assert lifted.id == first.id
    assert call(AlertSilenceModel.lift, name=service, by="Ann") == lifted
    second = create(call, "another", name=service)
    assert second.id != first.id


def test_a_name_is_free_when_its_time_is_over(call: Caller, service: str) -> None:
    past = datetime.now(UTC) - HOUR
    first = create(call, service, name=service, starts_at=past, duration=timedelta(minutes=1))
    assert (first.is_active, first.is_over) == (False, True)
    second = create(call, service, name=service, duration=HOUR)
    assert second.id != first.id
    assert call(AlertSilenceModel.lift, name=service, by="Ann").id == second.id
    ended = call(AlertSilenceModel.find_by_id, first.id)
    assert (ended.lifted_at, ended.lifted_by) == (first.ends_at, None)


@pytest.mark.parametrize(
    ("matcher", "matches"),
    [
        ({}, True),
        ({"services": ["*"]}, True),
        ({"services": ["service-*"]}, True),
        ({"services": ["other", "*ervice*"]}, True),
        ({"services": ["SERVICE-*"]}, False),
        ({"services": ["service-"]}, False),
        ({"services": ["service_%"]}, False),
        ({"services": [".*"]}, False),
        ({"services": ["\\"]}, False),
        ({"labels": {"team": "a*"}}, True),
        ({"labels": {"team": "ai", "tier": "*"}}, False),
        ({"labels": {"team": "AI"}}, False),
        ({"labels": {}}, True),
        ({"services": ["other"], "labels": {"team": "ai"}}, False),
    ],
)
def test_a_matcher_decides_whom_it_is_about(
    call_some: Caller, service: str, matcher: dict[str, Any], matches: bool
) -> None:
    _label(call_some, service, '{"team": "ai"}')
    silence = create(call_some, service, service_name=None, matcher=matcher, duration=HOUR)
    try:
        assert silence.matcher == matcher
        found = {each.id for each in active(call_some, service)}
        assert (silence.id in found) is matches
    finally:
        call_some(AlertSilenceModel.lift, silence.id, by="Ann")


def test_what_will_hold_is_open_and_what_was_is_not(call: Caller, service: str) -> None:
    now = datetime.now(UTC)
    later = create(call, service, starts_at=now + HOUR, duration=HOUR)
    past = create(call, service, starts_at=now - 2 * HOUR, duration=HOUR)
    current = create(call, service)
    lifted = create(call, service)
    call(AlertSilenceModel.lift, lifted.id, by="Ann")
    assert active(call, service) == [current]
    assert call(AlertSilenceModel.find_open, service_name=service) == [current, later]
    every = call(AlertSilenceModel.iterate, service_name=service)
    own = [each.id for each in every if each.matcher == current.matcher]
    assert own == [lifted.id, current.id, past.id, later.id]
    assert current in call(AlertSilenceModel.find_active)


def test_a_schedule_holds_at_its_times(call: Caller, service: str) -> None:
    always = create(call, service, schedule=ALWAYS)
    assert always.schedule == ALWAYS.as_json()
    assert always.is_active
    assert always.starts_at is not None
    assert always.planned_until is not None
    assert timedelta(days=34) < always.planned_until - always.created_at < timedelta(days=36)
    nightly = create(call, service, schedule=NIGHTLY)
    assert nightly.starts_at is not None
    assert nightly.starts_at.astimezone(UTC).hour in {0, 1}
    assert nightly.ends_at == nightly.starts_at + HOUR
    assert not nightly.is_over


def test_schedules_are_planned_further_and_only_where_that_is_needed(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    silence = create(call, service, schedule=NIGHTLY)
    call(AlertSilenceModel.plan_all)
    before = _periods(plain_sql, silence.id)
    assert len(before) in {34, 35, 36}
    assert call(AlertSilenceModel.plan_all).extended == 0
    plain_sql.execute("delete from alert_silence_periods where starts_at > now() + interval '9 d'")
    plain_sql.execute(
        "update alert_silences set planned_until = now() + interval '9 days' where id = %s",
        [silence.id],
    )
    assert call(AlertSilenceModel.plan_all).extended == 1
    assert set(before) <= set(_periods(plain_sql, silence.id))


def test_a_schedule_that_nobody_can_read_is_told_and_hinders_no_other(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    good = create(call, service, schedule=NIGHTLY)
    bad = create(call, service, schedule=NIGHTLY, name=service)
    plain_sql.execute(
        "update alert_silences set planned_until = null,"
        " schedule = case id when %s then %s else schedule end where id in (%s, %s)",
        [bad.id, Jsonb({"cron": "never", "duration_seconds": 60}), good.id, bad.id],
    )
    planned = call(AlertSilenceModel.plan_all)
    assert planned.extended >= 1
    (problem,) = [each for each in planned.problems if service in each]
    assert "cron" in problem
    call(AlertSilenceModel.lift, bad.id, by="Ann")
    assert not [each for each in call(AlertSilenceModel.plan_all).problems if service in each]


def test_maintenance_is_published_as_the_configuration_says(call: Caller, service: str) -> None:
    by = f"configuration {service}"[:100]

    def publish(*windows: MaintenanceWindow) -> tuple[int, int]:
        done = call(AlertSilenceModel.publish_maintenance, windows=windows, by=by)
        return done.created, done.lifted

    def window(name: str, **fields: Any) -> MaintenanceWindow:
        values = {"matcher": {"services": [service]}, "schedule": NIGHTLY, **fields}
        return MaintenanceWindow(name=f"{name} {service}", **values)

    now = datetime.now(UTC)
    once = {"schedule": None, "starts_at": now - HOUR, "ends_at": now + HOUR}
    by_hand = create(call, service)
    assert publish(window("a"), window("b", **once)) == (2, 0)
    assert publish(window("a"), window("b", **once)) == (0, 0)
    assert publish(window("a", schedule=ALWAYS), window("b", **once)) == (1, 1)
    assert publish(window("b", **once | {"ends_at": now + 2 * HOUR})) == (1, 2)
    (published,) = [each for each in active(call, service) if each.id != by_hand.id]
    assert (published.kind, published.created_by) == ("maintenance", by)
    assert published.ends_at == now + 2 * HOUR
    assert publish() == (0, 1)
    assert active(call, service) == [by_hand]
    over = window("c", schedule=None, starts_at=now - 2 * HOUR, ends_at=now - HOUR)
    assert publish(over) == (0, 0)


def test_a_lift_of_nothing_is_told(call: Caller) -> None:
    with pytest.raises(NotFoundError, match="no silence with the name no such silence"):
        call(AlertSilenceModel.lift, name="no such silence", by="Ann")
    with pytest.raises(NotFoundError, match="no silence with the id"):
        call(AlertSilenceModel.lift, uuid4(), by="Ann")
    assert call(AlertSilenceModel.find_by_id, uuid4()) is None


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"by": ""}, "by"),
        ({"by": "nul\x00"}, "by"),
        ({"service_name": None}, "matcher"),
        ({"matcher": {}}, "matcher"),
        ({"service_name": "two\nlines"}, "service_name"),
        ({"service_name": "x" * 101}, "service_name"),
        ({"service_name": None, "matcher": []}, "matcher"),
        ({"service_name": None, "matcher": {"service": ["a"]}}, "matcher"),
        ({"service_name": None, "matcher": {"services": "a"}}, "services"),
        ({"service_name": None, "matcher": {"services": []}}, "services"),
        ({"service_name": None, "matcher": {"services": [""]}}, "services"),
        ({"service_name": None, "matcher": {"services": [5]}}, "services"),
        ({"service_name": None, "matcher": {"services": ["\ud83d"]}}, "services"),
        ({"service_name": None, "matcher": {"services": None}}, "services"),
        ({"service_name": None, "matcher": {"services": ["a" * 100] * 1000}}, "matcher"),
        ({"labels": {"team": 5}}, "labels"),
        ({"labels": {5: "a"}}, "labels"),
        ({"labels": {"team": "nul\x00"}}, "labels"),
        ({"labels": ["team"]}, "labels"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "nul\x00"}, "note"),
        ({"name": ""}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"kind": "holiday"}, "kind"),
        ({"duration": timedelta(0)}, "duration"),
        ({"duration": timedelta.max}, "duration"),
        ({"duration": HOUR, "ends_at": datetime.now(UTC)}, "duration"),
        ({"starts_at": datetime(2030, 1, 1)}, "starts_at"),  # noqa: DTZ001 -- it is the point
        (
            {"starts_at": datetime.now(UTC), "ends_at": datetime.now(UTC) - HOUR},
            "ends_at",
        ),
        ({"schedule": "0 2 * * *"}, "schedule"),
        ({"schedule": NIGHTLY, "duration": HOUR}, "schedule"),
        ({"id": 7}, "id"),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_sent(
    call_some: Caller, service: str, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        create(call_some, service, **fields)
    assert caught.value.field == field
    assert str(caught.value).isprintable()
    assert not [
        each for each in call_some(AlertSilenceModel.find_open) if service in str(each.matcher)
    ]


@pytest.mark.parametrize("window", [{}, {"starts_at": datetime.now(UTC)}])
def test_a_maintenance_window_has_times_or_a_schedule(window: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError, match="schedule must be given"):
        MaintenanceWindow(name="x", matcher={}, **window)


def _label(call: Caller, service: str, labels: str) -> None:
    with psycopg.connect(call.door.sql_url, autocommit=True) as connection:
        connection.execute(
            "insert into monitored_services (service_name, labels) values (%s, %s)",
            [service, labels],
        )


def _periods(plain_sql: psycopg.Connection[Any], silence_id: UUID) -> list[tuple[Any, ...]]:
    return plain_sql.execute(
        "select starts_at, ends_at from alert_silence_periods where silence_id = %s order by 1",
        [silence_id],
    ).fetchall()
