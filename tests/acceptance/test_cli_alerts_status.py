"""`pulsebase status` about alerting: what is old, who is on it, what is quiet, what flaps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase import connect
from pulsebase.migrations import Migrator, packaged, read_folder
from tests.acceptance.alerts_by_hand import alerting, fail, run
from tests.acceptance.cli_process import pulsebase

if TYPE_CHECKING:
    from pathlib import Path


def services(url: str, *arguments: str) -> dict[str, dict[str, Any]]:
    """The services of the JSON document by their names."""
    ended = pulsebase("status", *arguments, "--json", "--url", url)
    assert ended.err == ""
    return {each["service_name"]: each for each in json.loads(ended.out)["services"]}


def checked(url: str, name: str, interval_seconds: float | None, ago: str) -> None:
    """A service that a monitor has made known, with one healthy check so long ago."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "insert into monitored_services (service_name, interval_seconds) values (%s, %s)",
            [name, interval_seconds],
        )
        connection.execute(
            "insert into service_health_checks (service_name, status, checked_at)"
            " values (%s, 'healthy', now() - %s::interval)",
            [name, ago],
        )


@pytest.mark.parametrize(
    ("interval_seconds", "ago", "status"),
    [
        (60, "140 seconds", "healthy"),
        (60, "160 seconds", "unknown"),
        (3600, "2 hours", "healthy"),
        (0.5, "30 seconds", "healthy"),
        (0.5, "70 seconds", "unknown"),
        (None, "4 minutes", "healthy"),
        (None, "6 minutes", "unknown"),
    ],
)
def test_a_service_is_old_by_its_own_interval(
    database: str, interval_seconds: float | None, ago: str, status: str
) -> None:
    checked(database, "watched", interval_seconds, ago)
    assert services(database)["watched"]["status"] == status


def test_who_asks_for_an_age_gets_it_for_every_service(database: str) -> None:
    checked(database, "watched", 3600, "10 minutes")
    assert services(database, "--stale-after", "5m")["watched"]["status"] == "unknown"
    assert services(database, "--stale-after", "1h")["watched"]["stale_after_seconds"] == 3600
    refused = pulsebase("status", "--stale-after", "0s", "--url", database)
    assert (refused.code, refused.out) == (3, "")


def test_status_says_who_is_on_it(database: str) -> None:
    fail(database, "shop", "search")
    run(database, "ack", "shop", "--note", "mine")
    found = services(database)
    assert [act["actor"] for act in found["shop"]["acknowledgements"]] == ["anna"]
    assert found["search"]["acknowledgements"] == []
    lines = pulsebase("status", "--stale-after", "30d", "--url", database).out.splitlines()
    assert ["acknowledged by anna" in line for line in lines] == [False, False, True]


def test_status_says_what_is_quiet_with_an_alert_and_without(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        known.at_once("gateway", "calm")
        known.at_once("child", depends_on=("gateway",))
        known.check("gateway", "down")
        known.check("child", "down")
        known.check("calm", "healthy")
        known.silence("calm", kind="maintenance")
    found = services(database)
    assert found["child"]["held_by"] == ["parent"]
    assert [silence["kind"] for silence in found["calm"]["silences"]] == ["maintenance"]
    assert found["gateway"]["silences"] == []
    lines = pulsebase("status", "--url", database).out.splitlines()
    table = {line.split()[0]: line for line in lines}
    assert table["child"].endswith("a parent is not well")
    assert table["calm"].endswith("in maintenance by a test until it is lifted")


def test_status_says_that_a_service_flaps(database: str) -> None:
    with alerting(database) as known:
        known.at_once("nervous", flapping_changes=2)
        known.check("nervous", "down", "healthy", "down", "healthy")
    assert services(database)["nervous"]["flapping_since"] is not None
    assert "flapping since " in pulsebase("status", "--url", database).out


def test_status_knows_since_when_a_service_fails_beyond_its_last_checks(database: str) -> None:
    with alerting(database) as known:
        known.check("shop", *["down"] * 120)
        began = known.value("select min(checked_at) from service_health_checks")
    found = services(database, "--stale-after", "30d")
    assert found["shop"]["since"] == began.isoformat()


def test_status_serves_a_database_of_an_earlier_version(
    empty_database: str, tmp_path: Path
) -> None:
    """Migrated before there was alerting: then nothing is said of it."""
    for file in packaged().files:
        if file.name < "015":
            (tmp_path / file.name).write_text(file.text, encoding="utf-8")
    with connect(empty_database) as connection:
        Migrator(connection, read_folder(tmp_path)).apply()
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            "insert into service_health_checks (service_name, status) values ('a', 'down')"
        )
        connection.execute(
            "insert into alert_events (service_name, alert_type, status)"
            " values ('a', 'service_down', 'active')"
        )
    found = services(empty_database)["a"]
    assert (found["status"], len(found["active_alerts"])) == ("down", 1)
    listed = run(empty_database, "list")
    assert listed.code == 1
    assert "pulsebase db migrate" in listed.err
