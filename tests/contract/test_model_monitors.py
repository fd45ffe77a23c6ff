"""Every verb of MonitorModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from pulsebase import InvalidValueError, Monitor, MonitorModel, MonitorServices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.callers import Caller

SERVICES = MonitorServices("a digest", bytes(range(256)) * 400)


@pytest.fixture
def monitor_id(call: Caller) -> Iterator[UUID]:
    """An id that no other test uses; its row is gone afterwards."""
    identifier = uuid4()
    yield identifier
    call(MonitorModel.remove, identifier)


def beat(call: Caller, identifier: UUID, **fields: Any) -> Monitor:
    """Beat, and give the monitor's own row."""
    values = {"heartbeat_interval": timedelta(minutes=10), "version": "1.2.3", **fields}
    found = call(MonitorModel.beat, id=identifier, **values)
    (own,) = [each for each in found if each.id == identifier]
    assert isinstance(own, Monitor)
    return own


def test_a_beat_answers_with_every_field(call: Caller, monitor_id: UUID) -> None:
    own = beat(call, monitor_id, name="Nörd \"1\" '%s'", location="eu-west", was_cut_off=True)
    assert own == Monitor(
        id=monitor_id,
        name="Nörd \"1\" '%s'",
        location="eu-west",
        version="1.2.3",
        heartbeat_interval_seconds=600.0,
        started_at=own.started_at,
        last_seen_at=own.started_at,
        gone_at=None,
        age_seconds=own.age_seconds,
        is_silent=False,
        service_count=0,
        services_digest=None,
    )
    assert own.started_at.tzinfo is UTC
    assert 0 <= own.age_seconds < 60


def test_a_later_beat_keeps_the_beginning(call: Caller, monitor_id: UUID) -> None:
    first = beat(call, monitor_id, name="a", location="here")
    later = beat(call, monitor_id, version="2", heartbeat_interval=timedelta(seconds=0.5))
    assert later.started_at == first.started_at
    assert later.last_seen_at > first.last_seen_at
    assert (later.name, later.location, later.version) == (None, None, "2")
    assert later.heartbeat_interval_seconds == 0.5


def test_services_are_published_and_found(call: Caller, monitor_id: UUID) -> None:
    assert call(MonitorModel.publish_services, monitor_id, services=SERVICES) is False
    beat(call, monitor_id)
    assert call(MonitorModel.find_services, monitor_id) is None
    assert call(MonitorModel.publish_services, monitor_id, services=SERVICES) is True
    assert call(MonitorModel.find_services, monitor_id) == SERVICES
    own = beat(call, monitor_id)
    assert (own.service_count, own.services_digest) == (12_800, "a digest")


def test_no_services_are_services_too(call: Caller, monitor_id: UUID) -> None:
    beat(call, monitor_id)
    none = MonitorServices("nothing", b"")
    assert call(MonitorModel.publish_services, monitor_id, services=none)
    assert call(MonitorModel.find_services, monitor_id) == none


def test_all_monitors_are_found(call: Caller, monitor_id: UUID) -> None:
    beat(call, monitor_id, name="findable")
    assert [each.name for each in call(MonitorModel.find_all) if each.id == monitor_id] == [
        "findable"
    ]


def test_a_monitor_is_removed_once(call: Caller, monitor_id: UUID) -> None:
    beat(call, monitor_id)
    assert call(MonitorModel.remove, monitor_id) is True
    assert call(MonitorModel.remove, monitor_id) is False


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"heartbeat_interval": timedelta(0)}, "heartbeat_interval must be a timedelta above zero"),
        ({"heartbeat_interval": timedelta(days=2)}, "at most a day"),
        ({"name": "two\nlines"}, "name must be 1 to 100 characters"),
        ({"location": ""}, "location must be 1 to 100 characters"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_sent(
    call_some: Caller, fields: dict[str, Any], bound: str
) -> None:
    values = {"heartbeat_interval": timedelta(seconds=5), "version": "1", **fields}
    with pytest.raises(InvalidValueError, match=bound):
        call_some(MonitorModel.beat, id=uuid4(), **values)


def test_half_a_hash_is_refused(call_some: Caller) -> None:
    with pytest.raises(InvalidValueError, match="8 bytes each"):
        call_some(MonitorModel.publish_services, uuid4(), services=MonitorServices("x", b"seven b"))
