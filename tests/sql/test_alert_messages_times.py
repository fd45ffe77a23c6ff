"""When messages are made: windows and digests, rates, what is held and let go, reminders, steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
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


def next_due_in(changes: Changes, *channels: str) -> timedelta | None:
    """How long after a claim it is worth asking again."""
    text = changes.value(
        "select claim_alert_messages(%s, %s) ->> 'next_due_at'", [changes.worker, list(channels)]
    )
    return None if text is None else datetime.fromisoformat(text) - datetime.now(UTC)


def about(duration: timedelta | None, **expected: float) -> bool:
    """Whether a duration is this, but for what a test takes."""
    assert duration is not None
    return abs(duration - timedelta(**expected)) < timedelta(seconds=30)


def test_without_a_window_each_delivery_is_a_message(changes: Changes) -> None:
    for service in ("api", "db", "web"):
        changes.opened(service)
    assert changes.digests(OPS) == [["api"], ["db"], ["web"]]


def test_a_window_makes_one_digest_once_the_oldest_has_waited(changes: Changes) -> None:
    changes.channel("slow", group_window_seconds=600)
    changes.opened("api")
    changes.pass_time(minutes=9)
    changes.opened("db")
    assert changes.digests("slow") == []
    assert about(next_due_in(changes, "slow"), minutes=1, seconds=-1)
    changes.pass_time(minutes=1)
    assert changes.digests("slow") == [["api", "db"]]
    assert next_due_in(changes, "slow") is None


def test_a_digest_of_one_service_keeps_its_name(changes: Changes) -> None:
    changes.channel("slow", group_window_seconds=600)
    changes.recovered(changes.opened("api"))
    changes.pass_time(minutes=10)
    assert changes.digests("slow") == [["api", "api"]]
    assert changes.value("select service_name from alert_messages") == "api"


def test_a_digest_holds_five_thousand_at_most(changes: Changes) -> None:
    changes.channel("slow", group_window_seconds=600)
    changes.connection.execute(
        "insert into alert_deliveries (service_name, incident_id, event_id, channel, kind, due_at)"
        " select 'service ' || n, gen_random_uuid(), gen_random_uuid(), 'slow', 'resolved',"
        " now() - interval '1 hour' from generate_series(1, 5003) as n"
    )
    assert [len(each) for each in changes.digests("slow")] == [5000]
    assert [len(each) for each in changes.digests("slow")] == [3]


def test_a_rate_makes_one_digest_of_what_is_too_much(changes: Changes) -> None:
    changes.channel("slow", rate_limit=2, rate_period_seconds=3600)
    changes.opened("api")
    assert changes.digests("slow") == [["api"]]
    for service in ("db", "web", "mail"):
        changes.opened(service)
    assert changes.digests("slow") == [["db", "web", "mail"]]
    changes.opened("dns")
    assert changes.digests("slow") == []


def test_what_waited_for_the_rate_goes_together_when_its_time_has_passed(changes: Changes) -> None:
    changes.channel("slow", rate_limit=2, rate_period_seconds=3600)
    for service in ("api", "db"):
        changes.opened(service)
        assert changes.kinds("slow") == ["opened"]
    for service in ("web", "mail"):
        changes.opened(service)
    changes.pass_time(minutes=59)
    assert changes.digests("slow") == []
    assert about(next_due_in(changes, "slow"), minutes=1)
    changes.pass_time(minutes=2)
    assert changes.digests("slow") == [["web", "mail"]]


def test_what_is_held_says_why_and_since_when(changes: Changes) -> None:
    silence = changes.silence("api")
    changes.opened("api")
    assert changes.claim(OPS) == []
    assert changes.waiting("api") == [("opened", "silence")]
    held_since = changes.value("select held_since from alert_deliveries")
    changes.claim(OPS)
    assert changes.value("select held_since from alert_deliveries") == held_since
    changes.lift(silence)
    ((delivery,),) = [message["deliveries"] for message in changes.claim(OPS)]
    assert delivery["held_by"] == "silence"
    assert datetime.fromisoformat(delivery["held_since"]) == held_since
    assert datetime.fromisoformat(delivery["released_at"]) > held_since


def test_what_one_reason_held_another_one_goes_on_holding(changes: Changes) -> None:
    silence = changes.silence("api")
    maintenance = changes.silence("*", kind="maintenance")
    changes.opened("api")
    assert changes.claim(OPS) == []
    assert changes.waiting("api") == [("opened", "maintenance")]
    changes.lift(maintenance)
    assert changes.claim(OPS) == []
    assert changes.waiting("api") == [("opened", "silence")]
    changes.lift(silence)
    assert changes.digests(OPS) == [["api"]]


def test_a_silence_holds_only_in_its_periods(changes: Changes) -> None:
    silence = changes.silence("api")
    changes.connection.execute(
        "update alert_silence_periods set ends_at = now() - interval '1 minute'"
        " where silence_id = %s",
        [silence],
    )
    changes.connection.execute(
        "insert into alert_silence_periods values (%s, now() + interval '1 hour', null)", [silence]
    )
    changes.opened("api")
    assert changes.digests(OPS) == [["api"]]
    changes.connection.execute(
        "insert into alert_silence_periods"
        " values (%s, now() - interval '1 minute', now() + interval '1 minute')",
        [silence],
    )
    changes.recovered(changes.opened("db"), changes.opened("api cache"))
    changes.connection.execute("update alert_silences set matcher = '{}' where true")
    changes.opened("web")
    assert changes.digests(OPS) == [["db"], ["api cache"]]
    assert changes.digests(OPS) == [["db"], ["api cache"]]
    assert changes.waiting("web") == [("opened", "silence")]


def test_uk_1717_what_was_held_together_goes_together(changes: Changes) -> None:
    changes.at_once("api", "web", depends_on=("db",))
    changes.at_once("page", depends_on=("web",))
    parent = changes.opened("db")
    for child in ("api", "web", "page"):
        changes.opened(child)
    assert changes.digests(OPS) == [["db"]]
    assert changes.waiting("page") == [("opened", "parent")]
    changes.recovered(parent)
    changes.opened("other")
    assert changes.digests(OPS) == [["api", "web"]]
    assert changes.digests(OPS) == [["db"], ["other"]]
    assert changes.waiting("page") == [("opened", "parent")], "its own parent is down still"


def test_what_is_said_of_a_service_stays_in_order_where_some_of_it_was_held(
    changes: Changes,
) -> None:
    """The end of one incident is not overtaken by a digest with the beginning of the next."""
    first = changes.opened("api")
    assert changes.kinds(OPS) == ["opened"]
    changes.connection.execute("update alert_channels set disabled_at = now() where true")
    silence = changes.silence("api", "web")
    changes.opened("web")
    changes.recovered(first)
    changes.opened("api")
    changes.connection.execute("update alert_channels set disabled_at = null where true")
    changes.connection.execute(
        "update alert_deliveries set held_by = 'silence', held_since = now()"
        " where kind = 'opened' and message_id is null"
    )
    changes.lift(silence)
    (digest,) = changes.claim(OPS)
    assert [(each["kind"], each["service_name"]) for each in digest["deliveries"]] == [
        ("opened", "web"),
        ("resolved", "api"),
        ("opened", "api"),
    ]


def test_a_parent_that_begins_to_fail_holds_its_children(changes: Changes) -> None:
    changes.at_once("api", depends_on=("db",))
    changes.service("db", {"down_open_checks": 3})
    changes.check("db", "healthy", "down")
    changes.opened("api")
    assert changes.claim(OPS) == []
    assert changes.waiting("api") == [("opened", "parent")]
    changes.check("db", "healthy")
    assert changes.digests(OPS) == [["api"]]


def test_parents_that_depend_on_each_other_hold_nothing_back(changes: Changes) -> None:
    changes.at_once("api", depends_on=("web",))
    changes.at_once("web", depends_on=("api",))
    changes.at_once("self", depends_on=("self",))
    changes.at_once("page", depends_on=("api",))
    for service in ("api", "web", "self", "page"):
        changes.opened(service)
    assert changes.digests(OPS) == [["api"], ["web"], ["self"]]
    assert changes.waiting("page") == [("opened", "parent")]


def test_an_acknowledgement_holds_reminders_and_steps_and_no_first_opening(
    changes: Changes,
) -> None:
    changes.channel("boss", remind_every_seconds=3600)
    changes.channel("pager", remind_every_seconds=3600)
    changes.route("boss", after_seconds=900)
    incident = changes.opened("api")
    changes.acknowledged(incident)
    assert {each.channel for each in changes.deliver(OPS, "boss", "pager")} == {OPS, "pager"}
    changes.pass_time(hours=2)
    assert changes.deliver(OPS, "boss", "pager") == []
    assert ("opened", "acknowledged") in changes.waiting("api")
    changes.unacknowledged(incident)
    told = {(each.channel, each.kind) for each in changes.deliver(OPS, "boss", "pager")}
    assert told == {("boss", "opened"), ("pager", "reminder")}


def test_an_acknowledgement_ends_at_its_time(changes: Changes) -> None:
    changes.channel("pager", remind_every_seconds=3600)
    incident = changes.opened("api")
    assert changes.kinds("pager") == ["opened"]
    changes.acknowledged(incident, until=datetime.now(UTC) + timedelta(hours=1))
    changes.pass_time(hours=2)
    assert changes.kinds("pager") == []
    changes.connection.execute("update alert_acts set until = now() where true")
    assert changes.kinds("pager") == ["reminder"]


def test_a_step_goes_out_after_its_time_if_it_is_still_open(changes: Changes) -> None:
    changes.channel("boss")
    changes.route("boss", after_seconds=900)
    changes.opened("api")
    over = changes.opened("db")
    assert changes.kinds("boss") == []
    assert about(next_due_in(changes, "boss"), minutes=15)
    changes.pass_time(minutes=14)
    assert changes.kinds("boss") == []
    changes.recovered(over)
    changes.pass_time(minutes=2)
    assert [each.service_name for each in changes.deliver("boss")] == ["api"]


def test_the_nearest_of_several_steps_counts(changes: Changes) -> None:
    changes.channel("boss")
    changes.route("boss", after_seconds=3600)
    changes.route("boss", after_seconds=60)
    changes.opened("api")
    assert changes.value(
        "select due_at - created_at < '61 s' from alert_deliveries where is_escalation"
    )


def test_a_service_that_changes_between_slow_and_down_does_not_put_its_step_off(
    changes: Changes,
) -> None:
    changes.channel("boss")
    changes.route("boss", after_seconds=900)
    incident = changes.opened("api", "service_degraded")
    for minutes, alert_type in ((6, "service_down"), (6, "service_degraded")):
        changes.pass_time(minutes=minutes)
        changes.superseded(incident, alert_type)
    assert changes.kinds("boss") == []
    changes.pass_time(minutes=4)
    assert [each.alert_type for each in changes.deliver("boss")] == ["service_degraded"]
    changes.recovered(incident)
    assert changes.kinds("boss") == ["resolved"]


def test_gt_1765_reminders_keep_their_time_by_when_the_last_was_delivered(
    changes: Changes,
) -> None:
    changes.channel("pager", remind_every_seconds=3600)
    changes.opened("api")
    (message,) = changes.claim("pager")
    changes.pass_time(hours=3)
    changes.finish(message, "delivered")
    assert changes.restarted().claim("pager") == []
    assert about(next_due_in(changes, "pager"), hours=1)
    changes.pass_time(minutes=61)
    (reminder,) = changes.claim("pager")
    assert [(each["kind"], each["sequence"]) for each in reminder["deliveries"]] == [
        ("reminder", 1)
    ]
    changes.pass_time(hours=3)
    assert [each["id"] for each in changes.claim("pager")] == [reminder["id"]], "the lease is over"
    changes.finish({**reminder, "attempt": 2})
    changes.pass_time(minutes=61)
    (reminder,) = changes.claim("pager")
    assert [(each["kind"], each["sequence"]) for each in reminder["deliveries"]] == [
        ("reminder", 2)
    ]


def test_reminders_of_many_are_one_digest_and_those_held_wait(changes: Changes) -> None:
    changes.channel("pager", remind_every_seconds=3600, group_window_seconds=60)
    incidents = [changes.opened(service) for service in ("api", "db", "web")]
    changes.pass_time(minutes=1)
    assert changes.kinds("pager") == ["opened"] * 3
    silence = changes.silence("db")
    changes.pass_time(minutes=60)
    assert changes.kinds("pager") == []
    changes.recovered(incidents[2])
    changes.pass_time(minutes=1)
    assert [(each.kind, each.service_name) for each in changes.deliver("pager")] == [
        ("reminder", "api"),
        ("resolved", "web"),
    ]
    changes.lift(silence)
    changes.deliver("pager")
    changes.pass_time(minutes=1)
    assert [(each.kind, each.service_name) for each in changes.deliver("pager")] == [
        ("reminder", "db")
    ]


def test_a_reminder_follows_the_newest_event_of_the_incident(changes: Changes) -> None:
    changes.channel("pager", remind_every_seconds=3600)
    incident = changes.opened("api", "service_degraded")
    assert changes.kinds("pager") == ["opened"]
    changes.pass_time(minutes=50)
    changes.superseded(incident, "service_down")
    assert changes.kinds("pager") == ["opened"]
    changes.pass_time(minutes=50)
    assert changes.kinds("pager") == []
    changes.pass_time(minutes=11)
    assert [(each.kind, each.alert_type) for each in changes.deliver("pager")] == [
        ("reminder", "service_down")
    ]


def test_a_reminder_that_came_up_just_when_its_alert_ended_is_dropped(changes: Changes) -> None:
    changes.channel("pager", remind_every_seconds=3600, group_window_seconds=60)
    incident = changes.opened("api")
    changes.pass_time(minutes=2)
    assert changes.kinds("pager") == ["opened"]
    changes.recovered(incident)
    changes.connection.execute(
        "insert into alert_deliveries"
        " (service_name, incident_id, event_id, channel, kind, sequence)"
        " values ('api', %s, %s, 'pager', 'reminder', 1)",
        [incident.id, incident.event_id],
    )
    changes.pass_time(minutes=2)
    assert changes.kinds("pager") == ["resolved"]
    assert changes.waiting("api") == [("opened", None), ("resolved", None)], "for another channel"


def test_a_channel_that_is_gone_gets_no_reminders(changes: Changes) -> None:
    changes.channel("pager", remind_every_seconds=3600)
    changes.opened("api")
    assert changes.kinds("pager") == ["opened"]
    changes.connection.execute("update alert_channels set is_published = false where true")
    changes.pass_time(hours=2)
    assert changes.kinds("pager") == []
