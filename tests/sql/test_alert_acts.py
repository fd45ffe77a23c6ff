"""What people decide: acts are kept, resolutions are whole, acknowledgements and silences hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from tests.sql.alert_acting import Acting
from tests.sql.scripts import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

RESOLVE = "select resolve_alert_event(id => %s, actor => 'Ann', note => 'restarted it')"
ACKNOWLEDGE = "select acknowledge_alert_event(id => %s, actor => 'Ann')"
WELL: dict[str, Any] = {
    "verdict": "healthy",
    "last_checked_at": None,
    "failing_streak": 0,
    "window": [],
}
STATE = "select to_jsonb(state) from service_states as state where service_name = %s"
SILENCE = "select create_alert_silence(id => %s, matcher => %s, actor => 'Ann', periods => %s)"


@pytest.fixture(scope="module", params=[15, 18])
def migrated(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> tuple[PostgresServer, str]:
    """A migrated template on the oldest and the newest PostgreSQL."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    return server, name


@pytest.fixture
def acting(migrated: tuple[PostgresServer, str]) -> Iterator[Acting]:
    """A database with one channel."""
    server, template = migrated
    name = server.create_database(template=template)
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        acting = Acting(connection)
        acting.channel("ops")
        yield acting
    server.drop_database(name)


def silence(acting: Acting, matcher: dict[str, Any], **period: Any) -> dict[str, Any]:
    arguments = [uuid4(), json.dumps(matcher), json.dumps([period])]
    row: dict[str, Any] = acting.value(SILENCE, arguments)
    return row


def test_resolving_by_hand_is_whole(acting: Acting) -> None:
    """The event, the state, the act and the messages, and no recovery."""
    incident = acting.incident("api")
    assert acting.tell("ops") == [("opened", "api")]
    before = acting.value(STATE, ["api"])
    resolved = acting.value(RESOLVE, [incident.event_id])
    assert resolved["status"] == "resolved"
    assert resolved["details"]["resolved_by"] == "person"
    assert resolved["details"]["actor"] == "Ann"
    assert resolved["details"]["note"] == "restarted it"
    assert 600 <= resolved["details"]["downtime_seconds"] < 700
    state = acting.value(STATE, ["api"])
    assert (state["status"], state["is_steady"]) == ("healthy", False)
    assert state["tracks"] == {"": WELL}
    assert (state["incident_id"], state["event_id"]) == (None, None)
    assert (state["first_failed"], state["last_failed"]) == (None, None)
    assert state["last_checked_at"] == before["last_checked_at"]
    assert state["last_check_id"] == before["last_check_id"]
    assert acting.tell("ops") == [("resolved", "api")]
    assert acting.acts(event_id=incident.event_id) == [("resolve", "Ann")]
    assert acting.value("select count(*) from alert_events") == 1


def test_what_nobody_was_told_of_is_resolved_without_a_word(acting: Acting) -> None:
    incident = acting.incident("api")
    silence(acting, {"services": ["api"]})
    assert acting.tell("ops") == []
    acting.value(RESOLVE, [incident.event_id])
    assert acting.tell("ops") == []
    assert acting.value("select count(*) from alert_deliveries where cancelled_at is null") == 0


def test_an_event_that_somebody_made_beside_an_incident_leaves_that_alone(acting: Acting) -> None:
    incident = acting.incident("api")
    acting.tell("ops")
    other = acting.value("select create_alert_event('api', 'service_degraded')")
    before = acting.value(STATE, ["api"])
    resolved = acting.value(RESOLVE, [other["id"]])
    assert resolved["details"]["actor"] == "Ann"
    assert acting.value(STATE, ["api"]) == before
    assert acting.tell("ops") == []
    assert acting.acts(event_id=other["id"]) == [("resolve", "Ann")]
    assert acting.acts(event_id=incident.event_id) == []


