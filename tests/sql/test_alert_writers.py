"""Eight writers at once, through eight doors: every change of a service is decided once."""

from __future__ import annotations

import json
import random
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from queue import Empty, SimpleQueue
from threading import Barrier, Lock
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

import pulsebase
from pulsebase import HealthCheckModel, NewHealthCheck
from tests.sql.alert_reference import BUILT_IN, Check, Reference
from tests.sql.alerting import AT_ONCE
from tests.sql.scripts import one, rows
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulsebase import Connection, Status
    from tests.support.postgrest_server import PostgrestServer

    Door = Callable[[list[NewHealthCheck]], object]

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)
_TABLE = "service_health_checks (id, service_name, status, checked_at)"
_LARGEST_BATCH = 12
_STATUSES: tuple[Status, ...] = ("healthy", "degraded", "down")
_POLICY = {**AT_ONCE, "flapping_changes": 0}

_EVENTS = """
select service_name, alert_type, (details ->> 'started_at')::timestamptz, resolved_at,
    details ->> 'resolved_by'
from alert_events
order by created_at, id
"""
# Of each incident: its service, how often it began and ended, and whether it goes on.
_INCIDENTS = """
select min(service_name),
    count(*) filter (where alert_type <> 'recovery' and details ->> 'supersedes' is null),
    count(*) filter (where alert_type = 'recovery'),
    count(*) filter (where status = 'active')
from alert_events
group by details ->> 'incident_id'
"""
_RESOLVED_TWICE = """
select incident_id, channel from alert_deliveries where kind = 'resolved'
group by incident_id, channel having count(*) > 1
"""
_UNRESOLVED = """
select event.id from alert_events as event
where alert_type = 'recovery' and not exists (
    select from alert_deliveries as owed
    where owed.incident_id::text = event.details ->> 'incident_id' and owed.kind = 'resolved'
)
"""
# What has been decided, beside what the newest check says.
_STATUSES_APART = """
select state.service_name, state.status, newest.status
from service_states as state,
lateral (
    select status from service_health_checks as one
    where one.service_name = state.service_name
    order by checked_at desc, id desc limit 1
) as newest
where state.status <> newest.status
"""


@dataclass(slots=True)
class Writers:
    """Eight sessions, each with a door of its own to one database."""

    url: str
    postgrest: PostgrestServer
    resources: ExitStack = field(default_factory=ExitStack)

    def doors(self) -> list[Door]:
        """Plain INSERTs and our own calls, direct and over HTTP."""
        first, second = self._ours(self.url), self._ours(self.url)
        third, fourth = (self._ours(self.postgrest.url) for _ in range(2))
        return [
            self._insert(self._raw()),
            self._one_by_one(self._raw()),
            self._copy(self._raw()),
            lambda checks: HealthCheckModel.create_many(first, checks=checks),
            lambda checks: _create_each(second, checks),
            self._post(),
            lambda checks: HealthCheckModel.create_many(third, checks=checks),
            lambda checks: _create_each(fourth, checks),
        ]

    def finish(self) -> None:
        """Leave, and evaluate what raced, as the monitor does now and then."""
        self.resources.close()
        self.postgrest.stop()
        wait_until(lambda: _sessions(self.url) == 0, "every session has ended")
        one(self.url, "select evaluate_health_checks(null)")
        assert _deadlocks(self.url) == 0

    def _ours(self, url: str) -> Connection:
        key = self.postgrest.service_key if url.startswith("http") else None
        return self.resources.enter_context(pulsebase.connect(url, key=key))

    def _raw(self) -> psycopg.Connection[Any]:
        return self.resources.enter_context(psycopg.connect(self.url, autocommit=True))

    def _insert(self, session: psycopg.Connection[Any]) -> Door:
        def write(checks: list[NewHealthCheck]) -> None:
            values = ", ".join(["(%s, %s, %s, %s)"] * len(checks))
            query = f"insert into {_TABLE} values {values}"  # noqa: S608 -- our own names
            session.execute(query.encode(), [value for one in checks for value in _values(one)])

        return write

    def _one_by_one(self, session: psycopg.Connection[Any]) -> Door:
        insert = self._insert(session)
        return lambda checks: [insert([check]) for check in checks]

    def _copy(self, session: psycopg.Connection[Any]) -> Door:
        def write(checks: list[NewHealthCheck]) -> None:
            with session.cursor().copy(f"copy {_TABLE} from stdin".encode()) as copy:
                for check in checks:
                    copy.write_row(_values(check))

        return write

    def _post(self) -> Door:
        key = self.postgrest.service_key
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        client = self.resources.enter_context(httpx.Client(headers=headers, timeout=60))
        url = f"{self.postgrest.url}/service_health_checks"

        def write(checks: list[NewHealthCheck]) -> None:
            # The members of a row are those that our own clients send.
            sent = [json.loads(check.json()) for check in checks]
            client.post(url, json=sent).raise_for_status()

        return write


