"""`pulsebase alerts`: see what is wrong, say that one is on it, and close it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tests.acceptance.alerts_by_hand import alerting, fail, run, told
from tests.acceptance.cli_process import pulsebase, pulsebase_on_terminal


def test_the_list_says_since_when_why_and_who_is_on_it(database: str) -> None:
    fail(database, "shop", reason="connection refused")
    assert run(database, "ack", "shop", "--note", "looking into it").code == 0
    ended = run(database, "list")
    heading, line = ended.out.splitlines()
    assert heading.split() == [
        "SERVICE", "ALERT", "SINCE", "FOR", "REASON", "ACKNOWLEDGED", "BY", "QUIET", "ID",
    ]  # fmt: skip
    assert line.startswith("shop     service_down")
    assert "connection refused" in line
    assert "anna: looking into it" in line


def test_the_list_says_what_keeps_channels_quiet(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        known.at_once("gateway")
        known.at_once("child", depends_on=("gateway",))
        known.check("gateway", "down")
        known.check("child", "down")
        known.silence("gate*", kind="maintenance")
    events = {each["service_name"]: each for each in told(database, "list")["alert_events"]}
    assert events["child"]["held_by"] == ["parent"]
    assert [each["kind"] for each in events["gateway"]["silences"]] == ["maintenance"]
    assert "a parent is not well" in run(database, "list", "child").out
    assert "in maintenance by a test until it is lifted" in run(database, "list", "gateway").out


def test_all_alerts_of_a_service_say_how_they_ended(database: str) -> None:
    [identifier] = fail(database, "shop")
    assert run(database, "resolve", identifier).code == 0
    fail(database, "shop")
    lines = run(database, "list", "shop", "--all").out.splitlines()[1:]
    assert "active" in lines[0]
    assert "resolved by anna" in lines[1]
    newest = run(database, "list", "shop", "--all", "--limit", "1", "--json").out
    assert [each["status"] for each in json.loads(newest)["alert_events"]] == ["active"]


def test_an_alert_is_shown_with_its_acts_and_what_channels_were_told(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        known.channel("lead", group_window_seconds=3600)
        [identifier] = fail(database, "shop")
        [message] = known.claim("ops")
        known.finish(message, "failed", error="503 from the\nchat room")
    run(database, "ack", identifier, "--note", "mine")
    [alert] = told(database, "show", identifier)["alert_events"]
    deliveries = {each["channel"]: each for each in alert["deliveries"]}
    assert [act["act"] for act in alert["acts"]] == ["acknowledge"]
    assert alert["acknowledgement"]["note"] == "mine"
    assert deliveries["lead"]["status"] == "waiting"
    assert deliveries["ops"]["status"] == "pending"
    assert [each["outcome"] for each in deliveries["ops"]["attempts"]] == ["failed"]
    shown = run(database, "show", "shop").out
    assert "reason        connection refused" in shown
    assert "acknowledged  by anna: mine" in shown
    assert "503 from the chat room; again at " in shown


def test_an_alert_that_waits_for_a_parent_says_for_which(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        known.at_once("network")
        known.at_once("gateway", depends_on=("network",))
        known.at_once("child", depends_on=("gateway", "calm"))
        known.check("network", "down")
        known.check("gateway", "degraded")
        known.check("child", "down")
    [alert] = told(database, "show", "child")["alert_events"]
    assert alert["ailing_parents"] == {"gateway": "degraded", "network": "down"}
    shown = run(database, "show", "child").out
    assert "depends on    gateway, which is degraded, network, which is down\n" in shown


def test_an_alert_that_nobody_hears_of_says_so(database: str) -> None:
    fail(database, "shop")
    ended = run(database, "show", "shop")
    assert ended.code == 0
    assert ended.err == "no channel was told, or is to be; see: pulsebase alerts channels\n"


def test_an_acknowledgement_has_an_end_and_can_be_withdrawn(database: str) -> None:
    fail(database, "shop")
    ended = run(database, "ack", "shop", "--for", "2h", "--by", "bob")
    assert ended.out.startswith("shop: service_down acknowledged by bob until ")
    [alert] = told(database, "list")["alert_events"]
    until = datetime.fromisoformat(alert["acknowledgement"]["until"])
    assert timedelta(hours=1, minutes=59) < until - datetime.now(UTC) <= timedelta(hours=2)
    ended = run(database, "unack", "shop")
    assert ended.out == "shop: service_down is no longer acknowledged by bob\n"
    again = run(database, "unack", "shop")
    assert (again.code, again.out) == (0, "")
    assert again.err == "shop: service_down was not acknowledged\n"
    acts = told(database, "acts", "shop")["alert_acts"]
    assert [(act["act"], act["actor"]) for act in acts] == [
        ("unacknowledge", "anna"),
        ("acknowledge", "bob"),
    ]


def test_without_a_name_it_is_whoever_is_logged_in(database: str) -> None:
    fail(database, "shop")
    environment = {"PULSEBASE_ACTOR": "", "LOGNAME": "carol"}
    assert "acknowledged by carol" in run(database, "ack", "shop", env=environment).out


def test_an_alert_is_resolved_once_and_kept_with_who_did_it(database: str) -> None:
    [identifier] = fail(database, "shop")
    first = run(database, "resolve", identifier, "--note", "a test of ours")
    assert first.out.startswith("shop: service_down resolved at ")
    assert first.out.endswith("Z by anna\n")
    again = run(database, "resolve", identifier, "--by", "bob")
    assert (again.code, again.out) == (0, "")
    assert "was resolved already at " in again.err
    acts = told(database, "acts", identifier)["alert_acts"]
    assert [(act["act"], act["actor"], act["note"]) for act in acts] == [
        ("resolve", "anna", "a test of ours")
    ]
    assert "by anna: a test of ours" in run(database, "show", identifier).out


def test_what_cannot_be_meant_is_one_line_that_says_what_to_do(database: str) -> None:
    [identifier] = fail(database, "shop")
    nobody = str(uuid4())
    expected = {
        ("ack", "shpo"): "error: 'shpo' has no active alert; did you mean 'shop'?\n",
        ("ack", "nothing like it"): (
            "error: 'nothing like it' has no active alert; see: pulsebase alerts list\n"
        ),
        ("show", nobody): (
            f"error: there is no alert with the id {nobody}; see: pulsebase alerts list\n"
        ),
        ("resolve", nobody): (
            f"error: there is no alert with the id {nobody}; see: pulsebase alerts list\n"
        ),
    }
    for arguments, line in expected.items():
        ended = run(database, *arguments)
        assert (ended.code, ended.out, ended.err) == (1, "", line)
    run(database, "resolve", identifier)
    ended = run(database, "ack", identifier)
    assert (ended.code, ended.out) == (1, "")
    assert "shop: service_down was resolved at " in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--for", "2"], "must be a duration"),
        (["--for", "0s"], "--for must be above zero"),
        (["--until", "2026-01-01T00:00Z"], "is over; it is "),
        (["--until", "tomorrow"], "'tomorrow' is no time: write it as 20"),
        (["--until", "2126-01-01T00:00"], "has no time zone"),
        (["--until", "2126-01-01T00:00Z", "--for", "1h"], "exclude each other"),
        (["--by", ""], "by must be 1 to 100 characters"),
        (["--note", "x" * 2001], "at most 2000 characters"),
    ],
)
def test_a_wrong_end_or_name_is_refused_and_nothing_is_written(
    database: str, arguments: list[str], words: str
) -> None:
    fail(database, "shop")
    ended = run(database, "ack", "shop", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert told(database, "acts")["alert_acts"] == []


def test_where_nothing_is_wrong_a_sentence_says_so(database: str) -> None:
    assert run(database, "list").err == "no active alert events\n"
    assert run(database, "list", "shop").err == "no active alert events of shop\n"
    assert run(database, "acts").err == "nobody has done anything about alerts\n"
    assert run(database, "acts", "shop").err == "nobody has done anything about shop\n"
    assert told(database, "list") == {"alert_events": []}


def test_acts_are_the_newest_first_and_say_what_they_are_about(database: str) -> None:
    fail(database, "shop")
    run(database, "ack", "shop", "--note", "mine")
    run(database, "silence", "db-*", "--for", "1h")
    lines = run(database, "acts").out.splitlines()
    assert [line.split()[3:5] for line in lines[1:]] == [
        ["silence", "db-*"],
        ["acknowledge", "shop"],
    ]
    ended = run(database, "acts", "--limit", "1")
    assert len(ended.out.splitlines()) == 2
    assert ended.err == "only the newest 1 are shown; --limit shows more\n"


def test_a_narrow_terminal_shows_half_a_reason_rather_than_none(database: str) -> None:
    fail(database, "shop", reason="expected status 2xx, got 503 " + "of the load balancer " * 9)
    run(database, "ack", "shop")
    ended = pulsebase_on_terminal("alerts", "list", columns=80, env={"DATABASE_URL": database})
    assert "expected status 2xx" in ended.out
    assert "…" in ended.out
    assert "anna" in ended.out


def test_hostile_texts_cannot_harm_a_terminal(database: str) -> None:
    fail(database, "shop", reason="\x1b[2Jgone\u202e")
    run(database, "ack", "shop", "--note", "\x1b]0;owned\x07")
    for arguments in (("list",), ("show", "shop"), ("acts",)):
        everything = run(database, *arguments).everything
        assert "\x1b" not in everything
        assert "\u202e" not in everything
    document = pulsebase("alerts", "show", "shop", "--json", "--url", database).out
    assert json.loads(document)["alert_events"][0]["acknowledgement"]["note"] == "\x1b]0;owned\x07"


def test_events_that_anybody_may_have_written_are_shown(database: str) -> None:
    """Details are whatever object somebody put there."""
    odd = [
        '{"started_at": 7, "reason": {}, "first_failed": [], "policy": true, "actor": 1}',
        '{"started_at": "infinity", "first_failed": {"latency_ms": "x", "checked_at": "-"}}',
        '{"reason": "a\\nb", "last_failed": "text", "location": ["fra"], "resolved_by": []}',
    ]
    with alerting(database) as known:
        for number, details in enumerate(odd):
            known.connection.execute(
                "insert into alert_events (service_name, alert_type, status, details)"
                " values (%s, 'service_down', 'active', %s)",
                [f"odd-{number}", details],
            )
    ended = run(database, "list")
    assert (ended.code, ended.out.count("service_down")) == (0, len(odd))
    for number in range(len(odd)):
        assert run(database, "show", f"odd-{number}").code == 0
