"""What checks mean for their service: policies, locations, flapping, late and strange checks."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from tests.sql.alerting import AT_ONCE, Alerting
from tests.sql.scripts import apply

if TYPE_CHECKING:
    from collections.abc import Iterator

DOWN = [("service_down", "active", None)]
RECOVERED = [("service_down", "resolved", "recovery"), ("recovery", "resolved", None)]
STORE = """
insert into service_health_checks (service_name, status, checked_at, probe_details)
values (%s, %s, %s, %s)
"""
WRITTEN = """
select n_tup_ins + n_tup_upd + n_tup_del from pg_stat_xact_user_tables where relname = %s
"""


@pytest.fixture
def alerting(database: str) -> Iterator[Alerting]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield Alerting(connection)


@pytest.fixture
def oldest(plain_database: str) -> Iterator[Alerting]:
    """On every supported PostgreSQL."""
    apply(plain_database)
    with psycopg.connect(plain_database, autocommit=True) as connection:
        yield Alerting(connection)


def types(alerting: Alerting, service: str) -> list[str]:
    return [event[0] for event in alerting.events(service)]


def test_three_failures_in_a_row_open_and_two_good_checks_close(oldest: Alerting) -> None:
    oldest.check("api", "down", "down", "healthy", "down", "down")
    assert oldest.events("api") == []
    oldest.check("api", "down")
    assert oldest.events("api") == DOWN
    oldest.check("api", "healthy", "down", "healthy")
    assert oldest.events("api") == DOWN
    oldest.check("api", "healthy")
    assert oldest.events("api") == RECOVERED


def test_an_event_says_what_it_is_about(alerting: Alerting) -> None:
    details = {"error": {"kind": "refused", "message": "connection refused"}}
    in_location(alerting, "fra", "healthy")
    alerting.check("api", "down", "down", "down", details={**details, "location": "fra"})
    ((found,),) = alerting.connection.execute("select details from alert_events").fetchall()
    stored = alerting.connection.execute(
        "select id::text, to_json(checked_at) #>> '{}' from service_health_checks"
        " where status = 'down' order by checked_at"
    ).fetchall()
    assert (found["first_failed"]["id"], found["started_at"]) == stored[0]
    assert found["last_failed"]["id"] == stored[-1][0]
    assert found["reason"] == found["first_failed"]["reason"] == "connection refused"
    assert (found["status"], found["previous_status"]) == ("down", "healthy")
    assert (found["streak"], found["location"]) == (3, "fra")


def test_three_of_five_open(alerting: Alerting) -> None:
    alerting.service("api", {"down_open_checks": 3, "down_open_of": 5, "down_close_checks": 1})
    alerting.check("api", "down", "healthy", "healthy", "down", "healthy", "down")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == DOWN
    alerting.check("api", "healthy", "down", "down")
    assert alerting.events("api") == RECOVERED
    alerting.check("api", "down")
    assert types(alerting, "api")[-1] == "service_down"


def test_five_seconds_of_failures_open(alerting: Alerting) -> None:
    """One check each second: the sixth is five seconds after the first."""
    lasting = {"down_open_seconds": 5, "degraded_open_seconds": 5}
    alerting.service("api", lasting)
    alerting.check("api", *["down"] * 5)
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == DOWN


def test_slow_and_down_in_turn_is_at_least_degraded(alerting: Alerting) -> None:
    alerting.check("api", "down", "degraded", "down")
    assert types(alerting, "api") == ["service_degraded"]
    alerting.check("api", "down", "down")
    assert alerting.events("api") == [
        ("service_degraded", "resolved", "superseded"),
        ("service_down", "active", None),
    ]
    alerting.check("api", "degraded", "healthy")
    assert alerting.status("api") == "degraded"
    alerting.check("api", "healthy")
    assert types(alerting, "api")[-1] == "recovery"
    ids = alerting.connection.execute(
        "select distinct details ->> 'incident_id' from alert_events"
    ).fetchall()
    assert len(ids) == 1


def in_location(alerting: Alerting, location: str, *statuses: str) -> None:
    alerting.check("api", *statuses, details={"location": location})


def test_most_of_the_locations_must_agree(alerting: Alerting) -> None:
    alerting.at_once("api")
    for location in ("fra", "nyc", "syd"):
        in_location(alerting, location, "healthy")
    in_location(alerting, "fra", "down")
    assert alerting.events("api") == []
    in_location(alerting, "nyc", "down")
    assert alerting.events("api") == DOWN
    in_location(alerting, "nyc", "healthy")
    assert alerting.events("api") == RECOVERED


@pytest.mark.parametrize(("agree", "needed"), [(1, 1), (-1, 3), (2, 2), (9, 3)])
def test_how_many_locations_must_agree_is_a_choice(
    alerting: Alerting, agree: int, needed: int
) -> None:
    alerting.at_once("api", locations_agree=agree)
    locations = ("fra", "nyc", "syd")
    for location in locations:
        in_location(alerting, location, "healthy")
    for failed, location in enumerate(locations, start=1):
        in_location(alerting, location, "down")
        assert bool(alerting.events("api")) == (failed >= needed)


def test_a_silent_location_does_not_vote(alerting: Alerting) -> None:
    alerting.at_once("api", location_fresh_seconds=3)
    in_location(alerting, "fra", "healthy")
    in_location(alerting, "nyc", "healthy", "down", "down")
    assert alerting.events("api") == []
    in_location(alerting, "nyc", "down", "down")
    assert alerting.events("api") == DOWN


def test_a_service_that_flaps_is_told_of_twice(alerting: Alerting) -> None:
    alerting.channel("ops")
    alerting.at_once("api", flapping_changes=4, flapping_within_seconds=30)
    told = []
    for _ in range(5):
        alerting.check("api", "down")
        told += alerting.deliver("ops")
        alerting.check("api", "healthy")
        told += alerting.deliver("ops")
    kinds = [each.kind for each in told]
    assert kinds == ["opened", "resolved", "opened", "resolved", "flapping_started"]
    assert types(alerting, "api") == ["service_down", "recovery"] * 5
    alerting.check("api", *["healthy"] * 31)
    assert [each.kind for each in alerting.deliver("ops")] == ["flapping_ended"]
    alerting.check("api", "down")
    assert [each.kind for each in alerting.deliver("ops")] == ["opened"]


def test_a_late_check_is_stored_and_changes_nothing(alerting: Alerting) -> None:
    alerting.at_once("api")
    early = alerting.moment()
    alerting.check("api", "healthy")
    alerting.connection.execute(STORE, ["api", "down", early, "{}"])
    assert alerting.events("api") == []
    between = alerting.moment()
    alerting.check("api", "down")
    alerting.connection.execute(STORE, ["api", "healthy", between, "{}"])
    assert alerting.events("api") == DOWN


def test_a_batch_in_any_order_is_evaluated_in_the_order_of_its_looks(alerting: Alerting) -> None:
    alerting.at_once("api")
    first, second, third = (alerting.moment() for _ in range(3))
    checks = [("api", "healthy", third, "{}"), ("api", "down", first, "{}")]
    checks.append(("api", "degraded", second, "{}"))
    values = ", ".join(["(%s, %s, %s, %s)"] * 3)
    query = STORE.replace("(%s, %s, %s, %s)", values).encode()
    alerting.connection.execute(query, [value for check in checks for value in check])
    assert types(alerting, "api") == ["service_down", "service_degraded", "recovery"]


def test_copied_rows_count(alerting: Alerting) -> None:
    alerting.at_once("api")
    with (
        alerting.connection.cursor() as cursor,
        cursor.copy("copy service_health_checks (service_name, status) from stdin") as copy,
    ):
        copy.write_row(("api", "down"))
    assert alerting.events("api") == DOWN


def test_nothing_is_written_but_the_checks_while_all_is_well(alerting: Alerting) -> None:
    tables = ("service_health_checks", "service_states", "alert_events", "alert_deliveries")
    alerting.check("other", "down")
    with alerting.connection.transaction():
        before = [alerting.value(WRITTEN, [table]) for table in tables]
        alerting.check("api", "healthy", "healthy")
        after = [alerting.value(WRITTEN, [table]) for table in tables]
    assert [new - old for new, old in zip(after, before, strict=True)] == [2, 0, 0, 0]


def test_who_may_only_insert_checks_sets_off_alerts(alerting: Alerting) -> None:
    role = f"app_{uuid4().hex}"
    policy = f"create policy insert_{role} on service_health_checks for insert to {role}"
    for statement in (
        f"create role {role}",
        f"grant insert on service_health_checks to {role}",
        f"{policy} with check (true)",
    ):
        alerting.connection.execute(statement.encode())
    alerting.at_once("api")
    with alerting.connection.transaction():
        alerting.connection.execute(f"set local role {role}".encode())
        alerting.connection.execute(
            "insert into service_health_checks (service_name, status) values ('api', 'down')"
        )
    assert alerting.events("api") == DOWN
    alerting.connection.execute(f"drop owned by {role}; drop role {role}".encode())


@pytest.mark.parametrize(
    "details",
    [
        {"error": "a text"},
        {"error": {"message": {"deep": ["x"]}}},
        {"failed": []},
        {"failed": {"expectation": None}},
        {"location": {"a": 1}},
        {"location": ["fra"]},
        {"location": "x" * 5000, "reason": "y" * 50_000},
        {"location": 'fr"a\\{}', "message": 7},
        {"reason": None, "message": ["\u202e", "'; drop table alert_events; --"]},
    ],
)
def test_details_of_any_shape_are_told(alerting: Alerting, details: dict[str, Any]) -> None:
    name = "Größe \"'%_*\\ 😀" + "x" * 80
    alerting.at_once(name)
    alerting.check(name, "down", "healthy", "down", details=details)
    assert types(alerting, name) == ["service_down", "recovery", "service_down"]
    assert alerting.value("select max(octet_length(details::text)) from alert_events") < 10_000


@pytest.mark.parametrize(
    "policy",
    [
        {"down_open_checks": 0, "down_close_checks": -1},
        {"down_open_checks": "three", "down_open_of": [], "flapping_changes": {}},
        {"down_open_checks": 1e300, "location_fresh_seconds": 1e300},
        {"down_open_checks": 2.5, "flapping_within_seconds": None, "enabled": 7},
    ],
)
def test_a_policy_that_was_spoilt_by_hand_stops_nothing(
    alerting: Alerting, policy: dict[str, Any]
) -> None:
    alerting.service("api", policy)
    alerting.check("api", "down", "down", "down")
    assert alerting.events("api") == DOWN


def test_checks_of_any_time_are_evaluated(alerting: Alerting) -> None:
    alerting.at_once("api")
    for moment in ("-infinity", "0044-03-15 BC", "1900-01-01"):
        alerting.connection.execute(STORE, ["api", "down", moment, "{}"])
    alerting.check("api", "healthy")
    assert types(alerting, "api") == ["service_down", "recovery"]


def test_an_event_made_by_hand_becomes_the_machines(alerting: Alerting) -> None:
    made = alerting.value(
        "select create_alert_event('api', 'service_down', details => %s)",
        [json.dumps({"ticket": 7, "large": "x" * 60_000})],
    )
    alerting.at_once("api")
    alerting.check("api", "down")
    ((event_id, details),) = alerting.connection.execute(
        "select id::text, details from alert_events"
    ).fetchall()
    assert (event_id, details["status"]) == (made["id"], "down")
    alerting.check("api", "healthy")
    assert alerting.events("api") == RECOVERED


def test_what_raced_with_an_opening_is_caught_up_with(alerting: Alerting, database: str) -> None:
    """A healthy check that is not committed yet when another session opens the alert."""
    alerting.at_once("api")
    alerting.check("api", "healthy")
    with psycopg.connect(database) as slow:
        moment, later = alerting.moment(), alerting.moment()
        slow.execute(STORE, ["api", "healthy", later, "{}"])
        alerting.connection.execute(STORE, ["api", "down", moment, "{}"])
        assert alerting.events("api") == DOWN
        slow.commit()
    assert alerting.events("api") == DOWN
    assert alerting.value("select evaluate_health_checks()") == {"evaluated": 1}
    assert alerting.events("api") == RECOVERED
    assert alerting.value("select evaluate_health_checks()") == {"evaluated": 0}


def test_a_rollback_takes_the_alert_back(alerting: Alerting) -> None:
    alerting.channel("ops")
    alerting.at_once("api")
    with alerting.connection.transaction(force_rollback=True):
        alerting.check("api", "down")
        assert alerting.events("api") == DOWN
    assert alerting.events("api") == []
    assert alerting.deliver("ops") == []


def test_many_services_of_one_statement_are_each_decided(alerting: Alerting) -> None:
    alerting.connection.execute(
        "insert into alert_policies (position, alert_policy) values (1, %s)", [json.dumps(AT_ONCE)]
    )
    alerting.connection.execute(
        "insert into service_health_checks (service_name, status, checked_at)"
        " select 's' || n, case when n %% 2 = 0 then 'down' else 'healthy' end, %s"
        " from generate_series(1, 1000) as t (n)",
        [alerting.moment() + timedelta(seconds=1)],
    )
    assert alerting.value("select count(*) from alert_events where status = 'active'") == 500