def test_an_incident_without_a_state_is_resolved_where_it_was_told(acting: Acting) -> None:
    incident = acting.incident("api")
    acting.tell("ops")
    acting.connection.execute("delete from service_states where service_name = 'api'")
    acting.value(RESOLVE, [incident.event_id])
    assert acting.tell("ops") == [("resolved", "api")]


@pytest.mark.parametrize(
    "details",
    [
        {"incident_id": "none", "started_at": "none"},
        {"incident_id": 5, "started_at": {"a": 1}},
        {"incident_id": None, "started_at": "infinity"},
        {"started_at": "99999-99-99"},
        {"started_at": "294277-01-01"},
        {"note": "\u202e😀" * 9000},
    ],
    ids=str,
)
def test_hostile_details_hinder_no_resolution(acting: Acting, details: dict[str, Any]) -> None:
    event_id = uuid4()
    acting.connection.execute(
        "insert into alert_events (id, service_name, alert_type, status, details)"
        " values (%s, 'x', 'service_down', 'active', %s)",
        [event_id, json.dumps(details, ensure_ascii=False)],
    )
    resolved = acting.value(RESOLVE, [event_id])
    assert resolved["status"] == "resolved"
    assert acting.acts(event_id=event_id) == [("resolve", "Ann")]


def test_details_without_room_stay_as_they_are(acting: Acting) -> None:
    filler = "x" * 65_500
    event = acting.value(
        "select create_alert_event('x', 'service_down', details => %s)",
        [json.dumps({"filler": filler})],
    )
    resolved = acting.value(RESOLVE, [event["id"]])
    assert (resolved["status"], resolved["details"]) == ("resolved", {"filler": filler})


def test_an_acknowledgement_holds_reminders_and_no_opening(acting: Acting) -> None:
    incident = acting.incident("api")
    acting.value(ACKNOWLEDGE, [incident.event_id])
    assert acting.holds(incident, as_kind="reminder") == "acknowledged"
    assert acting.holds(incident) is None
    acting.value("select unacknowledge_alert_event(id => %s, actor => 'Bob')", [incident.event_id])
    assert acting.holds(incident, as_kind="reminder") is None
    assert acting.acts(event_id=incident.event_id) == [
        ("acknowledge", "Ann"),
        ("unacknowledge", "Bob"),
    ]


def test_an_acknowledgement_whose_time_is_up_holds_nothing(acting: Acting) -> None:
    """And may be given anew."""
    incident = acting.incident("api")
    acting.value(
        "select acknowledge_alert_event(id => %s, actor => 'Ann',"
        " until => now() + interval '1 hour')",
        [incident.event_id],
    )
    assert acting.holds(incident, as_kind="reminder") == "acknowledged"
    # As if that hour and another one had gone by.
    acting.connection.execute(
        "update alert_acts set acted_at = acted_at - interval '2 hours',"
        " until = until - interval '2 hours'"
    )
    assert acting.holds(incident, as_kind="reminder") is None
    assert acting.value("select find_alert_acknowledgements()") == []
    acting.value("select unacknowledge_alert_event(id => %s, actor => 'Bob')", [incident.event_id])
    acting.value(ACKNOWLEDGE, [incident.event_id])
    assert acting.holds(incident, as_kind="reminder") == "acknowledged"
    assert acting.acts(event_id=incident.event_id) == [("acknowledge", "Ann")] * 2


def test_an_acknowledgement_is_of_one_event(acting: Acting) -> None:
    first, second = acting.incident("api"), acting.incident("db")
    acting.value(ACKNOWLEDGE, [first.event_id])
    assert acting.holds(first, as_kind="reminder") == "acknowledged"
    assert acting.holds(second, as_kind="reminder") is None


