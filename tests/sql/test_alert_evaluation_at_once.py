"""Everybody who touches the state of services at once, in every isolation: no circle, no loss."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier, Event, Lock
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.errors import SerializationFailure

import pulsebase
from pulsebase import HealthCheckModel, NewHealthCheck
from tests.sql.alerting import AT_ONCE, Alerting
from tests.sql.scripts import apply, one, rows
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulsebase import Status
    from tests.support.postgres_server import PostgresServer

_BEGINNING = datetime.now(UTC) - timedelta(days=1)
_SERVICES = [f"service-{number}" for number in range(15)]
_STATUSES: tuple[Status, ...] = ("healthy", "degraded", "down")
_ROUNDS = 40
_STORE = "insert into service_health_checks (service_name, status, checked_at) values"
_RESOLVE = """
select resolve_alert_event(id, actor => 'somebody')
from (select id from alert_events where status = 'active' order by random() limit 1) as found
"""
_PUBLISH = "select publish_alert_policies(%s)"
_PRUNE = "select delete_health_checks_older_than(now() - interval '23 hours 59 minutes', 100)"
# Of each incident: whether it began more than once, goes on more than once, or neither or both of
# goes on and ended; one that a person resolved has no recovery.
_BROKEN = """
select details ->> 'incident_id'
from alert_events
group by details ->> 'incident_id'
having count(*) filter (where alert_type <> 'recovery' and details ->> 'supersedes' is null) <> 1
    or count(*) filter (
        where status = 'active' or alert_type = 'recovery'
            or details ->> 'resolved_by' = 'person'
    ) <> 1
"""
_STATES_APART = """
select state.service_name
from service_states as state
left join alert_events as event on event.id = state.event_id and event.status = 'active'
where (state.status <> 'healthy') <> (event.id is not null)
    or event.alert_type <> 'service_' || state.status
"""


@pytest.fixture(params=[15, 18])
def url(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[str]:
    """A migrated database in which every check decides, of the oldest and newest PostgreSQL."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        Alerting(connection).channel("ops")
        connection.execute(
            "insert into alert_policies (position, alert_policy) values (1, %s)",
            [json.dumps(AT_ONCE)],
        )
    yield server.url(name)
    server.drop_database(name)


class Clock:
    """Gives every batch of checks a later time, whoever stores it."""

    def __init__(self) -> None:
        self._lock, self._milliseconds = Lock(), 0

    def batch(self, chance: random.Random) -> list[NewHealthCheck]:
        """A check of some services, in any order."""
        with self._lock:
            self._milliseconds += 100
            moment = _BEGINNING + timedelta(milliseconds=self._milliseconds)
        return [
            NewHealthCheck(service_name=name, status=chance.choice(_STATUSES), checked_at=moment)
            for name in chance.sample(_SERVICES, 10)
        ]


def insert(connection: psycopg.Connection[Any], checks: list[NewHealthCheck]) -> None:
    query = _STORE + ", ".join(["(%s, %s, %s)"] * len(checks))
    values = [(each.service_name, each.status, each.checked_at) for each in checks]
    connection.execute(query.encode(), [value for row in values for value in row])


def let_loose(*works: Callable[[], object]) -> None:
    """Let all of them work, each in a thread of its own."""
    start = Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        start.wait(10)
        work()

    with ThreadPoolExecutor(len(works)) as threads:
        for done in [threads.submit(run, work) for work in works]:
            done.result()


def test_whoever_touches_services_never_waits_in_a_circle(url: str) -> None:
    """Not those who store, catch up, resolve, deliver, publish policies, or prune."""
    clock, chance, over = Clock(), random.Random(4), Event()  # noqa: S311 -- no secret
    unfinished = [insert_many, insert_many, insert_many, create_many]
    lock = Lock()

    def store(how: Callable[..., None]) -> None:
        try:
            how(url, clock, random.Random(chance.random()))  # noqa: S311 -- no secret
        finally:
            with lock:
                unfinished.pop()
                if not unfinished:
                    over.set()

    def repeat(act: Callable[[Alerting], object]) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not over.is_set():
                act(Alerting(connection))

    acts = [catch_up, resolve, deliver, deliver, publish, prune]
    let_loose(
        *[lambda how=how: store(how) for how in list(unfinished)],
        *[lambda act=act: repeat(act) for act in acts],
    )
    wait_until(lambda: sessions(url) == 0, "every session has ended")
    assert (
        one(url, "select deadlocks from pg_stat_database where datname = current_database()") == 0
    )
    assert one(url, "select count(*) from alert_events where alert_type = 'recovery'") > 0
    assert rows(url, _BROKEN) == []
    assert rows(url, _STATES_APART) == []


