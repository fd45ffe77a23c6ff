"""The recorder on a database that comes, goes and hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest

from pulsebase.connection import connect_async
from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.recorder import Recorder
from pulsebase.monitor.spool import open_spool
from pulsebase.settings import resolve
from tests.support.lying_server import LyingServer, stalls
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.spool import Spool
    from tests.support.postgrest_server import PostgrestServer

pytestmark = pytest.mark.anyio

NOWHERE = "postgresql://127.0.0.1:9/nobody"


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A migrated PostgreSQL that this test may stop and kill."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        migrate(server.url())
        yield server


def checks(count: int, *, first: int = 0) -> list[NewHealthCheck]:
    """So many checks, numbered by their latencies."""
    return [
        NewHealthCheck(service_name=f"service-{number % 7}", status="healthy", latency_ms=number)
        for number in range(first, first + count)
    ]


def stored_ids(url: str) -> list[Any]:
    """The ids of all rows."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select id from service_health_checks").fetchall()
    return [row[0] for row in rows]


def stored_in_order(url: str) -> list[int]:
    """The numbers of the rows in the order in which they arrived; those of one batch by number."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select latency_ms from service_health_checks order by created_at, latency_ms"
        ).fetchall()
    return [row[0] for row in rows]


def a_spool(folder: Path, url: str = NOWHERE) -> Spool:
    """The spool of a monitor for this database."""
    return open_spool(MonitorKeys(spool=str(folder)), resolve(url))


def files(folder: Path) -> list[Path]:
    """What lies in a folder."""
    return list(folder.iterdir())


def answers(reachability: Reachability) -> bool:
    """Whether the last call was answered."""
    return reachability.since is not None


def left(recorder: Recorder) -> int:
    """How many checks are not in the database yet."""
    return recorder.waiting + recorder.spooled


@asynccontextmanager
async def recording(
    connection: AsyncConnection, spool: Spool | None = None
) -> AsyncIterator[Recorder]:
    """A recorder at work; it must not leave anything behind."""
    recorder = Recorder(connection, spool=spool)
    recorder.start()
    try:
        yield recorder
    finally:
        lost = await recorder.stop(within_seconds=10)
    assert lost == 0


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Nobody can store a check: the table is locked, and every INSERT hangs."""
    with psycopg.connect(url) as connection:
        connection.execute("lock table service_health_checks in access exclusive mode")
        yield


@contextmanager
def halted(server: PostgresServer) -> Iterator[None]:
    """No process of the server moves, and none of its connections breaks."""
    postmaster = psutil.Process(server.process.process_id)
    stopped = [postmaster, *postmaster.children(recursive=True)]
    for process in stopped:
        process.suspend()
    try:
        yield
    finally:
        for process in stopped:
            process.resume()


async def test_checks_are_stored_soon_and_once(database: str) -> None:
    """What was put is there within a moment, without an end of the monitor."""
    given = checks(1234)
    async with connect_async(database) as connection, recording(connection) as recorder:
        for check in given:
            recorder.put(check)
        await wait_until_async(lambda: left(recorder) == 0, "every check is stored")
    assert sorted(stored_ids(database)) == sorted(check.id for check in given)
    assert recorder.recorded == len(given)


async def test_while_all_is_well_no_disk_is_touched(database: str, tmp_path: Path) -> None:
    """Not even a file is made."""
    spool = a_spool(tmp_path / "spool", database)
    async with connect_async(database) as connection, recording(connection, spool) as recorder:
        for number in range(8):
            recorder.put(checks(1, first=number)[0])
            await wait_until_async(lambda: left(recorder) == 0, "the check is stored")
        assert files(tmp_path / "spool") == []