@pytest.mark.parametrize("kind", ["silence", "maintenance"])
def test_a_silence_holds_while_it_lasts(acting: Acting, kind: str) -> None:
    incident, other = acting.incident("api"), acting.incident("db")
    made = acting.value(
        "select create_alert_silence(id => %s, kind => %s, matcher => %s, periods => '[{}]')",
        [uuid4(), kind, json.dumps({"services": ["a*"]})],
    )
    assert acting.holds(incident) == kind
    assert acting.holds(incident, as_kind="reminder") == kind
    assert acting.holds(other) is None
    acting.value("select lift_alert_silence(id => %s, actor => 'Bob')", [made["id"]])
    assert acting.holds(incident) is None
    assert [act for act, _ in acting.acts(silence_id=made["id"])] == [kind, "lift"]


@pytest.mark.parametrize(
    ("service", "pattern"),
    [
        ("db-😀", "db-😀"),
        ("db-😀 1", "*😀*"),
        ("\u202eesrever\u202c", "\u202e*"),
        ("100%_\\", "100%_\\"),
        ("x" * 100, "*" * 100),
        ("a" * 100, "*a" * 50),
    ],
)
def test_odd_names_match_odd_patterns(acting: Acting, service: str, pattern: str) -> None:
    incident = acting.incident(service)
    silence(acting, {"services": [pattern]})
    assert acting.holds(incident) == "silence"


def test_a_pattern_that_is_no_pattern_matches_itself_alone(acting: Acting) -> None:
    incident = acting.incident("database")
    for literal in ("data%", "data_ase", "(data.*)", "data[b]ase", "DATABASE", "data\\base", "?"):
        silence(acting, {"services": [literal]})
    assert acting.holds(incident) is None


def test_what_is_not_yet_or_no_more_holds_nothing(acting: Acting) -> None:
    incident = acting.incident("api")
    hour = {"duration_seconds": 3600}
    for moved in ("now() + interval '1 hour'", "now() - interval '2 hours'"):
        starts_at = acting.value(f"select {moved}").isoformat()
        silence(acting, {"services": ["api"]}, starts_at=starts_at, **hour)
    assert acting.holds(incident) is None
    silence(acting, {"services": ["api"]}, **hour)
    assert acting.holds(incident) == "silence"


def test_periods_of_a_schedule_hold_one_by_one(acting: Acting) -> None:
    """Those that are planned further hold as the first ones do; a lift ends them all."""
    incident = acting.incident("api")
    made = acting.value(
        "select create_alert_silence(id => %s, matcher => '{}', schedule => %s, periods => '[]')",
        [uuid4(), json.dumps({"cron": "0 2 * * *", "duration_seconds": 60})],
    )
    assert (made["is_active"], made["is_over"]) == (False, False)
    assert acting.holds(incident) is None
    plan = (
        "select plan_alert_silence(%s, jsonb_build_array(jsonb_build_object("
        "'starts_at', now() - interval '1 minute', 'ends_at', now() + interval '1 hour')), now())"
    )
    assert acting.value(plan, [made["id"]])["is_active"]
    assert acting.holds(incident) == "silence"
    acting.value("select lift_alert_silence(id => %s)", [made["id"]])
    assert acting.holds(incident) is None
    before = acting.value("select count(*) from alert_silence_periods")
    assert not acting.value(plan, [made["id"]])["is_active"]
    assert acting.value("select count(*) from alert_silence_periods") == before


