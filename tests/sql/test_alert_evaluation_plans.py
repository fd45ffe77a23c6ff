"""Evaluation looks at the rows that it needs, whatever plans a session keeps from before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.scripts import apply
from tests.sql.test_plans import EXPLAINING, Explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.postgres_server import PostgresServer

    Act = Callable[[psycopg.Connection[Any]], int]

# Of 10,000 services whose state is known a fifth is not steady.
HISTORY = """
set session_replication_role = replica;
insert into service_health_checks (service_name, status, checked_at, created_at)
select 's' || n % 200, 'healthy', moment, moment
from generate_series(1, 200000) as n,
    lateral (select now() - interval '3 days' + n * interval '1 second') as m (moment);
insert into service_states (service_name, is_steady, tracks, last_checked_at)
select 'k' || n, n % 5 <> 0,
    case when n % 5 = 0 then '{"": {"failing_streak": 1}}'::jsonb else '{}' end,
    now() - interval '1 hour'
from generate_series(1, 10000) as n;
reset session_replication_role;
vacuum analyze
"""
ONE = "insert into service_health_checks (service_name, status) values (%s, %s)"
# Each hundredth is bad, which are services that are not steady as well.
MANY = """
insert into service_health_checks (service_name, status)
select 'k' || n, case when n % 100 = 0 then 'down' else 'healthy' end
from generate_series(1, 10000) as n
"""


@pytest.fixture(scope="module", params=[15, 18])
def history(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[str]:
    """A database of the oldest and of the newest PostgreSQL, with 200,000 checks."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    apply(server.url(name))
    with psycopg.connect(server.url(name), autocommit=True) as connection:
        for statement in HISTORY.split(";\n"):
            connection.execute(statement.encode())
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def session(history: str) -> Iterator[Explained]:
    with psycopg.connect(history, autocommit=True) as connection:
        for line in EXPLAINING.strip().splitlines():
            connection.execute(line.encode())
        yield Explained(connection)


def one(service: str, status: str) -> Act:
    """Store one check."""
    return lambda connection: connection.execute(ONE, [service, status]).rowcount


def many(connection: psycopg.Connection[Any]) -> int:
    """Store a check of each service whose state is known."""
    return connection.execute(MANY.encode()).rowcount


def touched(session: Explained, act: Act) -> int:
    """The rows that were looked at, by indexes only, the last of some times; none is kept."""
    scans = session.scans(act)
    assert not [scan for scan in scans if scan[0] == "Seq Scan"], scans
    return sum(rows for _, _, rows in scans)


def test_a_healthy_check_of_a_steady_service_reads_no_history(session: Explained) -> None:
    """One look tells that somebody is not steady, the other that this service is."""
    assert touched(session, one("s1", "healthy")) <= 2


def test_a_failing_check_reads_the_end_of_its_service_alone(session: Explained) -> None:
    assert touched(session, one("s1", "down")) <= 20


def test_who_stored_single_checks_may_store_ten_thousand(session: Explained) -> None:
    """2,000 are not steady, and of each hardly more is read than of one alone."""
    touched(session, one("k5", "down"))
    assert touched(session, many) <= 2000 * 10


def test_who_stored_ten_thousand_may_store_single_checks(session: Explained) -> None:
    touched(session, many)
    assert touched(session, one("s1", "healthy")) <= 2
    assert touched(session, one("s1", "down")) <= 20


def test_catching_up_reads_what_is_not_evaluated(session: Explained) -> None:
    """A look at each of those that are not steady, and no more where nothing is new."""

    def catch_up(connection: psycopg.Connection[Any]) -> int:
        return connection.execute("select evaluate_health_checks(null)").rowcount

    assert touched(session, catch_up) <= 2000 * 3
