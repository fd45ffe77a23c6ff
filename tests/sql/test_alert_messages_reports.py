"""What becomes of a message after an attempt: retries, leases, refusals, and giving up."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

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


def claimed(changes: Changes, service: str = "api") -> dict[str, Any]:
    """The only message, about a service that has just failed."""
    changes.opened(service)
    (message,) = changes.claim(OPS)
    return message


def attempts(changes: Changes) -> list[tuple[int, str | None, str | None]]:
    return changes.connection.execute(
        "select attempt, outcome, error from alert_message_attempts order by message_id, attempt"
    ).fetchall()


def pause(changes: Changes, row: dict[str, Any]) -> float:
    """The seconds from now until a message is tried again."""
    query = "select extract(epoch from %s::timestamptz - clock_timestamp())::float"
    seconds: float = changes.value(query, [row["next_attempt_at"]])
    return seconds


def test_what_fails_is_tried_again_after_longer_and_longer_pauses(changes: Changes) -> None:
    message = claimed(changes)
    for attempt in range(1, 12):
        row = changes.finish(message, "failed", error=f"error {attempt}")
        assert (row["status"], row["attempts"]) == ("pending", attempt)
        longest = min(900, 5 * 2 ** (attempt - 1))
        assert longest / 2 - 5 <= pause(changes, row) <= longest
        assert changes.claim(OPS) == []
        changes.connection.execute("update alert_messages set next_attempt_at = now() where true")
        (message,) = changes.claim(OPS)
    assert message["attempt"] == 12
    assert [each["error"] for each in message["attempts_before"]] == [
        f"error {attempt}" for attempt in range(1, 12)
    ]


@pytest.mark.parametrize(
    ("asked", "shortest", "longest"),
    [(600, 595, 600), (1, 0, 5), (-5, 0, 5), (1e300, 86_000, 86_395)],
)
def test_a_channel_can_ask_for_a_pause_within_the_message_s_time(
    changes: Changes, asked: float, shortest: float, longest: float
) -> None:
    row = changes.finish(claimed(changes), "failed", retry_after_seconds=asked)
    assert shortest <= pause(changes, row) <= longest


def test_the_last_try_is_just_before_the_time_is_over(changes: Changes) -> None:
    message = claimed(changes)
    changes.connection.execute(
        "update alert_messages set give_up_at = clock_timestamp() + interval '1 hour' where true"
    )
    row = changes.finish(message, "failed", retry_after_seconds=7200)
    give_up_at = datetime.fromisoformat(row["give_up_at"])
    assert give_up_at - datetime.fromisoformat(row["next_attempt_at"]) == timedelta(seconds=5)


def test_a_message_whose_time_is_over_is_dead(changes: Changes) -> None:
    message = claimed(changes)
    changes.finish(message, "failed", error="timed out")
    changes.pass_time(days=1, minutes=1)
    assert changes.claim(OPS) == []
    row = changes.value("select find_alert_message(%s)", [message["id"]])
    assert (row["status"], row["last_error"]) == ("dead", "timed out")
    assert row["finished_at"] is not None


def test_a_failure_after_the_time_is_over_is_the_last_one(changes: Changes) -> None:
    message = claimed(changes)
    changes.pass_time(days=1, minutes=1)
    assert changes.finish(message, "failed")["status"] == "dead"


def test_a_lease_that_ran_out_is_claimed_by_somebody_else_under_the_same_id(
    changes: Changes,
) -> None:
    message = claimed(changes)
    other = changes.restarted()
    assert other.claim(OPS) == []
    changes.pass_time(minutes=2)
    (again,) = other.claim(OPS)
    assert (again["id"], again["attempt"]) == (message["id"], 2)
    assert [each["outcome"] for each in again["attempts_before"]] == [None]


def test_a_late_report_of_an_arrival_counts(changes: Changes) -> None:
    message = claimed(changes)
    changes.pass_time(minutes=2)
    (again,) = changes.restarted().claim(OPS)
    assert changes.finish(message, "delivered")["status"] == "delivered"
    assert changes.finish(again, "failed", error="hung up")["status"] == "delivered"
    assert attempts(changes) == [(1, "delivered", None), (2, "failed", "hung up")]


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_any_other_late_report_is_kept_and_changes_nothing(changes: Changes, outcome: str) -> None:
    message = claimed(changes)
    changes.pass_time(minutes=2)
    (again,) = changes.restarted().claim(OPS)
    row = changes.finish(message, outcome, error="too late")
    assert (row["status"], row["attempts"], row["last_error"]) == ("sending", 2, None)
    assert attempts(changes) == [(1, outcome, "too late"), (2, None, None)]
    assert changes.finish(again)["status"] == "delivered"


def test_a_repeated_report_changes_nothing(changes: Changes) -> None:
    message = claimed(changes)
    first = changes.finish(message, "failed", error="one")
    assert changes.finish(message, "failed", error="two") == first
    assert changes.finish(message, "refused", error="three") == first
    assert attempts(changes) == [(1, "failed", "one")]


def test_a_report_about_nothing_is_null(changes: Changes) -> None:
    assert changes.finish({"id": uuid4(), "attempt": 1}) is None


def test_an_unknown_outcome_is_refused(changes: Changes) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there is no outcome perhaps"):
        changes.finish(claimed(changes), "perhaps")


def test_three_refusals_in_a_row_disable_that_channel_alone(changes: Changes) -> None:
    changes.channel("other")
    for number in range(3):
        message = claimed(changes, f"service {number}")
        assert changes.finish(message, "refused", error=f"410 gone {number}")["status"] == "dead"
    disabled = changes.connection.execute(
        "select disabled_at is not null, disabled_reason from alert_channels order by name"
    ).fetchall()
    reason = "it refused 3 messages in a row; the last time: 410 gone 2"
    assert disabled == [(True, reason), (False, None)]
    changes.opened("api")
    assert changes.claim(OPS) == []
    assert changes.waiting("api") == [("opened", None), ("opened", None)]
    assert len(changes.claim("other")) == 4
    changes.connection.execute("update alert_channels set disabled_at = null where true")
    assert changes.digests(OPS) == [["api"]]


def test_an_arrival_in_between_begins_the_count_anew(changes: Changes) -> None:
    for outcome in ("refused", "refused", "delivered", "refused", "refused"):
        changes.finish(claimed(changes, f"service {uuid4()}"), outcome)
    assert changes.value("select disabled_at from alert_channels") is None


def test_a_message_of_a_disabled_channel_waits(changes: Changes) -> None:
    changes.opened("api")
    changes.opened("db")
    first, second = changes.claim(OPS)
    changes.finish(first, "failed")
    changes.connection.execute("update alert_channels set disabled_at = now() where true")
    assert changes.finish(second)["status"] == "delivered", "it had been sent already"
    changes.pass_time(minutes=1)
    assert changes.claim(OPS) == []
    changes.connection.execute("update alert_channels set disabled_at = null where true")
    assert [each["id"] for each in changes.claim(OPS)] == [first["id"]]


def test_messages_about_one_service_go_one_after_the_other(changes: Changes) -> None:
    incident = changes.opened("api")
    (first,) = changes.claim(OPS)
    changes.recovered(incident)
    changes.opened("db")
    assert changes.digests(OPS) == [["db"]]
    changes.finish(first, "failed")
    assert changes.claim(OPS) == []
    changes.pass_time(minutes=1)
    assert changes.kinds(OPS) == ["opened", "resolved"]


def test_a_digest_waits_and_is_waited_for(changes: Changes) -> None:
    changes.channel("slow", group_window_seconds=60)
    changes.opened("api")
    changes.opened("db")
    changes.pass_time(minutes=1)
    (digest,) = changes.claim("slow")
    changes.opened("web")
    changes.pass_time(minutes=1, seconds=-10)
    assert changes.claim("slow") == []
    changes.pass_time(seconds=9)
    assert changes.claim("slow") == [], "the lease has a second left"
    changes.finish(digest)
    assert changes.digests("slow") == [["web"]]


def test_at_most_so_many_are_claimed_the_oldest_first(changes: Changes) -> None:
    for number in range(5):
        changes.opened(f"service {number}")
    query = "select claim_alert_messages(%s, %s, 60, 2)"
    answer = changes.value(query, [changes.worker, [OPS]])
    services = [each["deliveries"][0]["service_name"] for each in answer["messages"]]
    assert services == ["service 0", "service 1"]
    next_due = datetime.fromisoformat(answer["next_due_at"])
    assert next_due <= datetime.fromisoformat(answer["messages"][0]["created_at"])


def test_what_is_needed_to_resolve_is_not_tidied_away(changes: Changes) -> None:
    incident = changes.opened("api", "service_degraded")
    assert changes.kinds(OPS) == ["opened"]
    changes.silence("api")
    changes.superseded(incident, "service_down")
    changes.pass_time(days=40)
    tidy = "select delete_alert_messages_older_than(now() - interval '30 days')"
    assert changes.value(tidy) == 0
    changes.recovered(incident)
    assert changes.kinds(OPS) == ["resolved"]
    changes.pass_time(days=40)
    changes.connection.execute(
        "update alert_deliveries set cancelled_at = created_at where cancelled_at is not null"
    )
    assert changes.value(tidy) == 3, "two messages, and the opening that was dropped"
    assert changes.value(tidy) == 0
    assert changes.owed() == []
    assert attempts(changes) == []


def test_silences_and_acts_are_tidied_away_when_they_are_over(changes: Changes) -> None:
    lifted, standing = changes.silence("api"), changes.silence("db")
    active, over = changes.opened("web"), changes.opened("mail")
    for incident in (active, over):
        changes.acknowledged(incident)
    changes.recovered(over)
    changes.lift(lifted)
    changes.connection.execute(
        "update alert_silences set created_at = created_at - interval '40 days',"
        " lifted_at = lifted_at - interval '40 days'"
    )
    changes.connection.execute("update alert_acts set acted_at = acted_at - interval '40 days'")
    tidy = "select delete_alert_messages_older_than(now() - interval '30 days')"
    assert changes.value(tidy) == 3, "the lifted silence, its period, and one act"
    assert changes.value("select id from alert_silences") == standing
    assert changes.value("select event_id from alert_acts") == active.event_id
