"""What people do about alerts keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pulsebase import (
    AlertEvent,
    AlertEventModel,
    InvalidValueError,
    NotFoundError,
    PulsebaseError,
)
from pulsebase.models.alert_act import AlertAct, AlertActModel
from pulsebase.models.alert_channel import AlertChannel, AlertChannelModel
from pulsebase.models.alert_message import AlertMessageModel

if TYPE_CHECKING:
    import psycopg

    from tests.contract.callers import Caller

NOTE = "Ünïcode 😀 \" \\ '%s'\n\u202eesrever\u202c $1"
HOUR = timedelta(hours=1)


@pytest.fixture
def event(call: Caller, service: str) -> AlertEvent:
    """An active event of a service that no other test uses."""
    found: AlertEvent = call(
        AlertEventModel.create, service_name=service, alert_type="service_down"
    )
    return found


def acts(call: Caller, event: AlertEvent) -> list[AlertAct]:
    found: list[AlertAct] = call(AlertActModel.find, event_id=event.id)
    return found


def test_an_act_has_every_field(call: Caller, event: AlertEvent) -> None:
    until = datetime.now(UTC) + HOUR
    acknowledged = call(AlertEventModel.acknowledge, event.id, by="Ann", note=NOTE, until=until)
    assert acknowledged == event
    (act,) = acts(call, event)
    assert act == AlertAct(
        id=act.id,
        act="acknowledge",
        actor="Ann",
        acted_at=act.acted_at,
        service_name=event.service_name,
        event_id=event.id,
        silence_id=None,
        message_id=None,
        channel=None,
        until=until,
        note=NOTE,
    )
    assert abs(datetime.now(UTC) - act.acted_at) < HOUR
    assert act.acted_at >= event.created_at


def test_an_acknowledgement_holds_until_it_is_withdrawn(call: Caller, event: AlertEvent) -> None:
    own = {"service_name": event.service_name}
    assert call(AlertActModel.find_acknowledgements, **own) == []
    call(AlertEventModel.acknowledge, str(event.id), by="Ann")
    (held,) = call(AlertActModel.find_acknowledgements, **own)
    assert (held.actor, held.event_id, held.until) == ("Ann", event.id, None)
    assert held.id in {each.id for each in call(AlertActModel.find_acknowledgements)}
    assert call(AlertEventModel.unacknowledge, event.id, by="Bob", note="not yet") == event
    assert call(AlertActModel.find_acknowledgements, **own) == []
    call(AlertEventModel.unacknowledge, event.id, by="Bob")
    assert [(each.act, each.actor) for each in acts(call, event)] == [
        ("unacknowledge", "Bob"),
        ("acknowledge", "Ann"),
    ]


def test_what_is_so_already_is_no_act(call: Caller, event: AlertEvent) -> None:
    """Pressed twice it is one; another person, note or end is another one."""
    for _ in range(3):
        call(AlertEventModel.acknowledge, event.id, by="Ann")
    call(AlertEventModel.acknowledge, event.id, by="Bob")
    call(AlertEventModel.acknowledge, event.id, by="Bob", note="on it")
    until = datetime.now(UTC) + HOUR
    for _ in range(2):
        call(AlertEventModel.acknowledge, event.id, by="Bob", note="on it", until=until)
    assert len(acts(call, event)) == 4
    (held,) = call(AlertActModel.find_acknowledgements, service_name=event.service_name)
    assert (held.actor, held.note, held.until) == ("Bob", "on it", until)


def test_a_call_that_is_sent_twice_is_one_act(call: Caller, event: AlertEvent) -> None:
    """Also where somebody else has acted between the two."""
    acknowledge = AlertEventModel.acknowledge.call(event.id, by="Ann")
    withdraw = AlertEventModel.unacknowledge.call(event.id, by="Bob")
    for each in (acknowledge, withdraw, acknowledge, withdraw, acknowledge):
        assert _send(call, each) == event
    assert [each.act for each in acts(call, event)] == ["unacknowledge", "acknowledge"]


def test_a_resolution_says_who_and_why(call: Caller, event: AlertEvent) -> None:
    moment = event.created_at + timedelta(minutes=2)
    arguments = {"by": "Ann", "note": NOTE, "resolved_at": moment}
    resolved = call(AlertEventModel.resolve, event.id, **arguments)
    assert (resolved.status, resolved.resolved_at) == ("resolved", moment)
    assert resolved.details == {
        "resolved_by": "person",
        "actor": "Ann",
        "note": NOTE,
        "downtime_seconds": 120.0,
    }
    assert call(AlertEventModel.resolve, event.id, by="Bob") == resolved
    assert call(AlertEventModel.acknowledge, event.id, by="Bob") == resolved
    (act,) = acts(call, event)
    assert (act.act, act.actor, act.note) == ("resolve", "Ann", NOTE)


def test_a_resolution_by_nobody_is_an_act_of_the_database_role(
    call: Caller, event: AlertEvent
) -> None:
    resolved = call(AlertEventModel.resolve, event.id)
    assert (resolved.status, resolved.details) == ("resolved", None)
    (act,) = acts(call, event)
    assert act.act == "resolve"
    assert act.actor in {"postgres", "service_role", "pulsebase"}


def test_what_is_resolved_is_acknowledged_no_more(call: Caller, event: AlertEvent) -> None:
    call(AlertEventModel.acknowledge, event.id, by="Ann")
    call(AlertEventModel.resolve, event.id, by="Ann")
    assert call(AlertActModel.find_acknowledgements, service_name=event.service_name) == []


def test_acts_on_what_is_not_there(call: Caller) -> None:
    nothing = uuid4()
    for verb in (
        AlertEventModel.resolve,
        AlertEventModel.acknowledge,
        AlertEventModel.unacknowledge,
        AlertMessageModel.replay,
    ):
        with pytest.raises(NotFoundError, match=str(nothing)):
            call(verb, nothing, by="Ann")
    for channel_verb in (AlertChannelModel.enable, AlertChannelModel.disable):
        with pytest.raises(NotFoundError, match="no such channel"):
            call(channel_verb, "no such channel", by="Ann")
    assert call(AlertActModel.find, event_id=nothing) == []


def test_an_end_in_the_past_is_refused(call: Caller, event: AlertEvent) -> None:
    """By the database's clock."""
    with pytest.raises(PulsebaseError, match="until must be in the future"):
        call(AlertEventModel.acknowledge, event.id, by="Ann", until=datetime.now(UTC) - HOUR)
    assert acts(call, event) == []


