"""The recorder on a database that refuses some of what it is given."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.connection import connect_async
from pulsebase.monitor.recording.recorder import Recorder
from tests.support.lying_server import LyingServer, answers
from tests.support.recording import left, recording, stored_ids, stored_in_order
from tests.support.spooling import a_spool, checks
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


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


async def test_a_server_that_asks_for_patience_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Retry-After` counts for the recorder where it is too long for a single call."""
    monkeypatch.setattr("pulsebase.transports.retry._LONGEST_WAIT_SECONDS", 0.5)
    monkeypatch.setattr("pulsebase.monitor.recording.recorder._FIRST_PAUSE_SECONDS", 0.001)
    busy = answers(status="429 Too Many Requests", headers="Retry-After: 2\r\n")
    async with LyingServer(busy) as server:
        url = f"{server.url}rest/v1"
        async with connect_async(url, key="sb_secret_x") as connection:
            recorder = Recorder(connection)
            recorder.start()
            recorder.put(checks(1)[0])
            await wait_until_async(lambda: recorder.failures == 1, "it is refused")
            began = time.monotonic()
            await wait_until_async(lambda: recorder.failures == 2, "it is refused again")
            assert time.monotonic() - began > 1.9
            assert await recorder.stop(within_seconds=0.1) == 1
