"""Which channels are told: matchers, routes by service, label, type and time of day."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alert_changes import Changes
from tests.sql.scripts import one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

NIGHT = {"from": "22:00", "until": "06:00", "zone": "Europe/Berlin"}


@pytest.fixture(scope="module")
def still_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """A migrated database for questions that change nothing."""
    name = postgres.create_database(template=migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def changes(database: str) -> Iterator[Changes]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield Changes(connection)


def channels_of(changes: Changes, service: str, alert_type: str = "service_down") -> list[str]:
    """The channels that an alert is owed to, by name."""
    changes.opened(service, alert_type)
    rows = changes.connection.execute(
        "select channel from alert_deliveries where service_name = %s order by channel", [service]
    ).fetchall()
    return [name for (name,) in rows]


@pytest.mark.parametrize(
    ("matcher", "service", "labels", "expected"),
    [
        (None, "api", None, True),
        ({}, "api", None, True),
        ({"services": None, "labels": None}, "api", {}, True),
        ({"services": ["web", "api"]}, "api", {}, True),
        ({"services": ["web"]}, "api", {}, False),
        ({"services": []}, "api", {}, False),
        ({"services": ["db-*"]}, "db-1", {}, True),
        ({"services": ["db-*"]}, "db-", {}, True),
        ({"services": ["db-*"]}, "my db-1", {}, False),
        ({"services": ["*-db-*"]}, "eu-db-1", {}, True),
        ({"services": ["*"]}, "what\never", {}, True),
        ({"services": ["API"]}, "api", {}, False),
        ({"services": ["a_i"]}, "api", {}, False),
        ({"services": ["a%"]}, "api", {}, False),
        ({"services": ["a%*"]}, "a%pi", {}, True),
        ({"services": ["a\\*"]}, "a\\pi", {}, True),
        ({"services": ["a\\*"]}, "a*", {}, False),
        ({"services": ["größe*"]}, "größe 1", {}, True),
        ({"labels": {"team": "ai"}}, "api", {"team": "ai"}, True),
        ({"labels": {"team": "ai"}}, "api", {"team": "web"}, False),
        ({"labels": {"team": "ai"}}, "api", {}, False),
        ({"labels": {"team": "ai"}}, "api", None, False),
        ({"labels": {"team": "*"}}, "api", {"team": ""}, True),
        ({"labels": {"team": "*"}}, "api", {"tier": "1"}, False),
        ({"labels": {"tier": "1"}}, "api", {"tier": 1}, True),
        ({"labels": {"team": "ai", "tier": "1"}}, "api", {"team": "ai"}, False),
        ({"services": ["api"], "labels": {"team": "ai"}}, "api", {"team": "ai"}, True),
        ({"services": ["api"], "labels": {"team": "ai"}}, "web", {"team": "ai"}, False),
        # Written by hand, and none of what is meant: rather nothing than everything.
        ({"services": "api"}, "api", {}, True),
        ({"services": "api"}, "web", {}, False),
        ({"services": {"name": "api"}}, "api", {}, False),
    ],
)
def test_a_matcher_fits(
    still_database: str, matcher: Any, service: str, labels: Any, expected: bool
) -> None:
    parameters = [
        None if matcher is None else json.dumps(matcher),
        service,
        None if labels is None else json.dumps(labels),
    ]
    assert (
        one(still_database, "select pulsebase_matches_service(%s, %s, %s)", parameters) is expected
    )


@pytest.mark.parametrize(
    ("hours", "moment", "expected"),
    [
        (None, "2026-07-01 03:00Z", True),
        ({"from": "08:00", "until": "18:00"}, "2026-07-01 07:59:59Z", False),
        ({"from": "08:00", "until": "18:00"}, "2026-07-01 08:00Z", True),
        ({"from": "08:00", "until": "18:00"}, "2026-07-01 17:59:59.999Z", True),
        ({"from": "08:00", "until": "18:00"}, "2026-07-01 18:00Z", False),
        ({"from": "08:00"}, "2026-07-01 23:59:59Z", True),
        ({"until": "08:00"}, "2026-07-01 00:00Z", True),
        ({"until": "24:00"}, "2026-07-01 23:59:59Z", True),
        # 1 July 2026 is a Wednesday.
        ({"days": [3]}, "2026-07-01 12:00Z", True),
        ({"days": [1, 2, 4, 5, 6, 7]}, "2026-07-01 12:00Z", False),
        ({"days": []}, "2026-07-01 12:00Z", False),
        ({"days": [3], "zone": "Asia/Tokyo"}, "2026-07-01 16:00Z", False),
        # Over midnight: by the clock of Berlin, two hours ahead in summer and one in winter.
        (NIGHT, "2026-07-01 19:59Z", False),
        (NIGHT, "2026-07-01 20:00Z", True),
        (NIGHT, "2026-07-02 03:59Z", True),
        (NIGHT, "2026-07-02 04:00Z", False),
        (NIGHT, "2026-12-01 20:59Z", False),
        (NIGHT, "2026-12-01 21:00Z", True),
        (NIGHT, "2026-12-02 04:59Z", True),
        # The day is that on which they began.
        ({**NIGHT, "days": [3]}, "2026-07-01 21:00Z", True),
        ({**NIGHT, "days": [3]}, "2026-07-02 01:00Z", True),
        ({**NIGHT, "days": [3]}, "2026-07-01 01:00Z", False),
        ({**NIGHT, "days": [7]}, "2026-07-06 01:00Z", True),
        ({**NIGHT, "days": [1]}, "2026-07-06 01:00Z", False),
        # The same time twice is the whole day, from that time on.
        ({"from": "06:00", "until": "06:00", "days": [3]}, "2026-07-02 05:59Z", True),
        ({"from": "06:00", "until": "06:00", "days": [3]}, "2026-07-02 06:00Z", False),
        # 29 March 2026 has no 02:30 in Berlin; 25 October has it twice.
        ({"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, "2026-03-29 00:59Z", False),
        ({"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, "2026-03-29 01:00Z", False),
        ({"from": "01:00", "until": "04:00", "zone": "Europe/Berlin"}, "2026-03-29 01:30Z", True),
        ({"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, "2026-10-25 00:30Z", True),
        ({"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, "2026-10-25 01:30Z", True),
        ({"from": "02:00", "until": "03:00", "zone": "Europe/Berlin"}, "2026-10-25 02:00Z", False),
        # Written by hand, and wrong: rather told than not.
        ({"from": "noon"}, "2026-07-01 03:00Z", True),
        ({"from": "08:00", "until": "09:00", "zone": "Mars"}, "2026-07-01 03:00Z", True),
    ],
)
def test_hours_include_a_moment(
    still_database: str, hours: Any, moment: str, expected: bool
) -> None:
    parameters = [hours if hours is None else json.dumps(hours), moment]
    assert one(still_database, "select pulsebase_hours_include(%s, %s)", parameters) is expected


def test_a_channel_that_no_route_names_is_told_everything(changes: Changes) -> None:
    changes.channel("all")
    changes.channel("db")
    changes.route("db", matcher='{"services": ["db*"]}')
    assert channels_of(changes, "api") == ["all"]
    assert channels_of(changes, "db 1") == ["all", "db"]


def test_routes_go_by_label_and_type(changes: Changes) -> None:
    for name in ("ai", "down", "both"):
        changes.channel(name)
    changes.route("ai", "both", matcher='{"labels": {"team": "ai"}}')
    changes.route("down", "both", alert_types=["service_down"])
    changes.connection.execute(
        "insert into monitored_services (service_name, labels) values ('api', '{\"team\": \"ai\"}')"
    )
    assert channels_of(changes, "api", "service_degraded") == ["ai", "both"]
    assert channels_of(changes, "web") == ["both", "down"]
    assert channels_of(changes, "web 2", "service_degraded") == []


def test_routes_go_by_the_time_of_day(changes: Changes) -> None:
    query = "select ((now() at time zone 'UTC')::time + %s::interval)::text"
    an_hour_ago, in_an_hour = (changes.value(query, [hours]) for hours in ("-1 h", "1 h"))
    changes.channel("now")
    changes.route("now", hours=json.dumps({"from": an_hour_ago, "until": in_an_hour}))
    changes.channel("not now")
    changes.route("not now", hours=json.dumps({"from": in_an_hour, "until": an_hour_ago}))
    assert channels_of(changes, "api") == ["now"]


def test_a_channel_that_is_not_published_is_not_told(changes: Changes) -> None:
    changes.channel("gone", is_published=False)
    changes.channel("here")
    assert channels_of(changes, "api") == ["here"]


def test_wrong_hours_are_refused_when_they_are_published(changes: Changes) -> None:
    def publish(**hours: Any) -> Callable[[], Any]:
        routes = json.dumps([{"channels": ["ops"], "hours": hours}])
        return lambda: changes.value("select publish_alert_channels('[]', %s)", [routes])

    for hours in ({"from": "25:00"}, {"until": "soon"}, {"zone": "Mars"}, {"days": [8]}):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="hours that are none"):
            publish(**hours)()
    publish(**NIGHT)()


def test_publishing_wants_arrays(changes: Changes) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="must be JSON arrays"):
        changes.value("select publish_alert_channels('{}', '[]')")