def insert_many(url: str, clock: Clock, chance: random.Random) -> None:
    """Plain INSERTs of many rows, of which the order is nobody's."""
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(_ROUNDS):
            insert(connection, clock.batch(chance))


def create_many(url: str, clock: Clock, chance: random.Random) -> None:
    with pulsebase.connect(url) as ours:
        for _ in range(_ROUNDS):
            HealthCheckModel.create_many(ours, checks=clock.batch(chance))


def catch_up(alerting: Alerting) -> None:
    alerting.connection.execute("select evaluate_health_checks(null)")


def resolve(alerting: Alerting) -> None:
    alerting.connection.execute(_RESOLVE)


def deliver(alerting: Alerting) -> None:
    alerting.deliver("ops")


def publish(alerting: Alerting) -> None:
    number = random.choice([1, 2])  # noqa: S311 -- no secret
    policy = {**AT_ONCE, "down_open_checks": number, "flapping_changes": number * 2}
    alerting.connection.execute(_PUBLISH, [json.dumps([{"alert_policy": policy}])])


def prune(alerting: Alerting) -> None:
    alerting.connection.execute(_PRUNE)


def sessions(url: str) -> int:
    query = "select count(*) from pg_stat_activity where datname = current_database()"
    others = one(url, f"{query} and pid <> pg_backend_pid() and backend_type = 'client backend'")
    return int(others)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_check_that_another_session_overtook_is_refused_whole_and_may_come_again(
    url: str, isolation: str
) -> None:
    """In an isolation that must not see what others did: by the error that says so."""
    check = [NewHealthCheck(service_name="api", status="down", checked_at=_BEGINNING)]
    with (
        psycopg.connect(url, autocommit=True) as quick,
        psycopg.connect(url, autocommit=True) as strict,
    ):
        strict.execute(f"set default_transaction_isolation = '{isolation}'".encode())
        alerting = Alerting(quick)

        def be_overtaken() -> None:
            with strict.transaction():
                strict.execute("select count(*) from alert_events")
                alerting.check("api", "degraded")
                insert(strict, check)

        for known in (False, True):
            with pytest.raises(SerializationFailure):
                be_overtaken()
            assert one(url, "select status from service_states") == "degraded", known
        alerting.check("api", "healthy")
        with strict.transaction():
            insert(strict, [NewHealthCheck(service_name="api", status="down")])
    assert one(url, "select status from service_states") == "down"
    assert rows(url, _BROKEN) == []


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_healthy_checks_of_steady_services_are_never_refused(url: str, isolation: str) -> None:
    """Whatever the others do meanwhile: they lock nothing and write nothing but themselves."""
    with (
        psycopg.connect(url, autocommit=True) as quick,
        psycopg.connect(url, autocommit=True) as strict,
    ):
        strict.execute(f"set default_transaction_isolation = '{isolation}'".encode())
        Alerting(quick).check("other", "down")
        with strict.transaction():
            strict.execute("select count(*) from alert_events")
            Alerting(quick).check("other", "degraded", "healthy", "down")
            insert(strict, [NewHealthCheck(service_name="api", status="healthy")])
    assert rows(url, "select status from service_health_checks where service_name = 'api'") == [
        ("healthy",)
    ]
    assert one(url, "select count(*) from service_states") == 1


def test_checks_are_evaluated_by_the_policy_that_is_committed(url: str) -> None:
    """Who publishes policies makes no check wait, and counts from the commit on."""
    lenient = json.dumps([{"alert_policy": {**AT_ONCE, "down_open_checks": 3}}])
    with psycopg.connect(url, autocommit=True) as quick, psycopg.connect(url) as slow:
        slow.execute(_PUBLISH, [lenient])
        Alerting(quick).check("api", "down")
        slow.commit()
        Alerting(quick).check("web", "down", "down")
    events = rows(url, "select service_name, alert_type from alert_events")
    assert events == [("api", "service_down"), ("web", "service_degraded")]


def test_pruning_while_a_check_is_decided_takes_nothing_from_it(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as quick, psycopg.connect(url) as slow:
        alerting = Alerting(quick)
        alerting.at_once("api", down_open_checks=2)
        alerting.check("api", "healthy", "down")
        Alerting(slow).check("api", "healthy")
        slow.rollback()
        alerting.connection.execute("select delete_health_checks_older_than(now(), 1000)")
        insert(slow, [NewHealthCheck(service_name="api", status="down")])
        alerting.connection.execute("select delete_health_checks_older_than(now(), 1000)")
        slow.commit()
        found = alerting.value("select details from alert_events where status = 'active'")
    assert (found["status"], found["streak"]) == ("down", 2)
