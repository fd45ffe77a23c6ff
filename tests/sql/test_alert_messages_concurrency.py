"""Many who deliver at once, and some who are killed: each message once, in order, none lost."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Barrier, Event
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alert_changes import Changes
from tests.sql.scripts import apply, one, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

SESSIONS = 8
CHANNELS = ("ops", "pager", "boss", "log")
OWE = """
with opened as (
    insert into alert_events (service_name, alert_type, status)
    select 'service ' || number, 'service_down', 'active'
    from generate_series(1, %(services)s) as n (number)
    returning id, service_name
)
insert into alert_deliveries (service_name, incident_id, event_id, channel, kind)
select service_name, gen_random_uuid(), id, channel, 'opened'
from opened, unnest(%(channels)s::text[]) as c (channel)
"""
# Channels that were told of an incident, and not of the end of what they were told last.
UNRESOLVED = """
select told.*
from (
    select distinct on (incident_id, channel) event_id, incident_id, channel
    from alert_deliveries
    where kind = 'opened' and message_id is not null
    order by incident_id, channel, created_at desc
) as told
where not exists (
    select
    from alert_deliveries as ended
    where ended.event_id = told.event_id
        and ended.channel = told.channel
        and ended.kind = 'resolved'
        and ended.message_id is not null
)
"""
# Ends that arrived before their beginnings.
OVERTAKEN = """
select opened.event_id, opened.channel
from alert_deliveries as opened
join alert_messages as first on first.id = opened.message_id
join alert_deliveries as ended
    on ended.event_id = opened.event_id and ended.channel = opened.channel
join alert_messages as second on second.id = ended.message_id
where opened.kind = 'opened'
    and ended.kind = 'resolved'
    and first.finished_at > second.finished_at
"""


@pytest.fixture(params=[15, 18])
def busy_database(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[str]:
    """A migrated database of the oldest and of the newest major version."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    yield server.url(name)
    server.drop_database(name)


def at_once(url: str, *acts: Callable[[Changes], Any]) -> list[Any]:
    """What each act returned, in a session of its own; all are let loose together."""
    start = Barrier(len(acts))

    def run(act: Callable[[Changes], Any]) -> Any:
        with psycopg.connect(url, autocommit=True) as connection:
            start.wait(10)
            return act(Changes(connection))

    with ThreadPoolExecutor(len(acts)) as threads:
        return [future.result() for future in [threads.submit(run, act) for act in acts]]


def deliver_all(changes: Changes) -> list[tuple[str, str]]:
    """Claim and report until nothing is left: message and delivery of everything that was sent."""
    sent = []
    while changes.value(
        "select exists (select from alert_messages where status <> 'delivered')"
        " or exists (select from alert_deliveries where message_id is null)"
    ):
        for message in changes.claim(*CHANNELS):
            sent += [(message["id"], each["id"]) for each in message["deliveries"]]
            changes.finish(message)
    return sent


def test_eight_who_deliver_send_each_of_2000_deliveries_once(busy_database: str) -> None:
    with psycopg.connect(busy_database, autocommit=True) as connection:
        changes = Changes(connection)
        for name in CHANNELS:
            changes.channel(name)
        connection.execute(OWE.encode(), {"services": 500, "channels": list(CHANNELS)})
    sent = Counter(
        each for part in at_once(busy_database, *[deliver_all] * SESSIONS) for each in part
    )
    assert len(sent) == 2000
    assert set(sent.values()) == {1}
    assert one(busy_database, "select count(*) from alert_message_attempts") == 2000
    assert one(busy_database, "select count(*) from alert_messages where attempts <> 1") == 0


