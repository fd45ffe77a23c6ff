"""`pulsebase alerts silence`, `maintenance`, `silences` and `lift`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.acceptance.alerts_by_hand import alerting, fail, run, told
from tests.acceptance.cli_process import pulsebase_on_terminal

HOUR = timedelta(hours=1)
SOON = timedelta(minutes=1)


def made(url: str, *arguments: str) -> dict[str, Any]:
    """The silence that a command makes."""
    document = told(url, *arguments)
    assert isinstance(document, dict)
    return document


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_a_silence_prints_its_id_and_says_what_it_does(database: str) -> None:
    ended = run(database, "silence", "db-*", "--for", "2h", "--note", "release 2.4")
    assert (ended.code, ended.out) == (0, f"{UUID(ended.out.strip())}\n")
    what, how = ended.err.splitlines()
    assert what.startswith("db-*: silenced from now until 20")
    assert how == f"lift it with: pulsebase alerts lift {ended.out.strip()}"
    [silence] = told(database, "silences")["alert_silences"]
    assert silence["matcher"] == {"services": ["db-*"]}
    assert (silence["created_by"], silence["note"]) == ("anna", "release 2.4")
    assert silence["is_active"]
    assert at(silence["ends_at"]) - at(silence["starts_at"]) == 2 * HOUR


def test_a_silence_holds_messages_back_until_it_is_lifted(database: str) -> None:
    with alerting(database) as known:
        known.channel("ops")
        made(database, "silence", "shop", "--name", "quiet")
        fail(database, "shop")
        assert known.claim("ops") == []
        assert "silenced" in run(database, "deliveries").out
        ended = run(database, "lift", "quiet", "--by", "bob")
        assert ended.out.startswith("the silence 'quiet' of shop lifted at ")
        assert ended.out.endswith("Z by bob\n")
        assert [message["channel"] for message in known.claim("ops")] == ["ops"]
    acts = told(database, "acts")["alert_acts"]
    assert [(act["act"], act["actor"]) for act in acts] == [("lift", "bob"), ("silence", "anna")]


def test_labels_and_patterns_narrow_one_another(database: str) -> None:
    silence = made(
        database, "silence", "a", "b*", "--label", "team=ai", "--label", "tier=*", "--for", "1h"
    )
    assert silence["matcher"] == {"services": ["a", "b*"], "labels": {"team": "ai", "tier": "*"}}
    everything = made(database, "silence", "*", "--for", "1h")
    assert everything["matcher"] == {"services": ["*"]}
    shown = run(database, "silences").out
    assert "a, b* with team=ai and tier=*" in shown


def test_a_window_lies_between_two_times_or_lasts_from_one(database: str) -> None:
    begin = datetime.now(UTC).replace(microsecond=0) + HOUR
    window = ("--starts", begin.isoformat())
    until = made(database, "maintenance", "a", *window, "--until", (begin + HOUR).isoformat())
    lasting = made(database, "maintenance", "a", *window, "--for", "2h")
    assert (at(until["starts_at"]), at(until["ends_at"])) == (begin, begin + HOUR)
    assert (at(lasting["starts_at"]), at(lasting["ends_at"])) == (begin, begin + 2 * HOUR)
    assert until["kind"] == "maintenance"
    assert not until["is_active"]
    open_ended = made(database, "silence", "a")
    assert open_ended["ends_at"] is None
    ended = run(database, "silences")
    assert "it is lifted" in ended.out
    assert ended.out.count("planned") == 2


def test_a_window_comes_again_by_a_cron_expression(database: str) -> None:
    window = made(
        database, "maintenance", "backup", "--every", "0 2 * * *", "--for", "1h",
        "--zone", "Europe/Berlin", "--name", "nightly backup",
    )  # fmt: skip
    assert window["schedule"] == {
        "cron": "0 2 * * *",
        "duration_seconds": 3600.0,
        "zone": "Europe/Berlin",
    }
    assert at(window["ends_at"]) - at(window["starts_at"]) == HOUR
    assert 'every "0 2 * * *" for 1h (Europe/Berlin)' in run(database, "silences").out


def test_a_window_comes_again_on_days_of_the_week(database: str) -> None:
    end = (datetime.now(UTC) + timedelta(days=60)).replace(microsecond=0)
    weekly = ("--from", "19:00", "--to", "7:00", "--zone", "Europe/Berlin")
    window = made(database, "silence", "lab", "--days", "mon-fri", *weekly, "--until", str(end))
    assert window["schedule"] == {
        "days": [1, 2, 3, 4, 5],
        "from": "19:00:00",
        "until_time": "07:00:00",
        "zone": "Europe/Berlin",
        "until": end.isoformat(),
    }
    over_sunday = made(database, "silence", "lab", "--days", "sat-mon,wed", *weekly)
    assert over_sunday["schedule"]["days"] == [1, 3, 6, 7]
    whole_days = made(database, "silence", "lab", "--from", "00:00", "--to", "24:00")
    assert whole_days["schedule"]["days"] == [1, 2, 3, 4, 5, 6, 7]
    assert "mon-fri 19:00 to 07:00 (Europe/Berlin) until " in run(database, "silences").out


def test_what_is_over_is_shown_only_when_asked_for(database: str) -> None:
    lifted = made(database, "silence", "a")
    run(database, "lift", lifted["id"])
    assert run(database, "silences").err == "nothing is silenced, and nothing is planned\n"
    assert "lifted by anna" in run(database, "silences", "--all").out
    again = run(database, "lift", lifted["id"], "--by", "bob")
    assert (again.code, again.out) == (0, "")
    assert again.err.startswith("the silence of a was lifted already at ")
    assert again.err.endswith("Z by anna\n")


def test_a_name_that_no_service_has_is_remarked_on(database: str) -> None:
    with alerting(database) as known:
        known.check("shop", "healthy")
    remark = run(database, "silence", "shpo", "shop", "sh*", "--for", "1h").err
    assert "no service is called 'shpo' yet; did you mean 'shop'?" in remark
    assert remark.count("no service is called") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "say which services"),
        (["a", "--label", "team"], "write it as team=ai"),
        (["a", "--for", "1"], "must be a duration"),
        (["a", "--for", "0s"], "must be above zero"),
        (["a", "--until", "2026-01-01T00:00Z"], "is over; it is "),
        (
            ["a", "--starts", "2126-01-02T00:00Z", "--until", "2126-01-01T00:00Z"],
            "--until 2126-01-01 00:00:00Z must be after --starts 2126-01-02 00:00:00Z",
        ),
        (["a", "--starts", "2026-01-01T00:00Z", "--for", "1h"], "is over; it is "),
        (["a", "--starts", "1h"], "'1h' is no time"),
        (["a", "--starts", "9999-12-31T00:00Z", "--for", "2d"], "after the year 9999"),
        (["a", "--every", "0 2 * * *", "--for", "31d"], "at most 30d with --every"),
        (["a", "--every", "0 2 * *", "--for", "1h"], "five fields"),
        (["a", "--every", "0 2 * * *"], "--every needs --for"),
        (["a", "--every", "0 2 * * *", "--for", "1h", "--days", "mon"], "--every excludes --days"),
        (
            ["a", "--every", "0 2 * * *", "--for", "1h", "--starts", "2126-01-01T00:00Z"],
            "--starts is for what holds once",
        ),
        (["a", "--days", "mon"], "needs --from and --to"),
        (["a", "--from", "25:00", "--to", "3:00"], "'25:00' is no time of day"),
        (["a", "--days", "mon-fr", "--from", "1:00", "--to", "3:00"], "no days of the week"),
        (["a", "--from", "1:00", "--to", "3:00", "--for", "1h"], "--for excludes --days"),
        (["a", "--from", "1:00", "--to", "3:00", "--zone", "Europe/Berln"], "a time zone"),
        (["a", "--for", "1h", "--zone", "Europe/Berlin"], "--zone is for --every"),
        (["a\x1b", "--for", "1h"], "control characters"),
        (["a", "--for", "1h", "--name", ""], "name must be 1 to 100 characters"),
    ],
)
def test_what_is_no_silence_is_refused_with_what_to_write(
    database: str, arguments: list[str], words: str
) -> None:
    ended = run(database, "silence", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert ended.err.count("\n") == 1
    assert told(database, "silences", "--all") == {"alert_silences": []}


def test_a_name_that_is_taken_or_unknown_says_what_to_do(database: str) -> None:
    made(database, "maintenance", "a", "--for", "1h", "--name", "nightly")
    taken = run(database, "maintenance", "b", "--for", "1h", "--name", "nightly")
    assert (taken.code, taken.out) == (1, "")
    assert 'a silence named "nightly" is there already; lift it first' in taken.err
    near = run(database, "lift", "nightli")
    assert near.err == "error: there is no silence 'nightli'; did you mean 'nightly'?\n"
    nobody = str(uuid4())
    unknown = run(database, "lift", nobody)
    assert unknown.err == f"error: there is no silence '{nobody}'; see: pulsebase alerts silences\n"
    assert (near.code, unknown.code) == (1, 1)


def test_the_id_of_a_silence_fits_on_a_narrow_terminal(database: str) -> None:
    silence = made(database, "silence", "a-service-with-a-long-name-*", "--for", "1h")
    environment = {"DATABASE_URL": database}
    ended = pulsebase_on_terminal("alerts", "silences", columns=80, env=environment)
    assert silence["id"] in ended.out


def test_silences_that_anybody_may_have_written_are_shown(database: str) -> None:
    with alerting(database) as known:
        identifier = known.silence("a")
        known.connection.execute(
            'update alert_silences set matcher = \'{"services": "db", "labels": []}\','
            " schedule = '{\"cron\": 7}' where id = %s",
            [identifier],
        )
    ended = run(database, "silences")
    assert ended.code == 0
    assert ended.out.splitlines()[1].startswith("db ")
    assert '{"cron": 7}' in ended.out


def test_what_is_advised_can_be_pasted_into_a_shell(database: str) -> None:
    ended = run(database, "silence", "a", "--every", "0 2 * * *", "--for", "1h", "--name", "a b")
    first, *_, last = ended.err.splitlines()
    assert first.startswith('a: silenced every "0 2 * * *" for 1h (UTC); first from ')
    assert last == "lift it with: pulsebase alerts lift 'a b'"
