"""What a change owes to whom: what was told is resolved, what was not is dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.sql.alert_changes import Changes

if TYPE_CHECKING:
    from collections.abc import Iterator

OPS = "ops"


@pytest.fixture
def changes(database: str) -> Iterator[Changes]:
    """A channel without a window."""
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel(OPS)
        yield changes


def test_what_was_told_is_resolved(changes: Changes) -> None:
    incident = changes.opened("api")
    assert changes.kinds(OPS) == ["opened"]
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["resolved"]
    assert changes.kinds(OPS) == []


def test_what_is_over_before_its_turn_is_told_whole_and_in_order(changes: Changes) -> None:
    changes.recovered(changes.opened("api"))
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_what_was_resolved_by_hand_is_told_as_well(changes: Changes) -> None:
    incident = changes.opened("api")
    assert changes.kinds(OPS) == ["opened"]
    changes.recovered(incident, change="resolved_by_hand")
    assert changes.kinds(OPS) == ["resolved"]


def test_what_was_held_to_its_end_is_dropped(changes: Changes) -> None:
    changes.silence("api")
    changes.recovered(changes.opened("api"))
    assert changes.owed() == [(OPS, "opened", "api", "recovered")]
    assert changes.kinds(OPS) == []


def test_am_226_what_was_told_is_resolved_under_a_silence(changes: Changes) -> None:
    incident = changes.opened("api")
    assert changes.kinds(OPS) == ["opened"]
    changes.silence("*")
    changes.silence("*", kind="maintenance")
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["resolved"]


def test_am_226_each_channel_is_resolved_by_what_it_was_told(changes: Changes) -> None:
    """One channel knows the first event of the incident, the other the second one."""
    changes.channel("slow", is_published=True)
    changes.channel("fast")
    changes.route("slow", alert_types=["service_degraded"])
    changes.route("fast", alert_types=["service_down"])
    incident = changes.opened("api", "service_degraded")
    assert changes.kinds("slow", "fast", OPS) == ["opened", "opened"]
    changes.superseded(incident, "service_down")
    told = changes.deliver("slow", "fast")
    assert {(each.channel, each.kind, each.alert_type) for each in told} == {
        ("slow", "resolved", "service_degraded"),
        ("fast", "opened", "service_down"),
    }
    changes.recovered(incident)
    told = changes.deliver("slow", "fast")
    assert [(each.channel, each.kind, each.alert_type) for each in told] == [
        ("fast", "resolved", "service_down")
    ]


def test_a_superseding_event_takes_the_place_of_the_one_that_was_told(changes: Changes) -> None:
    incident = changes.opened("api", "service_degraded")
    assert changes.kinds(OPS) == ["opened"]
    changes.superseded(incident, "service_down")
    assert [(each.kind, each.alert_type) for each in changes.deliver(OPS)] == [
        ("opened", "service_down")
    ]
    changes.superseded(incident, "service_degraded")
    changes.recovered(incident)
    assert [(each.kind, each.alert_type) for each in changes.deliver(OPS)] == [
        ("opened", "service_degraded"),
        ("resolved", "service_degraded"),
    ]


def test_a_superseding_event_that_is_held_leaves_the_first_one_to_be_resolved(
    changes: Changes,
) -> None:
    incident = changes.opened("api", "service_degraded")
    assert changes.kinds(OPS) == ["opened"]
    changes.silence("api")
    changes.superseded(incident, "service_down")
    assert changes.kinds(OPS) == []
    changes.recovered(incident)
    assert [(each.kind, each.alert_type) for each in changes.deliver(OPS)] == [
        ("resolved", "service_degraded")
    ]


def test_what_was_held_when_it_was_superseded_is_dropped(changes: Changes) -> None:
    silence = changes.silence("api")
    incident = changes.opened("api", "service_degraded")
    changes.superseded(incident, "service_down")
    changes.lift(silence)
    assert [each.alert_type for each in changes.deliver(OPS)] == ["service_down"]
    assert changes.owed()[0] == (OPS, "opened", "api", "superseded")


def test_what_was_held_and_is_over_before_it_is_looked_at_again_bothers_nobody(
    changes: Changes,
) -> None:
    """A parent recovers, and its children with it."""
    changes.at_once("api", depends_on=("db",))
    parent = changes.opened("db")
    incident = changes.opened("api")
    assert [each.service_name for each in changes.deliver(OPS)] == ["db"]
    assert changes.waiting("api") == [("opened", "parent")]
    changes.recovered(parent, incident)
    assert [(each.kind, each.service_name) for each in changes.deliver(OPS)] == [("resolved", "db")]


def test_a_silence_that_begins_after_the_end_stops_nothing_that_was_due(changes: Changes) -> None:
    """Otherwise the end would be told without the beginning."""
    changes.recovered(changes.opened("api"))
    changes.silence("api")
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_a_dead_message_was_told_and_is_resolved(changes: Changes) -> None:
    incident = changes.opened("api")
    (message,) = changes.claim(OPS)
    assert changes.finish(message, "refused")["status"] == "dead"
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["resolved"]


def test_a_repeated_change_owes_nothing_twice(changes: Changes) -> None:
    incident = changes.opened("api")
    for _ in range(2):
        changes.connection.execute(
            "select queue_alert_messages('opened', 'api', %s, %s)", [incident.id, incident.event_id]
        )
    changes.recovered(incident)
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_a_change_that_is_rolled_back_owes_nothing(changes: Changes) -> None:
    with changes.connection.transaction(force_rollback=True):
        changes.opened("api")
    assert changes.owed() == []


def test_an_unknown_change_is_refused(changes: Changes) -> None:
    incident = changes.opened("api")
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no change healed"):
        changes.recovered(incident, change="healed")


def test_a_channel_that_is_gone_is_told_of_the_end_of_what_it_knows_and_nothing_new(
    changes: Changes,
) -> None:
    told, untold = changes.opened("api"), None
    assert changes.kinds(OPS) == ["opened"]
    untold = changes.opened("db")
    changes.connection.execute("update alert_channels set is_published = false where true")
    changes.opened("web")
    assert changes.kinds(OPS) == []
    changes.recovered(told, untold)
    assert [(each.kind, each.service_name) for each in changes.deliver(OPS)] == [
        ("resolved", "api")
    ]


def test_flapping_is_told_once_and_its_end_as_well(changes: Changes) -> None:
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == ["flapping_started"]
    changes.recovered_unheard(beginning)
    changes.recovered_unheard(changes.opened_unheard("api"))
    assert changes.kinds(OPS) == []
    changes.flapping_ended(beginning)
    assert changes.kinds(OPS) == ["flapping_ended"]
    changes.recovered(changes.opened("api"))
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_flapping_that_ends_in_trouble_is_resolved_when_that_is_over(changes: Changes) -> None:
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == ["flapping_started"]
    changes.recovered_unheard(beginning)
    now = changes.opened_unheard("api")
    changes.flapping_ended(beginning, now)
    assert changes.kinds(OPS) == ["flapping_ended"]
    changes.recovered(now)
    assert changes.kinds(OPS) == ["resolved"]


def test_flapping_that_nobody_heard_of_ends_in_an_opening(changes: Changes) -> None:
    silence = changes.silence("api")
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == []
    changes.recovered_unheard(beginning)
    now = changes.opened_unheard("api")
    changes.flapping_ended(beginning, now)
    changes.lift(silence)
    assert changes.kinds(OPS) == ["opened"]
    changes.recovered(now)
    assert changes.kinds(OPS) == ["resolved"]


def test_flapping_that_nobody_heard_of_and_that_is_over_bothers_nobody(changes: Changes) -> None:
    silence = changes.silence("api")
    beginning = changes.opened("api", change="flapping_started")
    changes.recovered_unheard(beginning)
    changes.flapping_ended(beginning)
    changes.lift(silence)
    assert changes.kinds(OPS) == []
    assert changes.owed() == [(OPS, "flapping_started", "api", "flapping ended")]


def test_the_end_of_flapping_is_told_under_a_silence(changes: Changes) -> None:
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == ["flapping_started"]
    changes.silence("api")
    changes.recovered_unheard(beginning)
    changes.flapping_ended(beginning)
    assert changes.kinds(OPS) == ["flapping_ended"]


def test_a_service_that_stays_down_after_flapping_is_resolved_by_its_event(
    changes: Changes,
) -> None:
    beginning = changes.opened("api", change="flapping_started")
    assert changes.kinds(OPS) == ["flapping_started"]
    changes.flapping_ended(beginning)
    changes.recovered(beginning)
    assert changes.kinds(OPS) == ["flapping_ended", "resolved"]
