"""Several locations look at one service: who votes, and how many must agree."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.sql.alerting import Alerting

DOWN = ("service_down", "active", None)
RECOVERED = [("service_down", "resolved", "recovery"), ("recovery", "resolved", None)]


def of_three(alerting: Alerting, **policy: Any) -> None:
    """The service `api` that is checked from three places, each check of which decides."""
    alerting.at_once("api", **policy)
    for place in ("north", "south", "west"):
        alerting.check("api", "healthy", details={"location": place})


def test_one_of_three_locations_is_outvoted_and_two_are_not(alerting: Alerting) -> None:
    of_three(alerting)
    alerting.check("api", "down", "down", details={"location": "north"})
    assert alerting.events("api") == []
    alerting.check("api", "down", details={"location": "south"})
    assert alerting.events("api") == [DOWN]
    alerting.check("api", "healthy", details={"location": "south"})
    assert alerting.events("api") == RECOVERED


def test_a_silent_location_does_not_vote(alerting: Alerting) -> None:
    of_three(alerting, location_fresh_seconds=5)
    for _ in range(8):
        alerting.check("api", "down", details={"location": "north"})
    assert alerting.events("api") == [DOWN]


@pytest.mark.parametrize(("agree", "needed"), [(1, 1), (2, 2), (-1, 3), (9, 3)])
def test_as_many_locations_as_the_policy_says_agree(
    alerting: Alerting, agree: int, needed: int
) -> None:
    of_three(alerting, locations_agree=agree)
    for number, place in enumerate(("north", "south", "west"), start=1):
        alerting.check("api", "down", details={"location": place})
        assert bool(alerting.events("api")) == (number >= needed)


def test_a_location_that_is_gone_for_good_keeps_no_service_unsteady(alerting: Alerting) -> None:
    of_three(alerting)
    alerting.check("api", "down", details={"location": "north"})
    alerting.check("api", "healthy", details={"location": "south"})
    assert not alerting.value("select is_steady from service_states")
    moved = "update service_states set tracks = jsonb_set(tracks, '{north,last_checked_at}', %s)"
    alerting.connection.execute(moved, [json.dumps("2001-01-01T00:00:00Z")])
    alerting.check("api", "healthy", details={"location": "south"})
    assert alerting.value("select is_steady from service_states")


def test_a_hostile_number_of_locations_is_not_remembered(alerting: Alerting) -> None:
    alerting.connection.execute(
        "insert into service_health_checks (service_name, status, checked_at, probe_details)"
        " select 'api', 'down', now() - make_interval(secs => 400 - n),"
        " jsonb_build_object('location', repeat(n::text, 50)) from generate_series(1, 300) as n"
    )
    query = "select count(*), max(length(name)) from service_states, jsonb_object_keys(tracks) name"
    assert alerting.connection.execute(query).fetchone() == (100, 100)


def test_a_location_that_is_heard_anew_does_not_undo_what_others_saw(alerting: Alerting) -> None:
    """The one that saw it down is silent; the first checks of another do not close it."""
    alerting.at_once("api", location_fresh_seconds=3, down_close_checks=2)
    alerting.check("api", "healthy", "down", details={"location": "north"})
    for _ in range(5):
        alerting.moment()
    alerting.check("api", "down", "healthy", details={"location": "south"})
    assert alerting.events("api") == [DOWN]
    alerting.check("api", "healthy", details={"location": "south"})
    assert alerting.events("api") == RECOVERED
