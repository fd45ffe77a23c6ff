"""No check is refused, nor remembered for ever, because of what it says or how many there are."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.sql.alerting import Alerting
from tests.sql.scripts import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

STORE = "insert into service_health_checks (service_name, status, checked_at, probe_details) values"


@pytest.fixture(params=[15, 18])
def alerting(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[Alerting]:
    """A database of the oldest and of the newest PostgreSQL."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        yield Alerting(connection)
    server.drop_database(name)


@pytest.mark.parametrize("moment", ["4714-11-24 00:00:00+00 BC", "4713-01-02 BC", "0001-01-01"])
def test_checks_of_the_first_moments_there_are_are_stored(alerting: Alerting, moment: str) -> None:
    """As programs write them that know no time; those that follow are evaluated as ever."""
    alerting.at_once("api", location_fresh_seconds=30 * 86400)
    for status in ("down", "healthy", "down"):
        alerting.connection.execute(f"{STORE} (%s, %s, %s, '{{}}')", ["api", status, moment])
    alerting.check("api", "healthy", "down")
    assert alerting.value("select count(*) from service_health_checks") == 5
    assert alerting.status("api") == "down"


@pytest.mark.parametrize(
    "details", ["[1]", '"x"', '"expectation"', "7", "null", "true", '["location", "failed"]']
)
def test_details_from_before_they_had_to_be_an_object_do_no_harm(
    alerting: Alerting, details: str
) -> None:
    alerting.connection.execute(
        "alter table service_health_checks"
        " drop constraint service_health_checks_probe_details_small_object"
    )
    alerting.at_once("api")
    for status in ("healthy", "down", "down"):
        values = ["api", status, alerting.moment(), details]
        alerting.connection.execute(f"{STORE} (%s, %s, %s, %s)", values)
    event = alerting.value("select details from alert_events where status = 'active'")
    assert (event["reason"], event["location"]) == ("no reason given", None)


def test_each_of_thousands_of_checks_of_a_service_in_one_statement_counts(
    alerting: Alerting,
) -> None:
    """In a session that has kept its plans since it stored checks one by one."""
    for number in range(8):
        alerting.check(f"other-{number}", "down")
    only_down = {"degraded_enabled": False, "flapping_changes": 0}
    alerting.service("api", {"down_open_checks": 100, "down_close_checks": 50, **only_down})
    alerting.connection.execute(
        "insert into service_health_checks (service_name, status, checked_at)"
        " select 'api', case when n / 100 %% 2 = 1 then 'down' else 'healthy' end,"
        " %s + n * interval '1 millisecond' from generate_series(0, 9999) as n order by random()",
        [alerting.moment() - timedelta(hours=1)],
    )
    types = [event[0] for event in alerting.events("api")]
    assert types == ["service_down", "recovery"] * 49 + ["service_down"]