def test_acts_are_found_by_what_they_are_about_and_in_pages(
    call: Caller, event: AlertEvent, service: str
) -> None:
    for number in range(5):
        call(AlertEventModel.acknowledge, event.id, by="Ann", note=str(number))
    newest = call(AlertActModel.find, service_name=service, limit=2)
    rest = call(AlertActModel.find, service_name=service, limit=9, before=newest[-1])
    assert [each.note for each in newest + rest] == ["4", "3", "2", "1", "0"]
    bounds = {"since": rest[1].acted_at, "until": newest[0].acted_at}
    found = call(AlertActModel.find, event_id=event.id, **bounds)
    assert [each.note for each in found] == ["3", "2", "1"]
    assert call(AlertActModel.iterate, event_id=event.id) == newest + rest


def test_iterating_crosses_the_row_cap(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute(
        "insert into alert_acts (id, act, actor, service_name, acted_at)"
        " select gen_random_uuid(), 'resolve', 'x', %s, now() - n * interval '1 second'"
        " from generate_series(1, 2050) as n",
        [service],
    )
    found = call(AlertActModel.iterate, service_name=service)
    assert len({each.id for each in found}) == 2050
    assert found[0].acted_at > found[-1].acted_at


def test_acknowledgements_cross_the_row_cap(
    call: Caller, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute("delete from alert_events")
    plain_sql.execute(
        "with made as (insert into alert_events (service_name, alert_type, status)"
        " select 'many ' || n, 'service_down', 'active' from generate_series(1, 1500) as n"
        " returning id, service_name)"
        " insert into alert_acts (id, act, actor, service_name, event_id)"
        " select gen_random_uuid(), 'acknowledge', 'x', service_name, id from made"
    )
    found = call(AlertActModel.find_acknowledgements)
    assert len({each.event_id for each in found}) == 1500
    plain_sql.execute("delete from alert_events")


@pytest.fixture
def channel(plain_sql: psycopg.Connection[Any]) -> str:
    """A channel that no other test uses."""
    name = f"channel-{uuid4().hex}"
    plain_sql.execute("insert into alert_channels (name) values (%s)", [name])
    return name


def test_a_channel_is_disabled_and_enabled(call: Caller, channel: str) -> None:
    disabled = call(AlertChannelModel.disable, channel, by="Ann", reason=NOTE)
    assert isinstance(disabled, AlertChannel)
    assert disabled.disabled_at is not None
    assert disabled.disabled_reason == NOTE
    assert call(AlertChannelModel.disable, channel, by="Bob") == disabled
    enabled = call(AlertChannelModel.enable, channel, by="Bob", note="mended")
    assert (enabled.disabled_at, enabled.disabled_reason) == (None, None)
    assert call(AlertChannelModel.enable, channel, by="Ann") == enabled
    found = call(AlertActModel.find, channel=channel)
    assert [(each.act, each.actor, each.note) for each in found] == [
        ("enable_channel", "Bob", "mended"),
        ("disable_channel", "Ann", NOTE),
    ]


def test_a_channel_that_was_refused_is_enabled_with_a_clean_record(
    call: Caller, channel: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute(
        "update alert_channels set refusals_in_a_row = 3, disabled_at = now(),"
        " disabled_reason = 'HTTP 410' where name = %s",
        [channel],
    )
    assert call(AlertChannelModel.enable, channel, by="Ann").refusals_in_a_row == 0


def test_a_message_that_was_given_up_is_sent_again_under_its_id(
    call: Caller, channel: str, plain_sql: psycopg.Connection[Any]
) -> None:
    message_id = _message(plain_sql, channel, "dead")
    replayed = call(AlertMessageModel.replay, str(message_id), by="Ann", note="try again")
    assert (replayed.id, replayed.status) == (message_id, "pending")
    assert replayed.finished_at is None
    assert replayed.give_up_at - replayed.next_attempt_at > timedelta(hours=23)
    assert call(AlertMessageModel.replay, message_id, by="Ann") == replayed
    (act,) = call(AlertActModel.find, message_id=message_id)
    assert (act.act, act.channel, act.note) == ("replay", channel, "try again")


def test_a_message_that_was_delivered_is_not_sent_again(
    call: Caller, channel: str, plain_sql: psycopg.Connection[Any]
) -> None:
    message_id = _message(plain_sql, channel, "delivered")
    assert call(AlertMessageModel.replay, message_id, by="Ann").status == "delivered"
    assert call(AlertActModel.find, message_id=message_id) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("by", ""),
        ("by", None),
        ("by", "two\nlines"),
        ("by", "nul\x00"),
        ("by", "x" * 101),
        ("by", 5),
        ("note", "x" * 2001),
        ("note", "nul\x00"),
        ("note", "\ud83d"),
        ("note", 5),
        ("until", "tomorrow"),
        ("until", datetime(2030, 1, 1)),  # noqa: DTZ001 -- it is the point
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_sent(
    call_some: Caller, service: str, field: str, value: object
) -> None:
    event = call_some(AlertEventModel.create, service_name=service, alert_type="service_down")
    with pytest.raises(InvalidValueError) as caught:
        call_some(AlertEventModel.acknowledge, event.id, **{"by": "Ann", field: value})
    assert caught.value.field == field
    assert acts(call_some, event) == []


def test_the_longest_note_and_name_are_stored_as_they_are(call_some: Caller, service: str) -> None:
    event = call_some(AlertEventModel.create, service_name=service, alert_type="service_down")
    note, name = "😀" * 2000, "😀" * 100
    call_some(AlertEventModel.acknowledge, event.id, by=name, note=note)
    resolved = call_some(AlertEventModel.resolve, event.id, by=name, note=note)
    assert [(each.actor, each.note) for each in acts(call_some, event)] == [(name, note)] * 2
    assert resolved.details["note"] == note[:500]


def _send(call: Caller, request: Any) -> Any:
    """The same call again, as a transport repeats it."""

    def verb(connection: Any) -> Any:
        return connection.execute(request)

    return call(verb)


def _message(plain_sql: psycopg.Connection[Any], channel: str, status: str) -> UUID:
    row = plain_sql.execute(
        "insert into alert_messages"
        " (channel, status, delivery_count, give_up_at, attempts, finished_at, last_error)"
        " values (%s, %s, 1, now(), 9, now(), 'refused') returning id",
        [channel, status],
    ).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found
