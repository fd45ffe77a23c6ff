"""Many sessions at once: each row is written, resolved and deleted exactly once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar
from uuid import uuid4

import psycopg

import pulsebase
from pulsebase import AlertEventModel, HealthCheckModel, NewHealthCheck
from tests.sql.scripts import one

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from pulsebase import AlertEvent, Connection

T = TypeVar("T")

SESSIONS = 8
OLD = """
insert into service_health_checks (service_name, status, checked_at, created_at)
select 'old', 'healthy', moment, moment from generate_series(1, 12000) as n (number),
lateral (select now() - interval '40 days' - number * interval '1 second') as m (moment)
"""


def _at_once(url: str, act: Callable[[Connection], T]) -> list[T]:
    """What eight sessions got, that were connected before and let loose together."""
    start = Barrier(SESSIONS)

    def run(_: int) -> T:
        with pulsebase.connect(url) as connection:
            HealthCheckModel.find_by_id(connection, uuid4())
            start.wait(10)
            return act(connection)

    with ThreadPoolExecutor(SESSIONS) as threads:
        return list(threads.map(run, range(SESSIONS)))


def test_an_event_is_resolved_at_one_time(database: str) -> None:
    for _ in range(5):
        with pulsebase.connect(database) as connection:
            event = AlertEventModel.create(connection, service_name="x", alert_type="service_down")
        answers = _at_once(database, partial(_resolve, event.id))
        assert answers == [answers[0]] * SESSIONS
        assert answers[0].resolved_at is not None


def _resolve(sought: UUID, connection: Connection) -> AlertEvent:
    return AlertEventModel.resolve(connection, sought)


def test_a_check_is_stored_once_for_its_id(database: str) -> None:
    given = uuid4()
    answers = _at_once(
        database,
        lambda door: HealthCheckModel.create(door, service_name="x", status="healthy", id=given),
    )
    assert {(check.id, check.created_at) for check in answers} == {(given, answers[0].created_at)}
    assert one(database, "select count(*) from service_health_checks") == 1


def test_the_same_batch_is_stored_once(database: str) -> None:
    """Also when the sessions have it in opposite orders: none waits for another in a circle."""
    checks = [NewHealthCheck(service_name="x", status="down") for _ in range(900)]
    orders = iter([checks, checks[::-1]] * SESSIONS)
    answers = _at_once(
        database, lambda door: HealthCheckModel.create_many(door, checks=next(orders))
    )
    assert sum(answer.inserted for answer in answers) == 900
    assert all(answer.inserted + answer.duplicates == 900 for answer in answers)
    assert one(database, "select count(*) from service_health_checks") == 900


def test_deleting_side_by_side_deletes_each_row_once(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(OLD)
    age = timedelta(days=30)
    answers = _at_once(database, lambda door: HealthCheckModel.delete_older_than(door, age))
    assert sum(answers) == 12_000
    assert one(database, "select count(*) from service_health_checks") == 0


def test_deleting_does_not_wait_for_a_locked_row(database: str) -> None:
    with psycopg.connect(database) as holder, pulsebase.connect(database) as connection:
        holder.execute(OLD)
        holder.commit()
        holder.execute("select from service_health_checks order by created_at limit 10 for update")
        age = timedelta(days=30)
        assert HealthCheckModel.delete_older_than(connection, age) == 11_990
        holder.rollback()
        assert HealthCheckModel.delete_older_than(connection, age) == 10
