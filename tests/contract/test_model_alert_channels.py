"""Every verb of AlertChannelModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.models.alert_channel import (
    AlertChannel,
    AlertChannelModel,
    NewAlertChannel,
    NewAlertRoute,
    PublishedChannels,
    RouteHours,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from tests.contract.callers import Caller

HOURS = RouteHours(begin="22:00", until="06:00", days=(5, 6), zone="Europe/Berlin")


@pytest.fixture
def name(plain_sql: psycopg.Connection[Any]) -> Iterator[str]:
    """The name of a channel that no other test uses; no channels and no routes afterwards."""
    yield f"nörd \"{uuid4()}\" '%s'"
    plain_sql.execute("delete from alert_routes where true")
    plain_sql.execute("delete from alert_channels where true")


def own(call: Caller, name: str) -> AlertChannel:
    """The channel as it is found."""
    (channel,) = [each for each in call(AlertChannelModel.find_all) if each.name == name]
    assert isinstance(channel, AlertChannel)
    return channel


def test_a_channel_is_found_as_it_was_published(call: Caller, name: str) -> None:
    channel = NewAlertChannel(
        name=name,
        group_window=timedelta(0),
        rate_limit=20,
        rate_period=timedelta(hours=1),
        remind_every=timedelta(hours=4),
        give_up_after=timedelta(days=2),
    )
    assert call(AlertChannelModel.publish, channels=[channel]).changed == 1
    found = own(call, name)
    assert found == AlertChannel(
        name=name,
        is_published=True,
        group_window=timedelta(0),
        rate_limit=20,
        rate_period=timedelta(hours=1),
        remind_every=timedelta(hours=4),
        give_up_after=timedelta(days=2),
        refusals_in_a_row=0,
        disabled_at=None,
        disabled_reason=None,
        updated_at=found.updated_at,
        waiting_count=0,
        unfinished_count=0,
    )
    assert found.updated_at.tzinfo is UTC


def test_publishing_says_what_changed(call: Caller, name: str) -> None:
    other = f"other {name}"
    channels = [NewAlertChannel(name=name), NewAlertChannel(name=other)]
    routes = [NewAlertRoute(channels=(name,), hours=HOURS, after=timedelta(minutes=15))]
    first = call(AlertChannelModel.publish, channels=channels, routes=routes)
    assert (first.changed, first.is_rerouted) == (2, True)
    again = call(AlertChannelModel.publish, channels=channels, routes=routes)
    assert again == PublishedChannels(changed=0, unpublished=0, is_rerouted=False)
    fewer = call(AlertChannelModel.publish, channels=channels[:1])
    assert fewer == PublishedChannels(changed=0, unpublished=1, is_rerouted=True)
    assert own(call, other).is_published is False
    back = call(AlertChannelModel.publish, channels=channels)
    assert back == PublishedChannels(changed=1, unpublished=0, is_rerouted=False)
    assert own(call, other).is_published is True


def test_a_route_is_stored_with_everything(
    call: Caller, name: str, plain_sql: psycopg.Connection[Any]
) -> None:
    matcher = {"services": ["db-*"], "labels": {"team": "ai"}}
    route = NewAlertRoute(
        channels=(name, "pager"),
        matcher=matcher,
        alert_types=("service_down",),
        hours=HOURS,
        after=timedelta(minutes=15),
    )
    everything = NewAlertRoute(channels=(name,))
    channels = [NewAlertChannel(name=name)]
    call(AlertChannelModel.publish, channels=channels, routes=[route, everything])
    hours = {"from": "22:00", "until": "06:00", "days": [5, 6], "zone": "Europe/Berlin"}
    assert plain_sql.execute("select * from alert_routes order by position").fetchall() == [
        (0, [name, "pager"], matcher, ["service_down"], hours, 900.0),
        (1, [name], None, None, None, 0.0),
    ]


def test_publishing_does_not_enable_a_disabled_channel(
    call: Caller, name: str, plain_sql: psycopg.Connection[Any]
) -> None:
    channels = [NewAlertChannel(name=name)]
    call(AlertChannelModel.publish, channels=channels)
    plain_sql.execute(
        "update alert_channels set disabled_at = now(), disabled_reason = 'gone' where name = %s",
        [name],
    )
    call(AlertChannelModel.publish, channels=channels)
    found = own(call, name)
    assert found.disabled_at is not None
    assert found.disabled_reason == "gone"


def test_what_is_owed_is_counted(
    call: Caller, name: str, plain_sql: psycopg.Connection[Any]
) -> None:
    call(AlertChannelModel.publish, channels=[NewAlertChannel(name=name)])
    plain_sql.execute(
        "insert into alert_deliveries (service_name, incident_id, event_id, channel, kind)"
        " values ('a service', gen_random_uuid(), gen_random_uuid(), %s, 'opened')",
        [name],
    )
    plain_sql.execute(
        "insert into alert_messages (channel, delivery_count, give_up_at) values (%s, 1, now())",
        [name],
    )
    found = own(call, name)
    assert (found.waiting_count, found.unfinished_count) == (1, 1)
    plain_sql.execute("delete from alert_deliveries where channel = %s", [name])
    plain_sql.execute("delete from alert_messages where channel = %s", [name])


@pytest.mark.parametrize(
    ("build", "bound"),
    [
        (lambda: NewAlertChannel(name="two\nlines"), "name must be 1 to 100 characters"),
        (lambda: NewAlertChannel(name="a", group_window=-timedelta(1)), "group_window must be"),
        (lambda: NewAlertChannel(name="a", rate_limit=3), "together with rate_limit"),
        (
            lambda: NewAlertChannel(name="a", rate_limit=0, rate_period=timedelta(1)),
            "rate_limit must be a whole number from 1",
        ),
        (lambda: NewAlertChannel(name="a", give_up_after=timedelta(0)), "give_up_after must be"),
        (lambda: RouteHours(begin="25:00"), "a time as HH:MM"),
        (lambda: RouteHours(days=(0,)), "days must be a whole number from 1 to 7"),
        (lambda: RouteHours(zone="Mars/Olympus"), "a time zone such as Europe/Berlin"),
        (lambda: NewAlertRoute(channels=("",)), "channels must be 1 to 100 characters"),
        (
            lambda: NewAlertRoute(channels=("a",), alert_types=("recovered",)),  # type: ignore[arg-type]
            "alert_types must be one of service_down",
        ),
        (lambda: NewAlertRoute(channels=("a",), after=-timedelta(1)), "after must be a timedelta"),
    ],
)
def test_a_wrong_rule_is_refused_where_it_is_made(build: Callable[[], object], bound: str) -> None:
    with pytest.raises(InvalidValueError, match=bound):
        build()
