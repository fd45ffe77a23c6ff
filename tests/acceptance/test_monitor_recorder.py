"""The recorder on a database that comes and goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.connection import connect_async
from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.recorder import Recorder
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A migrated PostgreSQL that this test may stop and kill."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        migrate(server.url())
        yield server


def checks(count: int) -> list[NewHealthCheck]:
    """So many checks."""
    return [
        NewHealthCheck(service_name=f"service-{number % 7}", status="healthy", latency_ms=number)
        for number in range(count)
    ]


def stored_ids(url: str) -> list[Any]:
    """The ids of all rows."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select id from service_health_checks").fetchall()
    return [row[0] for row in rows]


async def test_checks_are_stored_soon_and_once(database: str) -> None:
    """What was put is there within a moment, without an end of the monitor."""
    given = checks(1234)
    async with connect_async(database) as connection:
        recorder = Recorder(connection)
        recorder.start()
        for check in given:
            recorder.put(check)
        await wait_until_async(lambda: recorder.waiting + recorder.spooled == 0, "every check is stored")
        assert await recorder.stop(within_seconds=5) == 0
    assert sorted(stored_ids(database)) == sorted(check.id for check in given)
    assert recorder.recorded == len(given)


async def test_an_outage_loses_and_doubles_nothing(own_server: PostgresServer) -> None:
    """Checks of before, during and after a crash of the database are there once."""
    given = checks(900)
    async with connect_async(own_server.url(), connect_timeout_seconds=2) as connection:
        recorder = Recorder(connection)
        recorder.start()
        for check in given[:300]:
            recorder.put(check)
        await wait_until_async(lambda: recorder.recorded > 0, "the first batch is stored")
        own_server.kill()
        for check in given[300:600]:
            recorder.put(check)
        await wait_until_async(lambda: recorder.failures > 0, "the outage is noticed", 30)
        own_server.start()
        for check in given[600:]:
            recorder.put(check)
        await wait_until_async(lambda: recorder.waiting + recorder.spooled == 0, "everything is stored", 60)
        assert await recorder.stop(within_seconds=5) == 0
    assert sorted(stored_ids(own_server.url())) == sorted(check.id for check in given)
    assert recorder.dropped == 0


async def test_a_refused_row_does_not_hold_up_the_others(database: str) -> None:
    """One poisoned check is dropped and told; its neighbours are stored."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "alter table service_health_checks add constraint no_thirteen check (latency_ms <> 13)"
        )
    async with connect_async(database) as door:
        recorder = Recorder(door)
        recorder.start()
        for check in checks(50):
            recorder.put(check)
        assert await recorder.stop(within_seconds=10) == 0
    assert len(stored_ids(database)) == 49
    assert recorder.dropped == 1


async def test_the_oldest_goes_when_too_many_wait_and_is_counted() -> None:
    """Memory is bounded while the database is away."""
    async with connect_async("postgresql://127.0.0.1:9/nobody") as connection:
        recorder = Recorder(connection, most_waiting=10)
        given = checks(25)
        for check in given:
            recorder.put(check)
        assert recorder.waiting == 10
        assert recorder.dropped == 15


async def test_the_end_waits_only_so_long_for_a_database_that_is_away() -> None:
    """And says how many checks could not be stored."""
    async with connect_async("postgresql://127.0.0.1:9/nobody") as connection:
        recorder = Recorder(connection)
        recorder.start()
        for check in checks(3):
            recorder.put(check)
        assert await recorder.stop(within_seconds=2) == 3


async def test_a_refused_row_and_a_passing_fault_do_not_stop_the_recorder(database: str) -> None:
    """While the batch is taken apart the disk is full: what is good is stored when it is not."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create table disk (is_full boolean);
            insert into disk values (true);
            create function judge() returns trigger language plpgsql as $$
            begin
                if new.latency_ms = 1 then
                    raise exception 'never' using errcode = '23514';
                end if;
                if new.latency_ms = 2 and (select is_full from public.disk) then
                    raise exception 'disk full' using errcode = '53100';
                end if;
                return new;
            end $$;
            create trigger judge before insert on service_health_checks
                for each row execute function judge();
            """
        )
        async with connect_async(database) as door:
            recorder = Recorder(door)
            recorder.start()
            for check in checks(5):
                recorder.put(check)
            await wait_until_async(lambda: recorder.failures > 0, "the full disk is noticed", 30)
            connection.execute("update disk set is_full = false")
            await wait_until_async(lambda: recorder.waiting + recorder.spooled == 0, "the rest is stored", 30)
            assert await recorder.stop(within_seconds=5) == 0
    assert len(stored_ids(database)) == 4
    assert (recorder.recorded, recorder.dropped) == (4, 1)


async def test_a_very_long_outage_does_not_end_the_recorder() -> None:
    """The pause between attempts stays bounded, however many there were."""
    async with connect_async("postgresql://127.0.0.1:9/nobody") as connection:
        recorder = Recorder(connection)
        recorder.failures = 100_000
        recorder.start()
        recorder.put(checks(1)[0])
        assert await recorder.stop(within_seconds=10) == 1