def test_who_is_killed_after_a_claim_loses_nothing(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel("ops")
        for number in range(20):
            changes.opened(f"service {number}")

        claimed: dict[str, dict[str, Any]] = {}
        with ExitStack() as killed:
            for _ in range(4):
                other = killed.enter_context(psycopg.connect(database, autocommit=True))
                answer = Changes(other).value(
                    "select claim_alert_messages(gen_random_uuid(), array['ops'], 60, 5)"
                )
                claimed |= {each["id"]: each for each in answer["messages"]}
                connection.execute("select pg_terminate_backend(%s)", [other.info.backend_pid])
        assert len(claimed) == 20
        assert changes.claim("ops") == []
        changes.pass_time(seconds=61)
        again = changes.claim("ops")
        assert {each["id"] for each in again} == set(claimed)
        assert {each["attempt"] for each in again} == {2}
        assert {each["deliveries"][0]["id"] for each in again} == {
            each["deliveries"][0]["id"] for each in claimed.values()
        }


def test_who_is_killed_within_a_claim_has_claimed_nothing(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel("ops")
        changes.opened("api")
        other = psycopg.connect(database)
        assert len(Changes(other).claim("ops")) == 1
        assert changes.claim("ops") == [], "it skips what another session holds, and does not wait"
        connection.execute("select pg_terminate_backend(%s, 10000)", [other.info.backend_pid])
        other.close()
        (message,) = changes.claim("ops")
        assert message["attempt"] == 1


def test_each_service_is_told_in_order_however_many_deliver(database: str) -> None:
    """Ten services that open and recover again and again, told to two channels by eight."""
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        for name in ("ops", "pager"):
            changes.channel(name)
        for _ in range(10):
            changes.recovered(*[changes.opened(f"service {number}") for number in range(10)])
    at_once(database, *[deliver_all] * SESSIONS)
    told = rows(
        database,
        "select channel, service_name, array_agg(kind order by finished_at) from"
        " (select d.channel, d.service_name, d.kind, m.finished_at from alert_deliveries as d"
        " join alert_messages as m on m.id = d.message_id) as t group by channel, service_name",
    )
    assert len(told) == 20
    for *_, kinds in told:
        assert kinds == ["opened", "resolved"] * 10


def test_changes_and_claims_never_wait_for_each_other_in_a_circle(busy_database: str) -> None:
    """Three change services in long transactions, their parent comes and goes, four deliver."""
    services = [f"service {number}" for number in range(12)]
    with psycopg.connect(busy_database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel("ops", remind_every_seconds=0.001)
        changes.channel("pager", group_window_seconds=0.02)
        for service in services:
            changes.service(service, {}, depends_on=("gateway",))
    over = Event()

    def change_all(_: Changes) -> None:
        try:
            own = [services[start::3] for start in range(3)]
            at_once(busy_database, partial(change, ["gateway"]), *[partial(change, o) for o in own])
        finally:
            over.set()

    at_once(busy_database, change_all, *[partial(deliver_until, over)] * 4)
    with psycopg.connect(busy_database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.pass_time(minutes=1)
        changes.deliver("ops", "pager")
        changes.pass_time(minutes=1)
        changes.deliver("ops", "pager")
    assert (
        one(busy_database, "select count(*) from alert_messages where status <> 'delivered'") == 0
    )
    assert one(busy_database, "select count(*) from alert_deliveries where kind = 'resolved'") > 0
    assert rows(busy_database, UNRESOLVED) == []
    assert rows(busy_database, OVERTAKEN) == []


def change(services: list[str], changes: Changes) -> None:
    """Let services fail, get worse, and recover, in one order and in the other."""
    for turn in range(15):
        with changes.connection.transaction():
            incidents = [changes.opened(service, "service_degraded") for service in services]
        with changes.connection.transaction():
            for incident in incidents[:: (-1) ** turn]:
                changes.superseded(incident, "service_down")
        with changes.connection.transaction():
            changes.recovered(*incidents[:: (-1) ** turn])


def deliver_until(over: Event, changes: Changes) -> None:
    """Claim and report without a pause."""
    while not over.is_set():
        for message in changes.claim("ops", "pager"):
            changes.finish(message)


def test_a_change_that_is_under_way_does_not_make_a_claim_wait(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel("ops")
        incident = changes.opened("api")
        changes.opened("db")
        with psycopg.connect(database) as other, other.transaction():
            Changes(other).recovered(incident)
            assert changes.digests("ops") == [["db"]]
        assert changes.kinds("ops") == ["opened", "resolved"]


@pytest.mark.parametrize("situation", ["nothing", "a window", "held", "leased", "reminded"])
def test_a_claim_without_anything_to_do_writes_nothing(database: str, situation: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        changes = Changes(connection)
        changes.channel("ops", group_window_seconds=0 if situation == "leased" else 600)
        if situation == "held":
            changes.silence("api")
        if situation != "nothing":
            changes.opened("api")
        if situation == "reminded":
            changes.pass_time(hours=1)
            changes.digests("ops")
            changes.silence("api")
            changes.connection.execute("update alert_channels set remind_every_seconds = 60")
            changes.pass_time(hours=1)
        changes.claim("ops")
        for _ in range(3):
            with connection.transaction():
                assert changes.claim("ops") == []
                assert changes.value("select pg_current_xact_id_if_assigned()") is None


def test_channels_are_published_by_many_at_once(database: str) -> None:
    one_way = 'select publish_alert_channels(\'[{"name": "a"}]\', \'[{"channels": ["a"]}]\')'
    other_way = (
        'select publish_alert_channels(\'[{"name": "b"}, {"name": "a"}]\','
        ' \'[{"channels": ["b"]}, {"channels": ["a"]}]\')'
    )
    acts = [
        lambda changes, query=query: [changes.value(query) for _ in range(20)]
        for query in (one_way, other_way) * 4
    ]
    at_once(database, *acts)
    assert one(database, "select count(*) from alert_channels") == 2
    assert one(database, "select count(*) from alert_routes") in {1, 2}
