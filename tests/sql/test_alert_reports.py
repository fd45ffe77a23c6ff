"""What users of other monitors suffered, each told again here with its better end.

Named after the reports: UK is Uptime Kuma, AM Alertmanager, GT Gatus, HC Healthchecks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.sql.alerting import Alerting, Told

if TYPE_CHECKING:
    from collections.abc import Iterator

OPS = "ops"


@pytest.fixture
def alerting(database: str) -> Iterator[Alerting]:
    """One channel, without a window, and services that every check decides."""
    with psycopg.connect(database, autocommit=True) as connection:
        alerting = Alerting(connection)
        alerting.channel(OPS)
        alerting.at_once("api", "db", "web")
        yield alerting


def told(kind: str, service: str = "api", alert_type: str = "service_down") -> Told:
    return Told(channel=OPS, kind=kind, service_name=service, alert_type=alert_type)


def test_uk_4004_what_recovers_in_maintenance_is_told_if_it_was_told_before(
    alerting: Alerting,
) -> None:
    alerting.check("api", "down")
    assert alerting.deliver(OPS) == [told("opened")]
    maintenance = alerting.silence("api", kind="maintenance")
    alerting.check("api", "healthy")
    assert alerting.deliver(OPS) == [told("resolved")]
    alerting.lift(maintenance)
    assert alerting.deliver(OPS) == []


def test_uk_4004_what_began_in_maintenance_is_told_at_its_end_and_only_if_it_lasts(
    alerting: Alerting,
) -> None:
    maintenance = alerting.silence("*", kind="maintenance")
    alerting.check("api", "down")
    alerting.check("db", "down", "healthy")
    assert alerting.deliver(OPS) == []
    alerting.lift(maintenance)
    assert alerting.deliver(OPS) == [told("opened")]
    alerting.check("api", "healthy")
    assert alerting.deliver(OPS) == [told("resolved")]
    assert [event[0] for event in alerting.events("db")] == ["service_down", "recovery"]


def test_uk_7148_what_is_down_before_and_after_maintenance_is_not_told_again(
    alerting: Alerting,
) -> None:
    alerting.check("api", "down")
    assert alerting.deliver(OPS) == [told("opened")]
    maintenance = alerting.silence("api", kind="maintenance")
    alerting.check("api", "down", "down")
    alerting.lift(maintenance)
    alerting.check("api", "down")
    assert alerting.deliver(OPS) == []


def test_uk_6046_a_channel_that_is_away_for_a_moment_is_told_when_it_is_back(
    alerting: Alerting,
) -> None:
    alerting.check("api", "down")
    (first,) = alerting.claim(OPS)
    alerting.finish(first, "failed", error="connection refused")
    assert alerting.claim(OPS) == []
    alerting.pass_time(minutes=1)
    (second,) = alerting.claim(OPS)
    assert (second["id"], second["attempt"]) == (first["id"], 2)
    alerting.finish(second)
    assert alerting.claim(OPS) == []


def test_hc_212_what_ended_while_the_channel_was_away_is_told_whole_and_in_order(
    alerting: Alerting,
) -> None:
    alerting.check("api", "down")
    (first,) = alerting.claim(OPS)
    alerting.finish(first, "failed", error="timed out")
    alerting.check("api", "healthy")
    assert alerting.claim(OPS) == []
    alerting.pass_time(minutes=1)
    assert alerting.deliver(OPS) == [told("opened"), told("resolved")]


def test_am_226_a_silenced_alert_that_was_told_tells_that_it_resolved(alerting: Alerting) -> None:
    alerting.check("api", "down")
    assert alerting.deliver(OPS) == [told("opened")]
    alerting.silence("api")
    alerting.check("api", "healthy")
    assert alerting.deliver(OPS) == [told("resolved")]


def test_am_226_what_was_silent_from_its_beginning_to_its_end_bothers_nobody(
    alerting: Alerting,
) -> None:
    silence = alerting.silence("api")
    alerting.check("api", "down", "healthy")
    alerting.lift(silence)
    assert alerting.deliver(OPS) == []
    assert [event[0] for event in alerting.events("api")] == ["service_down", "recovery"]


def test_am_2398_what_resolves_and_fires_again_within_one_window_tells_both(
    alerting: Alerting,
) -> None:
    alerting.channel("slow", group_window_seconds=300)
    alerting.check("api", "down")
    alerting.pass_time(minutes=6)
    assert [each.kind for each in alerting.deliver("slow")] == ["opened"]
    alerting.check("api", "healthy", "down")
    alerting.pass_time(minutes=6)
    assert [each.kind for each in alerting.deliver("slow")] == ["resolved", "opened"]


def test_gt_1765_a_reminder_keeps_its_clock_over_a_restart(alerting: Alerting) -> None:
    alerting.channel("pager", group_window_seconds=0, remind_every_seconds=3600)
    alerting.check("api", "down")
    assert [each.kind for each in alerting.deliver("pager")] == ["opened"]
    alerting.pass_time(minutes=59)
    assert alerting.restarted().deliver("pager") == []
    alerting.pass_time(minutes=2)
    assert [each.kind for each in alerting.restarted().deliver("pager")] == ["reminder"]
    assert alerting.restarted().deliver("pager") == []
    alerting.pass_time(minutes=61)
    assert [each.kind for each in alerting.deliver("pager")] == ["reminder"]
    alerting.check("api", "healthy")
    alerting.pass_time(minutes=61)
    assert [each.kind for each in alerting.deliver("pager")] == ["resolved"]


def test_gt_421_two_monitors_that_see_the_same_tell_it_once(
    alerting: Alerting, database: str
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        other = Alerting(connection)
        for _ in range(3):
            alerting.check("api", "down")
            other.check("api", "down")
        claimed = [*alerting.claim(OPS), *other.claim(OPS)]
        assert [delivery["kind"] for each in claimed for delivery in each["deliveries"]] == [
            "opened"
        ]
        assert [event[:2] for event in alerting.events("api")] == [("service_down", "active")]


def test_hc_525_a_single_blip_pages_nobody(alerting: Alerting) -> None:
    """Of a service that nothing is configured for."""
    for _ in range(20):
        alerting.check("unheard of", "healthy", "down", "healthy", "healthy", "down", "down")
    assert alerting.events("unheard of") == []
    assert alerting.deliver(OPS) == []
    alerting.check("unheard of", "down")
    assert alerting.deliver(OPS) == [told("opened", "unheard of")]


def test_uk_1717_children_of_a_parent_that_is_down_wait_and_are_told_together(
    alerting: Alerting,
) -> None:
    alerting.at_once("api", "web", depends_on=("db",))
    alerting.check("db", "down")
    alerting.check("api", "down")
    alerting.check("web", "down")
    assert alerting.deliver(OPS) == [told("opened", "db")]
    alerting.check("db", "healthy")
    kinds = []
    while messages := alerting.claim(OPS):
        for message in messages:
            alerting.finish(message)
            kinds.append([(each["kind"], each["service_name"]) for each in message["deliveries"]])
    assert sorted(map(sorted, kinds)) == [
        [("opened", "api"), ("opened", "web")],
        [("resolved", "db")],
    ]


def test_uk_1717_a_child_that_failed_a_moment_before_its_parent_is_held_as_well(
    alerting: Alerting,
) -> None:
    """The parent's policy wants more checks; until it has them, its first failure holds."""
    alerting.at_once("api", depends_on=("db",))
    alerting.service("db", {"down_open_checks": 3})
    alerting.check("db", "down")
    alerting.check("api", "down")
    assert alerting.deliver(OPS) == []
    alerting.check("db", "down", "down")
    assert alerting.deliver(OPS) == [told("opened", "db")]
