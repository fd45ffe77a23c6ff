"""`pulsebase alerts deliveries`, `replay`, `channels`, `enable` and `disable`."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.acceptance.alerts_by_hand import alerting, fail, run, told

REFUSED = "535 authentication failed: the password is wrong"


def statuses(url: str, *arguments: str) -> list[str]:
    """The statuses of the messages, newest first."""
    return [each["status"] for each in told(url, "deliveries", *arguments)["messages"]]


def refused(url: str, *services: str) -> None:
    """A channel `mail` that refuses one message for each of these services."""
    with alerting(url) as known:
        known.channel("mail")
        fail(url, *services)
        for message in known.claim("mail"):
            known.finish(message, "refused", error=REFUSED)


def test_deliveries_say_what_waits_and_why_and_what_was_sent(database: str) -> None:
    with alerting(database) as known:
        for name in ("arrived", "later", "quiet"):
            known.channel(name)
        known.route("arrived")
        known.route("quiet", matcher='{"services": ["hushed"]}')
        known.route("later", after_seconds=1800)
        known.silence("hushed")
        fail(database, "shop", "hushed")
        [message] = known.claim("arrived")
        known.finish(message)
    document = told(database, "deliveries")
    waiting = {(each["channel"], each["service_name"]): each for each in document["waiting"]}
    assert waiting["quiet", "hushed"]["waits_for"].startswith("silenced")
    assert waiting["later", "shop"]["waits_for"].startswith("an escalation, due at 20")
    assert [each["channel"] for each in document["messages"]] == ["arrived"]
    lines = run(database, "deliveries").out.splitlines()
    assert [line.split()[0] for line in lines[1:]].count("waiting") == len(waiting)
    assert lines[-1].startswith("delivered  arrived  shop")


def test_deliveries_narrow_by_status_and_channel(database: str) -> None:
    with alerting(database) as known:
        for name in ("a", "b", "c", "d"):
            known.channel(name)
        fail(database, "shop")
        for name, outcome in (("a", "delivered"), ("b", "failed"), ("c", "refused")):
            [message] = known.claim(name)
            known.finish(message, outcome, error=None if outcome == "delivered" else "no")
    assert statuses(database, "--status", "delivered") == ["delivered"]
    assert statuses(database, "--status", "pending") == ["pending"]
    assert statuses(database, "--status", "dead") == ["dead"]
    assert statuses(database, "--channel", "b") == ["pending"]
    waiting = told(database, "deliveries", "--status", "waiting")
    assert [each["channel"] for each in waiting["waiting"]] == ["d"]
    assert waiting["messages"] == []
    assert "no; again at 20" in run(database, "deliveries", "--channel", "b").out
    ended = run(database, "deliveries", "--limit", "1")
    assert "only 1 are shown; --limit shows more" in ended.err
    assert "send dead messages again with: pulsebase alerts replay ID" in ended.err


def test_deliveries_that_are_late_send_people_to_the_doctor(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        fail(database, "shop")
        known.pass_time(minutes=6)
    ended = run(database, "deliveries")
    assert "goes out with the next round of delivery" in ended.out
    assert ended.err == (
        "some of it has been due for minutes; find out why with: pulsebase doctor\n"
    )


def test_where_nothing_is_owed_a_sentence_says_so(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
    expected = {
        (): "nothing is owed, and nothing was sent\n",
        ("--status", "waiting"): "nothing that is owed waits\n",
        ("--status", "pending"): "nothing is being sent\n",
        ("--status", "delivered", "--channel", "ops"): "nothing was delivered to ops yet\n",
        ("--status", "dead"): "no message is dead\n",
    }
    for arguments, line in expected.items():
        ended = run(database, "deliveries", *arguments)
        assert (ended.code, ended.out, ended.err) == (0, "", line)
    unknown = run(database, "deliveries", "--channel", "osp")
    assert unknown.err == "error: there is no channel 'osp'; see: pulsebase alerts channels\n"


def test_dead_messages_are_sent_again_under_their_ids(database: str) -> None:
    refused(database, "a", "b")
    dead = told(database, "deliveries", "--status", "dead")["messages"]
    assert [each["last_error"] for each in dead] == [REFUSED, REFUSED]
    first, second = (each["id"] for each in dead)
    ended = run(database, "replay", first, "--note", "the password is right now")
    assert ended.out.startswith(f"{first} to mail is pending again: ")
    assert statuses(database, "--status", "dead") == ["dead"]
    replayed = told(database, "replay", "--all-dead", "--channel", "mail")["messages"]
    assert [(each["id"], each["status"]) for each in replayed] == [(second, "pending")]
    assert run(database, "replay", "--all-dead").err == "no message is dead\n"
    acts = told(database, "acts", first)["alert_acts"]
    assert [(act["act"], act["note"]) for act in acts] == [("replay", "the password is right now")]


def test_what_cannot_be_sent_again_says_why(database: str) -> None:
    refused(database, "a")
    [dead] = told(database, "deliveries", "--status", "dead")["messages"]
    nobody = str(uuid4())
    unknown = run(database, "replay", nobody)
    assert unknown.err == (
        f"error: there is no message {nobody}; see: pulsebase alerts deliveries --status dead\n"
    )
    run(database, "replay", dead["id"])
    again = run(database, "replay", dead["id"])
    assert again.err == (
        f"error: the message {dead['id']} is pending; only dead ones are sent again\n"
    )
    usage = [run(database, "replay", *each) for each in ((), (dead["id"], "--all-dead"))]
    assert [ended.code for ended in usage] == [2, 2]
    assert "give IDs of dead messages, or --all-dead" in usage[0].err
    only_channel = run(database, "replay", dead["id"], "--channel", "mail")
    assert only_channel.code == 2


def test_a_channel_that_refuses_is_shown_with_why_and_what_mends_it(database: str) -> None:
    refused(database, "a", "b", "c")
    [channel] = told(database, "channels")["alert_channels"]
    assert (channel["state"], channel["dead_count"]) == ("disabled", 3)
    ended = run(database, "channels")
    assert f"the last time: {REFUSED}" in ended.out
    assert ended.err == "once it is mended, run: pulsebase alerts enable mail\n"
    waits = run(database, "replay", "--all-dead")
    assert waits.out.count("is pending again") == 3
    assert waits.err.endswith("so they wait; run: pulsebase alerts enable mail\n")
    enabled = run(database, "enable", "mail")
    assert enabled.out == "mail is enabled; what it is owed goes out\n"
    assert run(database, "enable", "mail").err == "mail was not disabled\n"
    with alerting(database) as known:
        assert len(known.claim("mail")) == 3


def test_a_disabled_channel_waits_and_is_told_afterwards(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        ended = run(database, "disable", "ops", "--note", "moving offices")
        assert ended.out == ("ops is disabled; enable it with: pulsebase alerts enable ops\n")
        fail(database, "shop")
        assert known.claim("ops") == []
        [waiting] = told(database, "deliveries")["waiting"]
        assert waiting["waits_for"] == "the channel is disabled"
        again = run(database, "disable", "ops")
        assert (again.code, again.out) == (0, "")
        assert again.err.endswith("Z: moving offices\n")
        run(database, "enable", "ops")
        assert len(known.claim("ops")) == 1
    acts: list[dict[str, Any]] = told(database, "acts")["alert_acts"]
    assert [act["act"] for act in acts] == ["enable_channel", "disable_channel"]


def test_the_channels_say_when_something_last_arrived(database: str) -> None:
    with alerting(database) as known:
        known.channel("told")
        known.channel("untold")
        fail(database, "shop")
        [message] = known.claim("told")
        known.finish(message)
    channels = {each["name"]: each for each in told(database, "channels")["alert_channels"]}
    assert channels["told"]["last_delivered_at"] is not None
    assert channels["untold"]["last_delivered_at"] is None
    assert channels["untold"]["waiting_count"] == 1
    assert "never" in run(database, "channels").out


def test_without_channels_it_says_where_to_write_one(database: str) -> None:
    ended = run(database, "channels")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err.startswith("there are no channels; write [[channels]] into")
    unknown = run(database, "enable", "ops")
    assert unknown.err == "error: there is no channel 'ops'; see: pulsebase alerts channels\n"
