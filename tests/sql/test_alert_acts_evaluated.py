"""Resolving by hand and the checks that follow: it opens anew by its policy, and no sooner."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alerting import Alerting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

OPS = "ops"
DOWN = ("service_down", "active", None)
BY_HAND = ("service_down", "resolved", "person")
POLICIES: dict[str, dict[str, Any]] = {
    "three in a row": {"down_open_checks": 3},
    "three of five": {"down_open_checks": 3, "down_open_of": 5},
    "for two seconds": {"down_open_seconds": 2},
}


@pytest.fixture
def alerting(database: str) -> Iterator[Alerting]:
    """One channel without a window."""
    with psycopg.connect(database, autocommit=True) as connection:
        alerting = Alerting(connection)
        alerting.channel(OPS)
        yield alerting


def active(alerting: Alerting, service: str) -> UUID:
    query = "select id from alert_events where service_name = %s and status = 'active'"
    found: UUID = alerting.value(query, [service])
    return found


def resolve(alerting: Alerting, service: str) -> None:
    alerting.value(
        "select resolve_alert_event(id => %s, actor => 'Ann')", [active(alerting, service)]
    )


def kinds(alerting: Alerting) -> list[str]:
    return [each.kind for each in alerting.deliver(OPS)]


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_goes_on_failing_opens_anew_by_its_policy(
    alerting: Alerting, policy: dict[str, Any]
) -> None:
    alerting.service("api", policy)
    alerting.check("api", "down", "down", "down")
    assert kinds(alerting) == ["opened"]
    resolve(alerting, "api")
    assert kinds(alerting) == ["resolved"]
    alerting.check("api", "down", "down")
    assert alerting.events("api") == [BY_HAND]
    assert alerting.status("api") == "healthy"
    alerting.check("api", "down")
    assert alerting.events("api") == [BY_HAND, DOWN]
    assert kinds(alerting) == ["opened"]
    incidents = alerting.value("select count(distinct details ->> 'incident_id') from alert_events")
    assert incidents == 2


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_was_resolved_is_not_counted_once_it_was_well_either(
    alerting: Alerting, policy: dict[str, Any]
) -> None:
    """The failing checks before belong to the incident that somebody has closed."""
    alerting.service("api", policy)
    alerting.check("api", "down", "down", "down")
    resolve(alerting, "api")
    alerting.check("api", "healthy", "down", "down")
    assert alerting.events("api") == [BY_HAND]
    alerting.check("api", "down")
    assert alerting.events("api") == [BY_HAND, DOWN]


def test_what_is_well_after_it_was_resolved_by_hand_has_no_recovery(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "degraded", "down")
    resolve(alerting, "api")
    alerting.check("api", "healthy", "healthy", "healthy")
    assert [event[:2] for event in alerting.events("api")] == [
        ("service_degraded", "resolved"),
        ("service_down", "resolved"),
    ]
    assert alerting.status("api") == "healthy"
    assert alerting.value("select is_steady from service_states")


def test_one_of_several_locations_does_not_open_it_again_alone(alerting: Alerting) -> None:
    alerting.at_once("api")
    places = [{"location": name} for name in ("north", "south", "west")]
    for place in places:
        alerting.check("api", "down", details=place)
    resolve(alerting, "api")
    alerting.check("api", "down", details=places[0])
    assert alerting.events("api") == [BY_HAND]
    alerting.check("api", "down", details=places[1])
    assert alerting.events("api") == [BY_HAND, DOWN]


def test_a_resolution_says_what_was_seen_last_and_how_long_it_took(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "degraded", "down", "down")
    event_id = active(alerting, "api")
    resolve(alerting, "api")
    details = alerting.value("select details from alert_events where id = %s", [event_id])
    assert details["last_failed"]["checked_at"] > details["first_failed"]["checked_at"]
    # From the first degraded check, which these tests make a day ago, until now.
    assert details["downtime_seconds"] > 86_000


def test_a_service_that_flaps_is_resolved_where_it_was_told(alerting: Alerting) -> None:
    """It goes on flapping: what opens next is written, and told to nobody."""
    alerting.at_once("api", flapping_changes=3)
    alerting.check("api", "down", "healthy", "down")
    assert kinds(alerting) == ["opened", "resolved", "flapping_started"]
    resolve(alerting, "api")
    assert kinds(alerting) == ["resolved"]
    alerting.check("api", "down", "healthy")
    assert kinds(alerting) == []


def test_checks_that_arrive_late_do_not_open_what_was_resolved(alerting: Alerting) -> None:
    alerting.at_once("api")
    late = [alerting.moment() for _ in range(5)]
    alerting.check("api", "down")
    resolve(alerting, "api")
    for moment in late:
        alerting.connection.execute(
            "insert into service_health_checks (service_name, status, checked_at)"
            " values ('api', 'down', %s)",
            [moment],
        )
    assert alerting.events("api") == [BY_HAND]


def test_an_acknowledged_alert_that_recovers_is_told_and_the_next_is_new(
    alerting: Alerting,
) -> None:
    alerting.at_once("api")
    alerting.check("api", "down")
    assert kinds(alerting) == ["opened"]
    alerting.acknowledge("api")
    alerting.check("api", "healthy", "down")
    assert kinds(alerting) == ["resolved", "opened"]
    assert alerting.value("select find_alert_acknowledgements()") == []


def test_people_and_checks_at_once(alerting: Alerting, database: str) -> None:
    """No deadlock, and in the end state, events and messages agree."""
    services = [f"service {number}" for number in range(4)]
    alerting.at_once(*services, flapping_changes=0)
    start = Barrier(8)

    def check(number: int) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            start.wait(20)
            for turn in range(40):
                status = ("down", "degraded", "healthy")[(turn + number) % 3]
                connection.execute(
                    "insert into service_health_checks (service_name, status, checked_at)"
                    " select name, %s, clock_timestamp() from unnest(%s::text[]) as names (name)",
                    [status, services[:: 1 if turn % 2 else -1]],
                )

    def act(number: int) -> None:
        verb = ("resolve", "acknowledge")[number % 2]
        with psycopg.connect(database, autocommit=True) as connection:
            start.wait(20)
            for _ in range(60):
                for (event_id,) in connection.execute(
                    "select id from alert_events where status = 'active' order by random()"
                ).fetchall():
                    connection.execute(
                        f"select {verb}_alert_event(id => %s, actor => 'Ann')".encode(), [event_id]
                    )

    with ThreadPoolExecutor(8) as threads:
        checking = [threads.submit(check, number) for number in range(4)]
        acting = [threads.submit(act, number) for number in range(4)]
        for each in checking + acting:
            each.result(100)
    assert_agreement(alerting, services)


def assert_agreement(alerting: Alerting, services: list[str]) -> None:
    alerting.deliver(OPS)
    for service in services:
        newest = [event[0] for event in alerting.events(service) if event[1] == "active"]
        expected = {"healthy": [], "degraded": ["service_degraded"], "down": ["service_down"]}
        assert newest == expected[alerting.status(service)]
    resolved_twice = alerting.connection.execute(
        "select event_id from alert_acts where act = 'resolve' group by 1 having count(*) > 1"
    ).fetchall()
    assert resolved_twice == []
    # Of each incident the channel was told its end as often as its beginning is over.
    unresolved = alerting.connection.execute(
        "select told.incident_id from alert_deliveries as told"
        " where told.message_id is not null and not exists ("
        "select from service_states as s where s.incident_id = told.incident_id)"
        " group by 1 having count(*) filter (where kind = 'resolved') <> 1"
    ).fetchall()
    assert unresolved == []
