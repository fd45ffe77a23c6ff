"""`pulsebase doctor` about alerting: that alerts open, and that channels are told."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg

from pulsebase import MonitorModel, connect
from tests.acceptance.alerts_by_hand import alerting, fail
from tests.acceptance.cli_process import Ended, pulsebase

if TYPE_CHECKING:
    from tests.support.postgrest_server import PostgrestServer

Finding = dict[str, str]


def examined(url: str) -> dict[str, list[Finding]]:
    """What the doctor found about alerting, by topic."""
    return _topics(pulsebase("doctor", "--json", "--url", url))


def _topics(ended: Ended) -> dict[str, list[Finding]]:
    topics: dict[str, list[Finding]] = {"alerts": [], "channels": [], "deliveries": []}
    for finding in json.loads(ended.out)["findings"]:
        topics.setdefault(finding["topic"], []).append(finding)
    return topics


def test_alerting_in_order_has_no_warnings(database: str) -> None:
    with connect(database) as connection:
        heartbeat = timedelta(seconds=5)
        MonitorModel.beat(connection, id=uuid4(), heartbeat_interval=heartbeat, version="1")
    with alerting(database) as known:
        known.channel("mail")
        known.channel("ops")
    topics = examined(database)
    assert [each["text"] for each in topics["alerts"]] == ["new checks are evaluated"]
    assert [each["text"] for each in topics["channels"]] == ["mail and ops: ready"]
    assert topics["deliveries"] == []


def test_a_trigger_that_is_disabled_or_missing_is_a_problem_that_can_be_mended(
    database: str,
) -> None:
    """What the remedy says is executed, and mends it."""
    with psycopg.connect(database, autocommit=True) as connection:
        for harm in (
            "alter table service_health_checks disable trigger evaluate_new_checks",
            "drop trigger evaluate_new_checks on service_health_checks",
        ):
            connection.execute(harm.encode())
            [finding] = examined(database)["alerts"]
            assert finding["level"] == "problem"
            assert "checks are stored, and no alert opens" in finding["text"]
            connection.execute(finding["remedy"].removeprefix("execute: ").encode())
            [mended] = examined(database)["alerts"]
            assert mended["level"] == "ok"
    fail(database, "shop")


def test_a_channel_that_refused_is_a_problem_and_one_disabled_by_hand_a_warning(
    database: str,
) -> None:
    with alerting(database) as known:
        known.channel("mail")
        known.channel("ops")
        fail(database, "a", "b", "c")
        for message in known.claim("mail"):
            known.finish(message, "refused", error="535 authentication failed")
    pulsebase("alerts", "disable", "ops", "--by", "anna", "--note", "moving", "--url", database)
    topics = examined(database)
    mail, ops = topics["channels"]
    assert (mail["level"], ops["level"]) == ("problem", "warning")
    assert "the last time: 535 authentication failed" in mail["text"]
    assert mail["remedy"] == "mend it, then run: pulsebase alerts enable mail"
    assert "moving; 3 for it wait" in ops["text"]
    [dead] = topics["deliveries"]
    assert dead["text"].startswith("3 messages to mail are dead; the last answer: 535")
    assert dead["remedy"] == "run: pulsebase alerts replay --all-dead"


def test_what_is_due_for_an_hour_says_that_nobody_delivers(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        known.silence("hushed")
        fail(database, "shop", "hushed")
        known.pass_time(minutes=90)
    [finding] = examined(database)["deliveries"]
    assert finding["level"] == "problem"
    assert finding["text"] == "1 delivery due for 1h 30m: nobody delivers"
    assert finding["remedy"] == "start: pulsebase run, or let cron run: pulsebase deliver"


def test_what_is_tried_in_vain_for_an_hour_says_why(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        fail(database, "shop")
        [message] = known.claim("ops")
        known.finish(message, "failed", error="connection refused")
        known.pass_time(hours=2)
    [finding] = examined(database)["deliveries"]
    assert finding["text"] == "1 message tried for 2h 0m: connection refused"
    assert finding["remedy"] == "see: pulsebase alerts deliveries --status pending"


def test_channels_without_anybody_who_delivers_are_a_warning(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
    [finding] = examined(database)["deliveries"]
    assert finding["level"] == "warning"
    assert "maybe nobody delivers" in finding["text"]


def test_without_channels_it_is_said_and_no_fault(database: str) -> None:
    topics = examined(database)
    assert [each["level"] for each in topics["channels"]] == ["ok"]
    assert "told to nobody" in topics["channels"][0]["text"]
    assert topics["deliveries"] == []


def test_the_doctor_looks_at_channels_over_https(postgrest: PostgrestServer) -> None:
    environment = {"SUPABASE_URL": postgrest.url, "SUPABASE_SECRET_KEY": postgrest.service_key}
    topics = _topics(pulsebase("doctor", "--json", env=environment))
    assert topics["channels"]
    assert topics["alerts"] == []


def test_a_database_that_is_not_migrated_has_no_findings_about_alerting(
    empty_database: str,
) -> None:
    topics = examined(empty_database)
    assert (topics["alerts"], topics["channels"], topics["deliveries"]) == ([], [], [])
