"""Every verb of AlertMessageModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pulsebase.errors import InvalidValueError, NotFoundError
from pulsebase.models.alert_delivery import ClaimedDelivery
from pulsebase.models.alert_message import AlertMessage, AlertMessageModel, ClaimedMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.contract.callers import Caller

WORKER = uuid4()


@pytest.fixture
def channel(plain_sql: psycopg.Connection[Any]) -> Iterator[str]:
    """A channel that no other test uses, and that its name makes hard to say."""
    name = f'ops "{uuid4()}", \\ {{nörd}}'
    plain_sql.execute(
        "insert into alert_channels (name, group_window_seconds) values (%s, 0)", [name]
    )
    # So that other tests on this database are not told here.
    matcher = '{"labels": {"none": "has it"}}'
    plain_sql.execute(
        "insert into alert_routes (position, channels, matcher)"
        " select coalesce(max(position), 0) + 1, array[%s], %s from alert_routes",
        [name, matcher],
    )
    yield name
    plain_sql.execute("delete from alert_routes where channels = array[%s]", [name])
    plain_sql.execute("delete from alert_channels where name = %s", [name])


def owe(sql: psycopg.Connection[Any], channel: str, service: str, **columns: Any) -> UUID:
    """An event, and a delivery of it that waits; the event's id."""
    details = '{"reason": "no answer"}'
    row = sql.execute(
        "insert into alert_events (service_name, alert_type, status, details)"
        " values (%s, 'service_down', 'active', %s) returning id",
        [service, details],
    ).fetchone()
    assert row is not None
    event_id: UUID = row[0]
    sql.execute(
        "insert into alert_deliveries"
        " (service_name, incident_id, event_id, channel, kind, due_at, is_escalation)"
        " values (%s, %s, %s, %s, 'opened', coalesce(%s, now()), %s)",
        [
            *(service, uuid4(), event_id, channel),
            *(columns.get("due_at"), columns.get("is_escalation", False)),
        ],
    )
    return event_id


def claim_one(call: Caller, channel: str) -> ClaimedMessage:
    (message,) = call(AlertMessageModel.claim, WORKER, channels=[channel]).messages
    assert isinstance(message, ClaimedMessage)
    return message