@pytest.mark.parametrize(
    ("matcher", "periods"),
    [
        ("[]", "[{}]"),
        ("null", "[{}]"),
        ("5", "[{}]"),
        ('{"service": ["a"]}', "[{}]"),
        ('{"services": "a"}', "[{}]"),
        ('{"services": []}', "[{}]"),
        ('{"services": null}', "[{}]"),
        ('{"services": [""]}', "[{}]"),
        ('{"services": [["a"]]}', "[{}]"),
        ('{"services": [null]}', "[{}]"),
        ('{"labels": ["a"]}', "[{}]"),
        ('{"labels": null}', "[{}]"),
        ('{"labels": {"a": 5}}', "[{}]"),
        ('{"labels": {"a": ["b"]}}', "[{}]"),
        ("{}", "[]"),
        ("{}", "null"),
        ("{}", "{}"),
        ("{}", "5"),
    ],
)
def test_what_is_no_silence_is_refused_in_a_sentence(
    acting: Acting, matcher: str, periods: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught:
        acting.value(SILENCE, [uuid4(), matcher, periods])
    assert " must " in str(caught.value) or " needs " in str(caught.value)
    assert acting.value("select count(*) from alert_silences") == 0


def test_json_that_a_client_encoded_twice_is_json(acting: Acting) -> None:
    matcher, periods = json.dumps({"services": ["a"]}), json.dumps([{}])
    made = acting.value(SILENCE, [uuid4(), json.dumps(matcher), json.dumps(periods)])
    assert made["matcher"] == {"services": ["a"]}
    assert made["is_active"]


@pytest.mark.parametrize(
    "values",
    [
        "'acknowledge', ''",
        "'acknowledge', repeat('x', 101)",
        "'acknowledge', E'two\\nlines'",
        "'blame', 'Ann'",
    ],
)
def test_acts_must_obey(acting: Acting, values: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        acting.connection.execute(
            f"insert into alert_acts (id, act, actor) values (gen_random_uuid(), {values})".encode()  # noqa: S608 -- ours
        )


@pytest.mark.parametrize(
    "argument",
    [
        "actor => ''",
        "actor => repeat('x', 101)",
        "note => repeat('x', 2001)",
        "name => ''",
        "name => E'\\u0007'",
        "name => repeat('x', 101)",
        "kind => 'holiday'",
        "matcher => jsonb_build_object('services', jsonb_build_array(repeat('x', 70000)))",
        """periods => '[{"ends_at": "2020-01-01"}]'""",
    ],
)
def test_silences_must_obey(acting: Acting, argument: str) -> None:
    arguments = {"matcher": "'{}'", "periods": "'[{}]'"}
    name, value = argument.split(" => ")
    named = ", ".join(f"{key} => {each}" for key, each in (arguments | {name: value}).items())
    with pytest.raises(psycopg.errors.CheckViolation):
        acting.value(f"select create_alert_silence(id => gen_random_uuid(), {named})")
    assert acting.value("select count(*) from alert_acts") == 0


def test_an_act_is_undone_with_its_transaction(acting: Acting) -> None:
    incident = acting.incident("api")
    acting.tell("ops")
    before = acting.value(STATE, ["api"])
    with acting.connection.transaction(force_rollback=True):
        acting.value(RESOLVE, [incident.event_id])
    assert acting.value(STATE, ["api"]) == before
    assert acting.acts(event_id=incident.event_id) == []
    assert acting.tell("ops") == []


def test_what_a_disabled_channel_is_owed_waits_until_it_is_enabled(acting: Acting) -> None:
    acting.value("select disable_alert_channel(name => 'ops', actor => 'Ann', reason => 'noisy')")
    acting.incident("api")
    assert acting.tell("ops") == []
    acting.value("select enable_alert_channel(name => 'ops', actor => 'Ann')")
    assert acting.tell("ops") == [("opened", "api")]
    assert acting.acts(channel="ops") == [("disable_channel", "Ann"), ("enable_channel", "Ann")]


def test_a_message_that_was_given_up_is_told_when_it_is_replayed(acting: Acting) -> None:
    acting.incident("api")
    (message,) = acting.value("select claim_alert_messages(%s, '{ops}')", [uuid4()])["messages"]
    acting.value(
        "select finish_alert_message(%s, 1, 'refused', error => 'HTTP 410')", [message["id"]]
    )
    assert acting.tell("ops") == []
    acting.value("select replay_alert_message(id => %s, actor => 'Ann')", [message["id"]])
    assert acting.tell("ops") == [("opened", "api")]
    again = acting.value("select replay_alert_message(id => %s)", [message["id"]])
    assert (again["status"], again["attempts"]) == ("delivered", 2)
    assert acting.acts(message_id=message["id"]) == [("replay", "Ann")]
