from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase import AlertEventModel, HealthCheckModel, NewHealthCheck, connect
from tests.acceptance.cli_process import pulsebase

if TYPE_CHECKING:
    from collections.abc import Sequence

MINUTE = timedelta(minutes=1)


def store(
    database: str, service: str, statuses: Sequence[str], *, apart: timedelta = MINUTE
) -> None:
    """Checks of one service, the last one now."""
    now = datetime.now(UTC)
    checks = [
        NewHealthCheck(
            service_name=service,
            status=status,  # type: ignore[arg-type]  # texts in the tests
            latency_ms=number,
            checked_at=now - apart * (len(statuses) - 1 - number),
        )
        for number, status in enumerate(statuses)
    ]
    with connect(database) as connection:
        HealthCheckModel.create_many(connection, checks=checks)


def test_record_prints_the_id_of_the_check_that_is_stored(database: str) -> None:
    ended = pulsebase("record", "openai", "healthy", "--latency-ms", "182", "--url", database)
    assert (ended.code, ended.err) == (0, "")
    with connect(database) as connection:
        check = HealthCheckModel.find_by_id(connection, ended.out.strip())
    assert check is not None
    assert (check.service_name, check.status, check.latency_ms) == ("openai", "healthy", 182)


def test_record_reads_details_from_standard_input(database: str) -> None:
    ended = pulsebase(
        "record", "openai", "down", "--details", "-", "--json",
        env={"DATABASE_URL": database}, given='\ufeff{"región": "Málaga"}'.encode(),
    )  # fmt: skip
    assert json.loads(ended.out)["probe_details"] == {"región": "Málaga"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b'{"a": 1, "a": 2}', "the name 'a' comes twice"),
        (b'{"a": ', "line 1, column 7"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": NaN}', "finite numbers"),
        (b"[1]", "a JSON object"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a": "' + b"x" * 70_000 + b'"}', "at most 65536 bytes"),
        (b" " * 2_000_000, "more than 1 MiB"),
    ],
)
def test_record_refuses_details_that_would_not_be_stored_as_they_are(
    given: bytes, reason: str
) -> None:
    ended = pulsebase("record", "a", "down", "--details", "-", "--url", UNREACHABLE, given=given)
    assert ended.code == 2
    assert reason in ended.err


UNREACHABLE = "postgresql://127.0.0.1:1/x"


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["healthy"], 0),
        (["healthy", "degraded"], 1),
        (["down", "degraded", "healthy"], 2),
    ],
)
def test_status_exits_by_the_worst(database: str, statuses: list[str], code: int) -> None:
    for status in statuses:
        store(database, f"service {status}", [status])
    ended = pulsebase("status", "--url", database)
    assert ended.code == code
    assert ended.err == ""
    assert [line.split()[2] for line in ended.out.splitlines()[1:]] == sorted(statuses)


def test_status_of_no_services_is_unknown(database: str) -> None:
    ended = pulsebase("status", "--url", database)
    assert (ended.code, ended.out) == (3, "")
    assert "no service has been checked yet" in ended.err


def test_status_shows_a_stale_service_as_unknown(database: str) -> None:
    store(database, "quiet", ["healthy", "healthy"], apart=timedelta(days=20))
    store(database, "steady", ["healthy"])
    assert pulsebase("status", "--url", database).code == 0
    ended = pulsebase("status", "--stale-after", "1ms", "--url", database)
    assert ended.code == 3
    assert ended.out.count("unknown (was healthy)") == 2


def test_a_service_that_is_down_outranks_one_that_is_unknown(database: str) -> None:
    store(database, "broken", ["down"])
    assert pulsebase("status", "broken", "never seen", "--url", database).code == 2


