"""Read this first: what pulsebase is for, one idea a story."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase import (
    AlertEventModel,
    HealthCheckModel,
    InvalidValueError,
    NewHealthCheck,
    connect,
    connect_async,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase import Connection


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """A connection to a migrated database."""
    with connect(database) as opened:
        yield opened


def test_a_check_is_recorded_and_read_back(connection: Connection) -> None:
    """One call stores an observation; history gives it back as it was."""
    stored = HealthCheckModel.create(
        connection,
        service_name="openai",
        status="degraded",
        latency_ms=2400,
        probe_details={"http_status": 200},
    )
    assert HealthCheckModel.find_by_service(connection, "openai") == [stored]
    assert HealthCheckModel.find_by_id(connection, stored.id) == stored


def test_many_checks_are_stored_at_once_and_never_twice(connection: Connection) -> None:
    """A batch can be repeated after any trouble: each check brings its own id."""
    checks = [
        NewHealthCheck(service_name="search", status="healthy", latency_ms=number)
        for number in range(2500)
    ]
    first = HealthCheckModel.create_many(connection, checks=checks)
    again = HealthCheckModel.create_many(connection, checks=checks)
    assert (first.inserted, first.duplicates) == (2500, 0)
    assert (again.inserted, again.duplicates) == (0, 2500)
    assert sum(1 for _ in HealthCheckModel.iterate_by_service(connection, "search")) == 2500


def test_a_service_that_fell_silent_is_still_there(connection: Connection) -> None:
    """The newest check of every service, however old; stale says that nobody knows any more."""
    weeks_ago = datetime.now(UTC) - timedelta(weeks=3)
    HealthCheckModel.create(
        connection, service_name="forgotten", status="healthy", checked_at=weeks_ago
    )
    HealthCheckModel.create(connection, service_name="watched", status="down")
    forgotten, watched = HealthCheckModel.find_latest(connection)
    assert (forgotten.service_name, forgotten.is_stale) == ("forgotten", True)
    assert (watched.service_name, watched.is_stale) == ("watched", False)


def test_an_alert_is_opened_and_resolved_once(connection: Connection) -> None:
    """Resolving twice changes nothing: the first time stands."""
    event = AlertEventModel.create(connection, service_name="search", alert_type="service_down")
    assert AlertEventModel.find_active(connection) == [event]
    resolved = AlertEventModel.resolve(connection, event.id)
    assert AlertEventModel.resolve(connection, event.id) == resolved
    assert AlertEventModel.find_active(connection) == []


def test_a_check_belongs_to_the_transaction_of_the_work(database: str) -> None:
    """Handed your own connection, pulsebase leaves commit and rollback to you."""
    with psycopg.connect(database) as own:
        HealthCheckModel.create(own, service_name="import", status="healthy")
        own.rollback()
        assert HealthCheckModel.find_by_service(own, "import") == []


@pytest.mark.anyio
async def test_the_same_verbs_are_awaited_on_asyncio(database: str) -> None:
    """There is one API; the connection decides its colour."""
    async with connect_async(database) as connection:
        stored = await HealthCheckModel.create(connection, service_name="api", status="healthy")
        found = [row async for row in HealthCheckModel.iterate_by_service(connection, "api")]
    assert found == [stored]


def test_a_wrong_value_is_refused_before_anything_is_sent(connection: Connection) -> None:
    """The error names the field, the value and the bound."""
    with pytest.raises(InvalidValueError, match="latency_ms must be a whole number from 0"):
        HealthCheckModel.create(connection, service_name="api", status="healthy", latency_ms=-1)
    assert HealthCheckModel.count_by_status(connection).total == 0