def _values(check: NewHealthCheck) -> tuple[Any, ...]:
    return check.id, check.service_name, check.status, check.checked_at


def _create_each(connection: Connection, checks: list[NewHealthCheck]) -> None:
    for check in checks:
        HealthCheckModel.create(
            connection,
            id=check.id,
            service_name=check.service_name,
            status=check.status,
            checked_at=check.checked_at,
        )


def _sessions(url: str) -> int:
    query = "select count(*) from pg_stat_activity where datname = current_database()"
    others = one(url, f"{query} and pid <> pg_backend_pid() and backend_type = 'client backend'")
    return int(others)


def _deadlocks(url: str) -> int:
    query = "select deadlocks from pg_stat_database where datname = current_database()"
    return int(one(url, query))


@pytest.fixture
def writers(database: str, start_postgrest: Callable[[str], PostgrestServer]) -> Iterator[Writers]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "insert into alert_policies (position, alert_policy) values (0, %s)",
            [json.dumps(_POLICY)],
        )
        connection.execute("insert into alert_channels (name) values ('ops')")
    writers = Writers(database, start_postgrest(database))
    with writers.resources:
        yield writers


def history(service: str, changes: int, chance: random.Random) -> deque[NewHealthCheck]:
    """Checks of which each changes the status, and the last is a recovery."""
    statuses: list[Status] = ["healthy"]
    while len(statuses) <= changes:
        statuses.append(chance.choice([one for one in _STATUSES if one != statuses[-1]]))
    if statuses[-1] != "healthy":
        statuses.append("healthy")
    return deque(check(service, status, second) for second, status in enumerate(statuses[1:]))


def check(service: str, status: Status, second: int) -> NewHealthCheck:
    moment = _BEGINNING + timedelta(seconds=second)
    return NewHealthCheck(service_name=service, status=status, checked_at=moment)


class Turns:
    """Hands out the next checks of services, and none before the one that precedes it is stored."""

    def __init__(self, histories: list[deque[NewHealthCheck]], chance: random.Random) -> None:
        self._chance = chance
        self._unfinished = len(histories)
        self._lock = Lock()
        self._waiting: SimpleQueue[deque[NewHealthCheck] | None] = SimpleQueue()
        for one_history in chance.sample(histories, len(histories)):
            self._waiting.put(one_history)

    def work(self, door: Door) -> None:
        """Store checks until there are none."""
        while batch := self._take():
            door([one_history[0] for one_history in batch])
            for one_history in batch:
                self._put_back(one_history)

    def _take(self) -> list[deque[NewHealthCheck]]:
        batch = []
        for place in range(self._chance.randint(1, _LARGEST_BATCH)):
            try:
                found = self._waiting.get(block=place == 0)
            except Empty:
                break
            if found is None:  # the end, which the others shall see too
                self._waiting.put(None)
                break
            batch.append(found)
        return batch

    def _put_back(self, one_history: deque[NewHealthCheck]) -> None:
        one_history.popleft()
        with self._lock:
            self._unfinished -= not one_history
            if one_history:
                self._waiting.put(one_history)
            elif not self._unfinished:
                self._waiting.put(None)


def all_at_once(doors: list[Door], work: Callable[[Door], object]) -> None:
    """Let every writer work until it has no more to do."""
    start = Barrier(len(doors))

    def run(door: Door) -> None:
        start.wait(10)
        work(door)

    with ThreadPoolExecutor(len(doors)) as threads:
        for done in [threads.submit(run, door) for door in doors]:
            done.result()


def decide_in_turn(writers: Writers, *, services: int, changes: int) -> None:
    """The checks of each service come in their order, each through any door."""
    chance = random.Random(services)  # noqa: S311 -- no secret
    histories = [history(f"service-{number}", changes, chance) for number in range(services)]
    expected = expected_events(histories)
    all_at_once(writers.doors(), Turns(histories, chance).work)
    writers.finish()
    assert found_events(writers.url) == expected
    assert_incidents_are_whole(writers.url, services=services, active=0)


