"""Claims look at what waits and not at what was sent; reports and changes at their own rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alert_changes import Changes
from tests.sql.scripts import apply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

HISTORY = """
insert into alert_channels (name, group_window_seconds, remind_every_seconds)
values ('ops', 10, 3600), ('pager', 0, null);

with sent as (
    insert into alert_messages
        (channel, status, delivery_count, created_at, finished_at, give_up_at, attempts)
    select 'ops', 'delivered', 10, moment, moment, moment, 1
    from generate_series(1, 10000) as n (number),
        lateral (select now() - number * interval '1 minute') as m (moment)
    returning id, created_at
)
insert into alert_deliveries
    (service_name, incident_id, event_id, channel, kind, created_at, due_at, message_id)
select 'service ' || number, gen_random_uuid(), gen_random_uuid(), 'ops', 'opened',
    created_at, created_at, id
from sent, generate_series(1, 10) as n (number);

insert into alert_events (service_name, alert_type, status, created_at)
select 'service ' || number, 'service_down', 'resolved', now() - number * interval '1 minute'
from generate_series(1, 50000) as n (number);
"""
CHILDREN = """
insert into monitored_services (service_name, depends_on)
select 'child ' || number, '{gateway}' from generate_series(1, 3000) as n (number);

with opened as (
    insert into alert_events (service_name, alert_type, status)
    select service_name, 'service_down', 'active' from monitored_services
    returning id, service_name
)
insert into alert_deliveries (service_name, incident_id, event_id, channel, kind)
select service_name, gen_random_uuid(), id, 'ops', 'opened' from opened;
"""
CLAIM = "select claim_alert_messages('01234567-89ab-cdef-0123-456789abcdef', '{ops,pager}')"


@pytest.fixture(scope="module", params=[15, 18])
def changes(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[Changes]:
    """A database that has sent 10,000 digests, of the oldest and of the newest major version."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        connection.execute(HISTORY.encode())
        connection.execute("vacuum analyze")
        yield Changes(connection)
    server.drop_database(name)


def pages(changes: Changes, query: str) -> int:
    """The pages that a call touches once its plans are kept; what it does is undone."""
    counts = []
    for _ in range(8):
        with changes.connection.transaction(force_rollback=True):
            explain = f"explain (analyze, buffers, timing off, format json) {query}"
            plan: dict[str, Any] = changes.value(explain)[0]["Plan"]
            counts.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    return int(counts[-1])


def test_a_claim_with_nothing_to_do_does_not_look_at_what_was_sent(changes: Changes) -> None:
    assert pages(changes, CLAIM) < 100


def test_what_is_held_is_looked_at_once_with_every_claim(changes: Changes) -> None:
    with changes.connection.transaction(force_rollback=True):
        changes.connection.execute(CHILDREN.encode())
        changes.opened("gateway")
        changes.value(CLAIM)
        assert (
            changes.value("select count(*) from alert_deliveries where held_by = 'parent'") == 3000
        )
        assert pages(changes, CLAIM) < 60 * 3000


def test_a_change_looks_at_its_own_incident(changes: Changes) -> None:
    with changes.connection.transaction(force_rollback=True):
        changes.connection.execute(CHILDREN.encode())
        incident = changes.opened("api")
        recovering = (
            f"select queue_alert_messages('recovered', 'api', '{incident.id}',"
            f" '{incident.event_id}')"
        )
        assert pages(changes, recovering) < 1000


def test_a_report_looks_at_its_own_message(changes: Changes) -> None:
    message_id = changes.value("select id from alert_messages limit 1")
    changes.connection.execute(
        "update alert_messages set status = 'sending' where id = %s", [message_id]
    )
    changes.connection.execute(
        "insert into alert_message_attempts (message_id, attempt, worker)"
        " values (%s, 1, gen_random_uuid())",
        [message_id],
    )
    report = f"select finish_alert_message('{message_id}', 1, 'delivered')"
    assert pages(changes, report) < 50
    assert pages(changes, f"select find_alert_message('{message_id}')") < 200
    changes.connection.execute(
        "update alert_messages set status = 'delivered' where id = %s", [message_id]
    )


def test_a_page_of_messages_reads_a_page(changes: Changes) -> None:
    assert pages(changes, "select find_alert_messages()") < 50
    assert pages(changes, "select find_alert_messages(channel => 'ops')") < 50
    assert pages(changes, "select find_alert_messages(channel => 'pager')") < 50
    assert pages(changes, "select find_waiting_deliveries()") < 100