async def test_an_outage_loses_and_doubles_nothing(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Checks of before, during and after a crash of the database are there once, in order."""
    given = checks(900)
    async with (
        connect_async(own_server.url(), connect_timeout_seconds=2) as connection,
        recording(connection, a_spool(tmp_path)) as recorder,
    ):
        for check in given[:300]:
            recorder.put(check)
        await wait_until_async(lambda: recorder.recorded > 0, "the first batch is stored")
        own_server.kill()
        for check in given[300:600]:
            recorder.put(check)
        await wait_until_async(lambda: recorder.failures > 0, "the outage is noticed", 30)
        await wait_until_async(lambda: recorder.spooled == 300, "the checks are on disk")
        assert recorder.waiting == 0
        own_server.start()
        for check in given[600:]:
            recorder.put(check)
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 60)
    assert sorted(stored_ids(own_server.url())) == sorted(check.id for check in given)
    assert stored_in_order(own_server.url()) == list(range(900))
    assert recorder.dropped == 0


@pytest.mark.parametrize("hang", ["a lock", "the whole server"])
async def test_a_database_that_hangs_keeps_nothing_in_memory_for_long(
    own_server: PostgresServer, tmp_path: Path, hang: str
) -> None:
    """What is on its way when it hangs is on disk within a second, and stored once when it ends."""
    url = own_server.url()
    async with (
        connect_async(url) as connection,
        recording(connection, a_spool(tmp_path)) as recorder,
    ):
        recorder.put(checks(1)[0])
        await wait_until_async(lambda: recorder.recorded == 1, "the connection is open")
        with locked(url) if hang == "a lock" else halted(own_server):
            for number in range(1, 200):
                began = time.monotonic()
                recorder.put(checks(1, first=number)[0])
                if number % 50 == 0:
                    await wait_until_async(lambda: recorder.waiting == 0, "all is on disk")
                    assert time.monotonic() - began < 3  # 0.8 s, and a busy machine
            await wait_until_async(lambda: recorder.spooled == 199, "all is on disk")
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 60)
    assert stored_in_order(url) == list(range(200))
    assert recorder.dropped == 0


async def test_an_answer_that_never_comes_is_given_up(
    own_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And asked for again, without an error of the network that would say so."""
    monkeypatch.setattr("pulsebase.monitor.recorder._ATTEMPT_SECONDS", 1.0)
    reachability = Reachability()
    async with connect_async(own_server.url()) as connection:
        recorder = Recorder(connection, reachability=reachability, spool=a_spool(tmp_path))
        recorder.start()
        with locked(own_server.url()):
            for check in checks(50):
                recorder.put(check)
            await wait_until_async(lambda: recorder.failures > 0, "it is given up", 20)
            assert "did not answer within" in str(recorder.trouble)
            assert not answers(reachability)
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 30)
        assert answers(reachability)
        assert await recorder.stop(within_seconds=5) == 0
    assert stored_in_order(own_server.url()) == list(range(50))


async def test_a_web_door_that_hangs_keeps_nothing_in_memory_for_long(
    database: str, start_postgrest: Callable[[str], PostgrestServer], tmp_path: Path
) -> None:
    """The same over PostgREST, which takes requests and says nothing."""
    server = start_postgrest(database)
    async with (
        connect_async(server.url, key=server.service_key) as connection,
        recording(connection, a_spool(tmp_path)) as recorder,
    ):
        recorder.put(checks(1)[0])
        await wait_until_async(lambda: recorder.recorded == 1, "it answers", 30)
        os.kill(server.process.process_id, signal.SIGSTOP)
        try:
            for check in checks(99, first=1):
                recorder.put(check)
            await wait_until_async(lambda: recorder.spooled == 99, "all is on disk")
            assert recorder.waiting == 0
        finally:
            os.kill(server.process.process_id, signal.SIGCONT)
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 60)
    assert stored_in_order(database) == list(range(100))


async def test_the_end_does_not_wait_for_a_door_that_never_answers(tmp_path: Path) -> None:
    """What it was sent is kept, and the next recorder has it."""
    async with LyingServer(stalls()) as server:
        url = f"{server.url}rest/v1"
        async with connect_async(url, key="sb_secret_x") as connection:
            recorder = Recorder(connection, spool=a_spool(tmp_path))
            recorder.start()
            for check in checks(20):
                recorder.put(check)
            began = time.monotonic()
            assert await recorder.stop(within_seconds=1) == 0
            assert time.monotonic() - began < 10
    assert a_spool(tmp_path).on_disk == 20


async def test_what_one_recorder_could_not_store_the_next_one_stores_first(
    database: str, tmp_path: Path
) -> None:
    """The end is not held up where all that is left is safe."""
    async with connect_async(NOWHERE) as connection:
        recorder = Recorder(connection, spool=a_spool(tmp_path))
        recorder.start()
        for check in checks(2500):
            recorder.put(check)
        began = time.monotonic()
        assert await recorder.stop(within_seconds=60) == 0
        assert time.monotonic() - began < 30
    async with (
        connect_async(database) as connection,
        recording(connection, a_spool(tmp_path)) as recorder,
    ):
        for check in checks(500, first=2500):
            recorder.put(check)
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 30)
    assert stored_in_order(database) == list(range(3000))
    assert files(tmp_path) == []