def expected_events(histories: list[deque[NewHealthCheck]]) -> dict[str, list[Any]]:
    """What the reference model says of each service."""
    events = {}
    for checks in histories:
        reference = Reference(lambda _: {**BUILT_IN, **_POLICY})
        for number, new in enumerate(checks):
            second = int((new.checked_at - _BEGINNING).total_seconds())
            reference.insert([Check(second, number, new.service_name, new.status, "")])
        events[checks[0].service_name] = [
            (event.alert_type, event.started_at, event.resolved_at, event.resolved_by)
            for event in reference.events
        ]
    return events


def found_events(url: str) -> dict[str, list[Any]]:
    """What was decided, in the same form."""
    events: dict[str, list[Any]] = {}
    for service, alert_type, started_at, resolved_at, resolved_by in rows(url, _EVENTS):
        row = (alert_type, _seconds(started_at), _seconds(resolved_at), resolved_by)
        events.setdefault(service, []).append(row)
    return events


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else (moment - _BEGINNING).total_seconds()


def assert_incidents_are_whole(url: str, *, services: int, active: int | None) -> None:
    """Each incident began once, and ended once or goes on; nobody was told twice of an end."""
    incidents = rows(url, _INCIDENTS)
    assert {row[0] for row in incidents} == {f"service-{number}" for number in range(services)}
    for service, begun, ended, going_on in incidents:
        assert (begun, ended + going_on) == (1, 1), service
    going_on = [service for service, _, _, count in incidents if count]
    assert len(going_on) == len(set(going_on))
    assert active is None or len(going_on) == active
    assert rows(url, _STATUSES_APART) == []
    assert rows(url, _RESOLVED_TWICE) == []
    assert rows(url, _UNRESOLVED) == []


def decide_in_races(writers: Writers, *, services: int, checks: int) -> None:
    """Every writer has checks of every service, so that they overtake one another."""
    chance = random.Random(services)  # noqa: S311 -- no secret
    every = [
        check(f"service-{number}", chance.choice(_STATUSES), second)
        for second in range(checks)
        for number in range(services)
    ]
    # Shuffled, but nothing is very late.
    order = sorted(range(len(every)), key=lambda place: place + chance.random() * 3 * services)
    waiting, lock = deque(every[place] for place in order), Lock()

    def take() -> list[NewHealthCheck]:
        with lock:
            size = min(len(waiting), chance.randint(1, _LARGEST_BATCH))
            return [waiting.popleft() for _ in range(size)]

    def work(door: Door) -> None:
        while batch := take():
            door(batch)

    all_at_once(writers.doors(), work)
    writers.finish()
    assert_incidents_are_whole(writers.url, services=services, active=None)
    for service, events in found_events(writers.url).items():
        # An opening begins, and a recovery comes, with one check: no check was counted twice.
        times = [ended if kind == "recovery" else began for kind, began, ended, _ in events]
        assert all(earlier < later for earlier, later in pairwise(times)), service


def test_every_change_is_decided_once(writers: Writers) -> None:
    decide_in_turn(writers, services=40, changes=20)


def test_writers_that_race_decide_each_incident_once(writers: Writers) -> None:
    decide_in_races(writers, services=10, checks=80)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_twenty_thousand_changes_are_decided_once(writers: Writers) -> None:
    decide_in_turn(writers, services=500, changes=40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_writers_that_race_for_twenty_thousand_checks(writers: Writers) -> None:
    decide_in_races(writers, services=500, checks=40)


def test_large_batches_in_opposite_orders_are_both_decided(database: str) -> None:
    """By the thousand and in one transaction: one that waits in a circle is ended and repeated."""
    orders = [("a", "b"), ("b", "a")]
    batches = [[check(name, "down", n) for name in order for n in range(1000)] for order in orders]
    start = Barrier(2)

    def write(batch: list[NewHealthCheck]) -> None:
        with pulsebase.connect(database) as connection:
            HealthCheckModel.find_by_id(connection, batch[0].id)
            start.wait(10)
            HealthCheckModel.create_many(connection, checks=batch)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, batches))
    assert one(database, "select count(*) from alert_events where status = 'active'") == 2
