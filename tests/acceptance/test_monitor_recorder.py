"""The recorder on a database that comes, goes and hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from pulsebase.connection import connect_async
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.recording.recorder import Recorder
from tests.support.lying_server import LyingServer, stalls
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.recording import left, recording, stored_ids, stored_in_order
from tests.support.small_disk import small_files
from tests.support.spooling import NOWHERE, a_spool, checks, files
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.postgrest_server import PostgrestServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A migrated PostgreSQL that this test may stop and kill."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        migrate(server.url())
        yield server


def answers(reachability: Reachability) -> bool:
    """Whether the last call was answered."""
    return reachability.since is not None


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
        assert list((tmp_path / "spool").iterdir()) == []


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
    monkeypatch.setattr("pulsebase.monitor.recording.recorder._ATTEMPT_SECONDS", 1.0)
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


async def test_a_full_disk_while_the_database_is_away_loses_nothing_yet(
    own_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What the disk does not take waits in memory, and is recorded after what it took."""
    async with (
        connect_async(own_server.url(), connect_timeout_seconds=2) as connection,
        recording(connection, a_spool(tmp_path)) as recorder,
    ):
        own_server.stop()
        with small_files(kilobytes=100):
            for number in range(0, 2000, 50):
                for check in checks(50, first=number):
                    recorder.put(check)
                await wait_until_async(lambda: recorder.waiting < 50 or recorder.spooled, "kept")
            await wait_until_async(lambda: "cannot keep checks on disk" in caplog.text, "full")
            await wait_until_async(lambda: recorder.failures > 0, "the outage is noticed", 30)
            assert left(recorder) == 2000
            assert recorder.waiting > 0
        own_server.start()  # which is not to have the limit
        await wait_until_async(lambda: left(recorder) == 0, "everything is stored", 60)
    assert stored_in_order(own_server.url()) == list(range(2000))
    assert recorder.dropped == 0


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


async def test_where_no_file_serves_it_says_that_checks_wait_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And names no folder where nobody would find them."""
    (tmp_path / "file").touch()
    with caplog.at_level("INFO", "pulsebase.monitor"):
        async with connect_async(NOWHERE) as connection:
            recorder = Recorder(connection, spool=a_spool(tmp_path / "file" / "spool"))
            recorder.start()
            recorder.put(*checks(1))
            await wait_until_async(lambda: "checks go to" in caplog.text, "it is told")
            assert await recorder.stop(within_seconds=0) == 1
    assert "checks go to memory" in caplog.text


async def test_a_single_check_is_told_of_as_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a log says of one is what people say of one."""
    with caplog.at_level("INFO", "pulsebase.monitor"):
        async with connect_async(NOWHERE) as connection:
            recorder = Recorder(connection, spool=a_spool(tmp_path))
            recorder.start()
            recorder.put(*checks(1))
            await wait_until_async(lambda: recorder.failures > 0, "the database is away")
            await recorder.stop(within_seconds=0)
        spool = a_spool(tmp_path)
        await spool.close()
    assert "cannot record, 1 check waiting: " in caplog.text
    assert f"1 check of earlier runs waiting in {tmp_path}" in caplog.text
