"""What others wrote: names, details and policies of any kind, and events made by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.sql.alerting import Alerting

DOWN = ("service_down", "active", None)
RECOVERED = [("service_down", "resolved", "recovery"), ("recovery", "resolved", None)]


@pytest.mark.parametrize("name", ["Ü" * 100, 'o\'brien "quoted" \\ %s {}', "../*", "a, b", "ツ"])
def test_any_name_of_a_service_does(alerting: Alerting, name: str) -> None:
    alerting.check(name, "down", "down", "down")
    assert alerting.events(name) == [DOWN]
    assert alerting.value("select find_service_states(%s) -> 0 ->> 'service_name'", [name]) == name


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"error": {"message": "no route"}}, "no route"),
        ({"failed": {"expectation": "status", "expected": "2xx", "got": 500}}, None),
        ({"failed": ["expectation"]}, "no reason given"),
        ({"failed": "expectation", "reason": "full"}, "full"),
        ({"error": "plain"}, "plain"),
        ({"error": [1, {"message": {}}]}, '[1, {"message": {}}]'),
        ({"message": "x" * 60_000, "location": ["a"]}, "x" * 500),
        ({"reason": None, "location": None}, "no reason given"),
        ({}, "no reason given"),
    ],
)
def test_any_details_do(alerting: Alerting, details: dict[str, Any], reason: str | None) -> None:
    alerting.at_once("api")
    alerting.check("api", "down", details=details)
    said = alerting.value("select details ->> 'reason' from alert_events")
    assert said == (reason or "status: expected 2xx, got 500")
    assert alerting.value("select pg_column_size(details) < 10000 from alert_events")


@pytest.mark.parametrize(
    "policy",
    [
        {"down_open_checks": 0, "down_close_checks": 1e300, "flapping_changes": -1},
        {"down_open_checks": "1", "down_open_of": [], "location_fresh_seconds": {}},
        {"down_open_seconds": -1, "enabled": "no", "unheard_of": 1},
        dict.fromkeys(("down_open_checks", "down_open_of", "enabled", "locations_agree")),
    ],
)
def test_a_policy_that_somebody_wrote_by_hand_is_read_as_far_as_it_makes_sense(
    alerting: Alerting, policy: dict[str, Any]
) -> None:
    alerting.service("api", policy)
    alerting.check("api", "down", "down")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == [DOWN]


def test_policies_apply_in_their_order_and_the_services_own_comes_last(alerting: Alerting) -> None:
    policies = [
        {"alert_policy": {"down_open_checks": 5, "down_close_checks": 5}},
        {"matcher": {"services": ["db-*"]}, "alert_policy": {"down_open_checks": 2}},
        {"matcher": {"labels": {"team": "ai"}}, "alert_policy": {"down_close_checks": 7}},
    ]
    publish = "select publish_alert_policies(%s)"
    assert alerting.value(publish, [json.dumps(policies)]) == 3
    assert alerting.value(publish, [json.dumps(policies)]) == 0
    alerting.service("db-1", {"down_close_checks": 9})
    query = "select array[p -> 'down_open_checks', p -> 'down_close_checks'] from"
    assert alerting.value(f"{query} alert_policy_of('db-1') as p") == [2, 9]
    assert alerting.value(f"{query} alert_policy_of('db-2') as p") == [2, 5]
    assert alerting.value(f"{query} alert_policy_of('api') as p") == [5, 5]
    assert alerting.value(publish, ["[]"]) == 3
    assert alerting.value(f"{query} alert_policy_of('api') as p") == [3, 2]


@pytest.mark.parametrize("policy", [{"down_opn_checks": 1}, {"enabled": "yes"}, 5, None])
def test_a_policy_that_makes_no_sense_is_refused_with_a_sentence(
    alerting: Alerting, policy: Any
) -> None:
    given = json.dumps([{"alert_policy": policy}])
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=r"policy|true or false"):
        alerting.value("select publish_alert_policies(%s)", [given])


def test_an_event_that_somebody_made_is_adopted_and_closed(alerting: Alerting) -> None:
    alerting.at_once("api")
    made = "select create_alert_event('api', 'service_down', details => %s) ->> 'id'"
    event_id = alerting.value(made, [json.dumps({"ticket": 7, "started_at": "yesterday, roughly"})])
    assert alerting.value(made, [json.dumps({})]) == event_id
    alerting.check("api", "down")
    details = alerting.value("select details from alert_events")
    assert (details["ticket"], details["status"]) == (7, "down")
    alerting.connection.execute(
        """update alert_events set details = details || '{"started_at": "infinity"}'"""
    )
    alerting.check("api", "healthy")
    assert alerting.events("api") == RECOVERED


def test_an_open_event_that_somebody_deleted_stops_nothing(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "down")
    alerting.connection.execute("delete from alert_events")
    alerting.check("api", "degraded", "healthy")
    assert [event[0] for event in alerting.events("api")] == ["service_degraded", "recovery"]


def test_a_storm_is_one_statement(alerting: Alerting) -> None:
    alerting.connection.execute(
        "insert into service_health_checks (service_name, status, checked_at)"
        " select 's' || n %% 500, 'down', %s + make_interval(secs => n / 500.0)"
        " from generate_series(0, 1499) as n",
        [alerting.moment() - timedelta(hours=1)],
    )
    assert alerting.value("select count(*) from alert_events where status = 'active'") == 500