async def test_a_refused_row_does_not_hold_up_the_others(database: str, tmp_path: Path) -> None:
    """Poisoned checks are dropped and told; their neighbours are stored, in order."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "alter table service_health_checks"
            " add constraint no_13 check (latency_ms not in (13, 14, 77))"
        )
    spool = a_spool(tmp_path)
    await spool.keep(checks(40))
    async with connect_async(database) as door, recording(door, spool) as recorder:
        for check in checks(60, first=40):
            recorder.put(check)
        await wait_until_async(lambda: left(recorder) == 0, "what is good is stored")
    assert stored_in_order(database) == [n for n in range(100) if n not in (13, 14, 77)]
    assert recorder.dropped == 3


async def test_a_spool_that_was_tampered_with_costs_only_what_is_wrong(
    database: str, tmp_path: Path
) -> None:
    """Rows that are no checks are refused one by one, and told."""
    spool = a_spool(tmp_path)
    good = checks(20)
    await spool.keep(good)
    for text in ("nonsense", "{}", "[1, 2]", '{"id": "x"}', "null", "\ufffd"):
        wrong = checks(1)[0]
        object.__setattr__(wrong, "_json", text)
        await spool.keep([wrong])
    more = checks(20, first=20)
    await spool.keep(more)
    async with connect_async(database) as door, recording(door, spool) as recorder:
        await wait_until_async(lambda: left(recorder) == 0, "what is good is stored")
    assert sorted(stored_ids(database)) == sorted(check.id for check in good + more)
    assert recorder.dropped == 6


async def test_the_oldest_goes_when_too_many_wait_and_is_counted() -> None:
    """Memory is bounded even before anything is started."""
    async with connect_async(NOWHERE) as connection:
        recorder = Recorder(connection, most_waiting=10)
        for check in checks(25):
            recorder.put(check)
        assert recorder.waiting == 10
        assert recorder.dropped == 15


async def test_the_end_waits_only_so_long_for_a_database_that_is_away() -> None:
    """And says how many checks could not be stored, where there is no disk to keep them."""
    async with connect_async(NOWHERE) as connection:
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
        async with connect_async(database) as door, recording(door) as recorder:
            for check in checks(5):
                recorder.put(check)
            await wait_until_async(lambda: recorder.failures > 0, "the full disk is noticed", 30)
            connection.execute("update disk set is_full = false")
            await wait_until_async(lambda: left(recorder) == 0, "the rest is stored", 30)
    assert len(stored_ids(database)) == 4
    assert (recorder.recorded, recorder.dropped) == (4, 1)


async def test_a_batch_that_is_too_much_is_sent_in_smaller_ones(database: str) -> None:
    """A database that cannot bear many rows at once gets fewer, not the same ones for ever."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            """
            create function bear() returns trigger language plpgsql as $$
            begin
                if (select count(*) from arrived) > 100 then
                    raise exception 'too much' using errcode = '54000';
                end if;
                return null;
            end $$;
            create trigger bear after insert on service_health_checks
                referencing new table as arrived
                for each statement execute function bear();
            """
        )
    async with connect_async(database) as door, recording(door) as recorder:
        for check in checks(800):
            recorder.put(check)
        await wait_until_async(lambda: left(recorder) == 0, "all is stored", 60)
    assert stored_in_order(database) == list(range(800))


async def test_a_check_of_a_clock_that_is_ahead_waits(database: str, tmp_path: Path) -> None:
    """It can be set right, and time goes by: such a check is not lost."""
    with psycopg.connect(database, autocommit=True) as connection:
        constraint = "service_health_checks_checked_at_not_in_future"
        connection.execute(
            f"alter table service_health_checks drop constraint {constraint},"
            f" add constraint {constraint} check (latency_ms <> 2) not valid"
        )
        async with (
            connect_async(database) as door,
            recording(door, a_spool(tmp_path)) as recorder,
        ):
            for check in checks(5):
                recorder.put(check)
            await wait_until_async(lambda: recorder.failures > 1, "it is tried again", 30)
            assert (recorder.recorded, left(recorder), recorder.dropped) == (2, 3, 0)
            connection.execute(f"alter table service_health_checks drop constraint {constraint}")
            await wait_until_async(lambda: left(recorder) == 0, "all is stored", 30)
    assert stored_in_order(database) == list(range(5))


async def test_a_very_long_outage_does_not_end_the_recorder() -> None:
    """The pause between attempts stays bounded, however many there were."""
    async with connect_async(NOWHERE) as connection:
        recorder = Recorder(connection)
        recorder.failures = 100_000
        recorder.start()
        recorder.put(checks(1)[0])
        assert await recorder.stop(within_seconds=3) == 1


async def test_the_probes_are_not_held_up_by_a_replay(database: str, tmp_path: Path) -> None:
    """While 60,000 checks go from the disk into the database, the event loop stays free."""
    spool = a_spool(tmp_path)
    await spool.keep(checks(60_000))
    lags: list[float] = []

    async def watch() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)  # not to wait for something: to see how late it comes back
            lags.append(time.monotonic() - began - 0.01)

    watching = asyncio.create_task(watch())
    async with connect_async(database) as door, recording(door, spool) as recorder:
        await wait_until_async(lambda: left(recorder) == 0, "all is stored", 60)
    watching.cancel()
    ordered = sorted(lags)
    assert ordered[int(len(ordered) * 0.9)] < 0.1
    assert len(stored_ids(database)) == 60_000