def test_status_tells_since_when_and_the_active_alert(database: str) -> None:
    store(database, "flapping", ["down", "healthy", "down", "down", "down"])
    store(database, "long", ["healthy"] * 150, apart=timedelta(seconds=1))
    with connect(database) as connection:
        AlertEventModel.create(connection, service_name="flapping", alert_type="service_down")
    ended = pulsebase("status", "--json", "--url", database)
    document = json.loads(ended.out)
    flapping, long = document["services"]
    since = datetime.fromisoformat(flapping["since"])
    assert timedelta(0) <= datetime.now(UTC) - since - 2 * MINUTE < MINUTE
    assert [event["alert_type"] for event in flapping["active_alerts"]] == ["service_down"]
    assert long["since"] is None, "the last 100 checks do not tell it"
    assert document["status"] == "down"


def test_history_crosses_the_row_cap_newest_first(database: str) -> None:
    store(database, "busy", ["healthy"] * 2500, apart=timedelta(seconds=1))
    ended = pulsebase("history", "busy", "--all", "--json", "--url", database)
    checks = json.loads(ended.out)["checks"]
    assert [check["latency_ms"] for check in checks] == list(range(2499, -1, -1))


def test_history_shows_a_hundred_and_says_that_there_are_more(database: str) -> None:
    store(database, "busy", ["healthy"] * 101, apart=timedelta(seconds=1))
    ended = pulsebase("history", "busy", "--url", database)
    assert len(ended.out.splitlines()) == 101
    assert "only the newest 100 are shown" in ended.err


def test_history_narrows_by_time_and_status(database: str) -> None:
    store(database, "flapping", ["down", "healthy", "down", "healthy"])
    narrowed = ("--status", "down", "--since", "2m30s", "--until", "30s")
    ended = pulsebase("history", "flapping", *narrowed, "--json", "--url", database)
    assert [check["latency_ms"] for check in json.loads(ended.out)["checks"]] == [2]


def test_history_of_a_misspelt_service_names_the_one_that_was_meant(database: str) -> None:
    store(database, "openai", ["healthy"])
    ended = pulsebase("history", "opnai", "--url", database)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "error: no check of 'opnai' is stored; did you mean 'openai'?\n"


def test_prune_deletes_old_rows_and_says_how_many(database: str) -> None:
    store(database, "old", ["healthy"] * 3)
    with connect(database) as connection:
        event = AlertEventModel.create(connection, service_name="old", alert_type="recovery")
        AlertEventModel.resolve(connection, event.id)
        AlertEventModel.create(connection, service_name="old", alert_type="service_down")
    kept = pulsebase("prune", "--json", "--url", database)
    assert json.loads(kept.out)["health_checks_deleted"] == 0
    ended = pulsebase("prune", "--older-than", "1ms", "--url", database)
    assert ended.out == (
        "deleted 3 checks, 1 resolved alert event and 1 row of messages, silences and acts"
        " older than 1ms\n"
    )
    with connect(database) as connection:
        assert len(AlertEventModel.find_active(connection)) == 1


def test_alerts_are_listed_and_resolved_once(database: str) -> None:
    with connect(database) as connection:
        event = AlertEventModel.create(connection, service_name="x", alert_type="service_down")
    listed = pulsebase("alerts", "list", "--json", "--url", database)
    assert [each["id"] for each in json.loads(listed.out)["alert_events"]] == [str(event.id)]
    first = pulsebase("alerts", "resolve", str(event.id), "--json", "--url", database)
    second = pulsebase("alerts", "resolve", str(event.id), "--json", "--url", database)
    assert first.out == second.out
    assert pulsebase("alerts", "list", "--url", database).err == "no active alert events\n"
    assert "resolved" in pulsebase("alerts", "list", "x", "--all", "--url", database).out


def test_shared_options_are_valid_before_and_after_the_command(database: str) -> None:
    store(database, "a", ["healthy"])
    before = pulsebase("--url", database, "--json", "status")
    assert json.loads(before.out)["status"] == "healthy"
    later_wins = pulsebase("--url", UNREACHABLE, "alerts", "--url", database, "list", "--json")
    assert later_wins.code == 0