def test_a_claim_has_every_field(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    event_id = owe(plain_sql, channel, service)
    message = claim_one(call, channel)
    (delivery,) = message.deliveries
    assert message == ClaimedMessage(
        id=message.id,
        channel=channel,
        attempt=1,
        attempts_before=(),
        created_at=message.created_at,
        give_up_at=message.created_at + timedelta(days=1),
        leased_until=message.created_at + timedelta(minutes=1),
        deliveries=(delivery,),
    )
    assert delivery == ClaimedDelivery(
        id=delivery.id,
        kind="opened",
        sequence=0,
        service_name=service,
        labels={},
        event_id=event_id,
        incident_id=delivery.incident_id,
        alert_type="service_down",
        event_status="active",
        event_created_at=delivery.event_created_at,
        resolved_at=None,
        details={"reason": "no answer"},
        held_by=None,
        held_since=None,
        released_at=None,
        created_at=delivery.created_at,
        service_status=None,
        flapping_since=None,
    )
    assert message.created_at.tzinfo is UTC
    assert call(AlertMessageModel.claim, WORKER, channels=[channel]).messages == ()


def test_nothing_is_claimed_where_nothing_is_owed(call: Caller, channel: str) -> None:
    claim = call(AlertMessageModel.claim, WORKER, channels=[channel, "unheard of"])
    assert (claim.messages, claim.next_due_at) == ((), None)
    assert call(AlertMessageModel.claim, WORKER, channels=[]).messages == ()


def test_a_claim_says_when_to_ask_again(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    due_at = datetime.now(UTC) + timedelta(hours=1)
    owe(plain_sql, channel, service, due_at=due_at, is_escalation=True)
    claim = call(AlertMessageModel.claim, WORKER, channels=[channel])
    assert (claim.messages, claim.next_due_at) == ((), due_at)


def test_what_was_delivered_is_found_with_its_story(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    owe(plain_sql, channel, service)
    claimed = claim_one(call, channel)
    finished = call(AlertMessageModel.finish, claimed.id, attempt=1, outcome="delivered")
    assert finished == AlertMessage(
        id=claimed.id,
        channel=channel,
        service_name=service,
        status="delivered",
        delivery_count=1,
        created_at=claimed.created_at,
        next_attempt_at=claimed.created_at,
        give_up_at=claimed.give_up_at,
        attempts=1,
        leased_by=None,
        leased_until=None,
        finished_at=finished.finished_at,
        last_error=None,
    )
    story = call(AlertMessageModel.find_by_id, claimed.id)
    (attempt,) = story.tried
    assert (attempt.attempt, attempt.worker, attempt.outcome) == (1, WORKER, "delivered")
    assert attempt.finished_at == finished.finished_at
    assert story.deliveries == claimed.deliveries
    assert (story.id, story.status) == (claimed.id, "delivered")


def test_what_failed_is_tried_again_no_sooner_than_asked(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    owe(plain_sql, channel, service)
    claimed = claim_one(call, channel)
    finished = call(
        AlertMessageModel.finish,
        claimed.id,
        attempt=1,
        outcome="failed",
        error="503 \x00\ud800 busy",
        retry_after=timedelta(hours=2),
    )
    assert (finished.status, finished.last_error) == ("pending", "503 ? busy")
    assert finished.next_attempt_at - claimed.created_at >= timedelta(hours=2)
    plain_sql.execute(
        "update alert_messages set next_attempt_at = now() where id = %s", [claimed.id]
    )
    again = claim_one(call, channel)
    assert (again.id, again.attempt, again.deliveries) == (claimed.id, 2, claimed.deliveries)
    assert [(each.outcome, each.error) for each in again.attempts_before] == [
        ("failed", "503 ? busy")
    ]


def test_what_is_refused_is_dead(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    owe(plain_sql, channel, service)
    claimed = claim_one(call, channel)
    finished = call(
        AlertMessageModel.finish, claimed.id, attempt=1, outcome="refused", error="410 gone"
    )
    assert (finished.status, finished.last_error) == ("dead", "410 gone")
    assert call(AlertMessageModel.find, channel=channel, status="dead") == [finished]
    assert call(AlertMessageModel.find, channel=channel, status="pending") == []


def test_messages_are_found_page_by_page(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    services = [f"{service}-{number}" for number in range(3)]
    for each in services:
        owe(plain_sql, channel, each)
    call(AlertMessageModel.claim, WORKER, channels=[channel])
    found = call(AlertMessageModel.find, channel=channel)
    assert [each.service_name for each in found] == services[::-1]
    (first,) = call(AlertMessageModel.find, channel=channel, limit=1)
    assert call(AlertMessageModel.find, channel=channel, before=first) == found[1:]
    assert call(AlertMessageModel.find, service_name=services[1]) == [found[1]]
    assert call(AlertMessageModel.iterate, channel=channel) == found


def test_what_waits_is_found_with_its_reason(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    event_id = owe(plain_sql, channel, service)
    (free,) = call(AlertMessageModel.find_waiting, service_name=service)
    assert (free.hold_reason, free.event_id, free.channel) == (None, event_id, channel)
    silence = uuid4()
    plain_sql.execute(
        "insert into alert_silences (id, kind, matcher, created_by)"
        " values (%s, 'maintenance', jsonb_build_object('services', jsonb_build_array(%s::text)),"
        " 'a test')",
        [silence, service],
    )
    plain_sql.execute("insert into alert_silence_periods values (%s, now())", [silence])
    assert call(AlertMessageModel.find_waiting, service_name=service) == [
        replace(free, hold_reason="maintenance")
    ]
    assert call(AlertMessageModel.claim, WORKER, channels=[channel]).messages == ()
    (held,) = call(AlertMessageModel.find_waiting, channel=channel)
    assert held.hold_reason == "maintenance"
    assert held.held_since is not None


def test_old_messages_are_deleted_and_young_ones_are_not(
    call: Caller, plain_sql: psycopg.Connection[Any], channel: str, service: str
) -> None:
    owe(plain_sql, channel, service)
    claimed = claim_one(call, channel)
    call(AlertMessageModel.finish, claimed.id, attempt=1, outcome="delivered")
    plain_sql.execute(
        "update alert_messages set created_at = created_at - interval '40 days',"
        " finished_at = finished_at - interval '40 days' where id = %s",
        [claimed.id],
    )
    call(AlertMessageModel.delete_older_than, timedelta(days=30))
    assert call(AlertMessageModel.find_by_id, claimed.id) is not None, "its alert is still active"
    plain_sql.execute(
        "update alert_events set status = 'resolved' where service_name = %s", [service]
    )
    call(AlertMessageModel.delete_older_than, timedelta(days=50))
    assert call(AlertMessageModel.find_by_id, claimed.id) is not None
    assert call(AlertMessageModel.delete_older_than, timedelta(days=30)) >= 1
    assert call(AlertMessageModel.find_by_id, claimed.id) is None


def test_a_message_that_is_not_there_is_named(call_some: Caller) -> None:
    sought = uuid4()
    assert call_some(AlertMessageModel.find_by_id, sought) is None
    with pytest.raises(NotFoundError, match=str(sought)):
        call_some(AlertMessageModel.finish, sought, attempt=1, outcome="failed")


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"lease": timedelta(0)}, "lease must be a timedelta above zero"),
        ({"lease": timedelta(days=2)}, "at most a day"),
        ({"max_messages": 0}, "from 1 to 1000"),
        ({"channels": ["two\nlines"]}, "channels must be 1 to 100 characters"),
        ({"worker": "me"}, "worker must be a UUID"),
    ],
)
def test_a_wrong_claim_is_refused_before_anything_is_sent(
    call_some: Caller, fields: dict[str, Any], bound: str
) -> None:
    values = {"worker": WORKER, "channels": ["ops"], **fields}
    with pytest.raises(InvalidValueError, match=bound):
        call_some(AlertMessageModel.claim, **values)


def test_an_unknown_outcome_is_refused(call_some: Caller) -> None:
    with pytest.raises(InvalidValueError, match="one of delivered, failed, refused"):
        call_some(AlertMessageModel.finish, uuid4(), attempt=1, outcome="perhaps")
