"""Every verb of AlertEventModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pulsebase import AlertEvent, AlertEventModel, InvalidValueError, NotFoundError

if TYPE_CHECKING:
    import psycopg

    from tests.contract.callers import Caller

DETAILS = {"reason": "timeout", "checks": [1, 2.5, None], "text": 'Ünïcode 😀 " \\ %s'}

# At most one of a type is active for a service.
TYPES = ("service_down", "service_degraded", "recovery")
OLD_ROWS = """
insert into alert_events (service_name, alert_type, status, created_at, resolved_at)
select %(service)s, (array['service_down', 'service_degraded', 'recovery'])[1 + number %% 3],
    %(status)s,
    now() - interval '60 days' + number * interval '1 second',
    case when %(status)s = 'resolved' then now() - %(resolved_days_ago)s * interval '1 day' end
from generate_series(1, %(count)s) as t (number)
"""


def _insert(
    plain_sql: psycopg.Connection[Any], service: str, status: str, count: int, days_ago: int = 0
) -> None:
    plain_sql.execute(
        OLD_ROWS,
        {"service": service, "status": status, "count": count, "resolved_days_ago": days_ago},
    )


def _create(call: Caller, service: str, **fields: Any) -> AlertEvent:
    values = {"service_name": service, "alert_type": "service_down", **fields}
    event: AlertEvent = call(AlertEventModel.create, **values)
    return event


def test_an_event_is_stored_with_every_field(call: Caller, service: str) -> None:
    given = uuid4()
    event = _create(call, service, alert_type="service_degraded", details=DETAILS, id=given)
    assert event == AlertEvent(
        id=given,
        service_name=service,
        alert_type="service_degraded",
        status="active",
        details=DETAILS,
        created_at=event.created_at,
        resolved_at=None,
    )
    assert event.created_at.tzinfo is UTC
    assert call(AlertEventModel.find_by_id, given) == event


def test_what_is_left_out_has_its_default(call: Caller, service: str) -> None:
    event = _create(call, service)
    assert (event.status, event.details, event.id.version) == ("active", None, 7)


def test_an_event_may_be_resolved_from_its_beginning(call: Caller, service: str) -> None:
    event = _create(call, service, alert_type="recovery", status="resolved")
    assert event.resolved_at == event.created_at


def test_an_event_that_is_stored_already_is_returned_as_it_is(call: Caller, service: str) -> None:
    first = _create(call, service)
    assert _create(call, service, alert_type="recovery", id=first.id) == first
    assert len(call(AlertEventModel.find_by_service, service)) == 1


def test_an_unknown_id_is_none(call: Caller) -> None:
    assert call(AlertEventModel.find_by_id, str(uuid4())) is None


def test_an_event_is_resolved_once(call: Caller, service: str) -> None:
    event = _create(call, service, details=DETAILS)
    resolved = call(AlertEventModel.resolve, event.id)
    assert (resolved.status, resolved.details) == ("resolved", DETAILS)
    assert resolved.resolved_at >= event.created_at
    assert call(AlertEventModel.resolve, event.id) == resolved
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert call(AlertEventModel.resolve, str(event.id), resolved_at=later) == resolved


def test_an_event_is_resolved_at_the_given_time(call: Caller, service: str) -> None:
    event = _create(call, service)
    moment = datetime.now(UTC) + timedelta(seconds=2)
    assert call(AlertEventModel.resolve, event.id, resolved_at=moment).resolved_at == moment


def test_resolving_what_is_not_there_says_so(call: Caller) -> None:
    sought = uuid4()
    with pytest.raises(NotFoundError, match=str(sought)):
        call(AlertEventModel.resolve, sought)


def test_of_a_type_one_event_is_active(call: Caller, service: str) -> None:
    first = _create(call, service, details=DETAILS)
    assert _create(call, service, details={"another": "one"}, id=uuid4()) == first
    call(AlertEventModel.resolve, first.id)
    assert _create(call, service).id != first.id


def test_the_active_events_are_found_oldest_first(call: Caller, service: str) -> None:
    events = [_create(call, service, alert_type=alert_type) for alert_type in TYPES]
    _create(call, service, status="resolved")
    call(AlertEventModel.resolve, events[1].id)
    found = call(AlertEventModel.find_active, service_name=service)
    assert [event.id for event in found] == [events[0].id, events[2].id]
    everything = call(AlertEventModel.find_active)
    assert {event.id for event in found} <= {event.id for event in everything}
    assert {event.status for event in everything} == {"active"}


def test_the_active_events_cross_the_row_cap(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    for number in range(690):
        _insert(plain_sql, f"{service} {number}", "active", 3)
    try:
        found = call(AlertEventModel.find_active)
        ours = [event for event in found if event.service_name.startswith(service)]
        assert len({event.id for event in ours}) == len(ours) == 2070
        assert found == sorted(found, key=lambda event: (event.created_at, event.id))
    finally:
        plain_sql.execute("delete from alert_events where starts_with(service_name, %s)", [service])


def test_the_history_is_read_newest_first_in_pages(call: Caller, service: str) -> None:
    events = [_create(call, service, status="resolved") for _ in range(5)]
    page = call(AlertEventModel.find_by_service, service, limit=3)
    rest = call(AlertEventModel.find_by_service, service, limit=3, before=page[-1])
    assert [event.id for event in page + rest] == [event.id for event in reversed(events)]


def test_a_range_and_a_status_narrow_the_history(call: Caller, service: str) -> None:
    statuses = ("resolved", "resolved", "active", "resolved")
    events = [_create(call, service, status=status) for status in statuses]
    bounds = {"since": events[1].created_at, "until": events[3].created_at}
    found = call(AlertEventModel.find_by_service, service, **bounds)
    assert [event.id for event in found] == [events[2].id, events[1].id]
    assert call(AlertEventModel.find_by_service, service, status="active") == [events[2]]


def test_iterating_crosses_the_row_cap(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    _insert(plain_sql, service, "resolved", 2050)
    found = call(AlertEventModel.iterate_by_service, service)
    assert len({event.id for event in found}) == 2050
    assert found[0].created_at > found[-1].created_at
    assert call(AlertEventModel.iterate_by_service, service, status="active") == []


def test_only_what_was_resolved_long_ago_is_deleted(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute("delete from alert_events")
    _insert(plain_sql, service, "active", 3)
    _insert(plain_sql, service, "resolved", 2, days_ago=20)
    _insert(plain_sql, service, "resolved", 1500, days_ago=40)
    assert call(AlertEventModel.delete_older_than, timedelta(days=30)) == 1500
    assert call(AlertEventModel.delete_older_than, timedelta(days=30)) == 0
    left = call(AlertEventModel.find_by_service, service)
    assert sorted(event.status for event in left) == ["active"] * 3 + ["resolved"] * 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_name", "a\nb"),
        ("alert_type", "healthy"),
        ("status", "open"),
        ("details", {"a": float("nan")}),
        ("details", ["a list"]),
        ("id", 7),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_sent(
    call_some: Caller, service: str, field: str, value: object
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        _create(call_some, service, **{field: value})
    assert caught.value.field == field
    assert call_some(AlertEventModel.find_by_service, service) == []
