"""The table of monitors: who is there is decided by the database's clock, and once for all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, LiteralString
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

import pulsebase
from pulsebase import MonitorModel, MonitorServices
from tests.sql.scripts import one, rows
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pulsebase import Connection, Monitor

SESSIONS = 12
A_BEAT = "select beat_monitor(id => %s, heartbeat_interval_seconds => 5, version => '1')"


def beat(
    door: Connection, identifier: UUID, seconds: float = 10, *, was_cut_off: bool = False
) -> list[Monitor]:
    """One beat, with an interval that no test is as slow as."""
    return MonitorModel.beat(
        door,
        id=identifier,
        heartbeat_interval=timedelta(seconds=seconds),
        version="1.2.3",
        was_cut_off=was_cut_off,
    )


def age(url: str, identifier: UUID, *, seen: float = 0, steady: float = 0) -> None:
    """Make a row as old as if so many seconds had gone by."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "update monitors set last_seen_at = last_seen_at - %s * interval '1 second',"
            " steady_since = steady_since - %s * interval '1 second' where id = %s",
            [seen, steady, identifier],
        )


def test_many_sessions_beat_at_once_and_see_one_another(database: str) -> None:
    """Twelve monitors, thirty beats each: one row for each, and no deadlock."""
    ids = [uuid4() for _ in range(SESSIONS)]
    start = Barrier(SESSIONS)

    def run(identifier: UUID) -> list[Monitor]:
        with pulsebase.connect(database) as door:
            beat(door, identifier)
            start.wait(20)
            return [beat(door, identifier) for _ in range(30)][-1]

    with ThreadPoolExecutor(SESSIONS) as threads:
        answers = list(threads.map(run, ids))
    assert all({each.id for each in answer} == set(ids) for answer in answers)
    assert one(database, "select count(*) from monitors") == SESSIONS


def test_many_sessions_mark_and_forget_the_same_dead_at_once(database: str) -> None:
    with pulsebase.connect(database) as door:
        for days in range(20):
            dead = uuid4()
            beat(door, dead)
            age(database, dead, seen=days % 3 * 50_000 + 60)
    ids = [uuid4() for _ in range(SESSIONS)]
    start = Barrier(SESSIONS)

    def run(identifier: UUID) -> list[Monitor]:
        with pulsebase.connect(database) as door:
            beat(door, identifier)
            age(database, identifier, steady=60)
            start.wait(20)
            return [beat(door, identifier) for _ in range(5)][-1]

    with ThreadPoolExecutor(SESSIONS) as threads:
        answers = list(threads.map(run, ids))
    assert all({each.id for each in answer} == set(ids) for answer in answers)
    # Marked at first, forgotten by a later beat: twice 50,000 seconds are more than a day.
    assert one(database, "select count(*) from monitors where gone_at is not null") == 14


def test_a_silent_monitor_is_gone_after_two_and_a_half_of_its_own_intervals(database: str) -> None:
    """Its own: one that beats once an hour is not judged by those that beat every ten seconds."""
    watching, silent, slow = uuid4(), uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        for identifier, seconds in ((watching, 10), (silent, 10), (slow, 3600)):
            beat(door, identifier, seconds)
        age(database, watching, steady=60)
        age(database, silent, seen=24)
        age(database, slow, seen=24)
        assert {each.id for each in beat(door, watching)} == {watching, silent, slow}
        age(database, silent, seen=2)
        assert {each.id for each in beat(door, watching)} == {watching, slow}
        known = {each.id: each for each in MonitorModel.find_all(door)}
        assert known[silent].gone_at is not None
        assert (known[silent].is_silent, known[slow].is_silent) == (True, False)
        assert {each.id for each in beat(door, silent)} == {watching, silent, slow}


def test_after_an_outage_the_first_to_beat_drops_nobody(database: str) -> None:
    """Nobody could beat, so nobody's silence means anything, until one has beaten for a while."""
    first, second, newcomer = uuid4(), uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        for identifier in (first, second):
            beat(door, identifier)
            age(database, identifier, seen=3600, steady=7200)
        assert {each.id for each in beat(door, first)} == {first, second}
        assert {each.id for each in beat(door, newcomer)} == {first, second, newcomer}
        age(database, first, steady=24)
        assert {each.id for each in beat(door, first)} == {first, second, newcomer}
        age(database, first, steady=2)
        assert {each.id for each in beat(door, first)} == {first, newcomer}


def test_who_was_cut_off_for_a_moment_judges_nobody_yet(database: str) -> None:
    """Also after an outage that was shorter than its own silence would have to be."""
    cut_off, silent = uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        beat(door, cut_off)
        beat(door, silent)
        age(database, cut_off, steady=600)
        age(database, silent, seen=60)
        both = {cut_off, silent}
        assert {each.id for each in beat(door, cut_off, was_cut_off=True)} == both
        assert {each.id for each in beat(door, cut_off)} == both
        age(database, cut_off, steady=26)
        assert {each.id for each in beat(door, cut_off)} == {cut_off}


def test_a_clock_that_is_set_back_keeps_nobody_alive(database: str) -> None:
    """Rows from the future are rewritten by those that live; the others go after a while."""
    first, second, dead = uuid4(), uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        for identifier in (first, second, dead):
            beat(door, identifier)
            age(database, identifier, seen=-3600, steady=-3000)
        everybody = {first, second, dead}
        assert {each.id for each in beat(door, first)} == everybody
        assert {each.id for each in beat(door, second)} == everybody
        age(database, first, steady=26)
        assert {each.id for each in beat(door, first)} == {first, second}


def test_a_clock_that_is_set_forward_kills_nobody(database: str) -> None:
    first, second = uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        for identifier in (first, second):
            beat(door, identifier)
            age(database, identifier, seen=3600, steady=3700)
        for identifier in (first, second, first, second):
            assert {each.id for each in beat(door, identifier)} == {first, second}


def test_the_dead_are_forgotten_after_a_day(database: str) -> None:
    watching, dead = uuid4(), uuid4()
    with pulsebase.connect(database) as door:
        beat(door, watching)
        beat(door, dead)
        age(database, watching, steady=60)
        age(database, dead, seen=86_000)
        beat(door, watching)
        assert len(MonitorModel.find_all(door)) == 2
        age(database, dead, seen=500)
        beat(door, watching)
        assert [each.id for each in MonitorModel.find_all(door)] == [watching]


def test_a_beat_waits_for_no_other_monitor(database: str) -> None:
    """A dead row that somebody has locked is left for later; a live one is not touched."""
    watching, locked = uuid4(), uuid4()
    with pulsebase.connect(database, statement_timeout_seconds=5) as door:
        beat(door, watching)
        beat(door, locked)
        age(database, watching, steady=60)
        age(database, locked, seen=60)
        with psycopg.connect(database) as holder:
            holder.execute("select from monitors where id = %s for update", [locked])
            assert len(beat(door, watching)) == 2
        assert len(beat(door, watching)) == 1


@pytest.mark.parametrize("services", [0, 100, 100_000])
def test_a_beat_is_one_small_write(database: str, services: int) -> None:
    """No index entry, and under 300 bytes of WAL, however many services the monitor watches."""
    identifier = uuid4()
    with pulsebase.connect(database) as door, psycopg.connect(database, autocommit=True) as plain:
        beat(door, identifier)
        hashes = b"".join(number.to_bytes(8, "big") for number in range(services))
        MonitorModel.publish_services(door, identifier, services=MonitorServices("d", hashes))
        plain.execute("checkpoint")
        plain.execute(A_BEAT, [identifier])  # the first write to a page after that logs it whole
        before = plain.execute("select pg_current_wal_insert_lsn()").fetchall()
        for _ in range(100):
            plain.execute(A_BEAT, [identifier])
        (written,) = plain.execute(
            "select pg_current_wal_insert_lsn() - %s::pg_lsn", before[0]
        ).fetchall()
        assert written[0] / 100 < 300
        hot = "select n_tup_upd - n_tup_hot_upd from pg_stat_user_tables where relname = 'monitors'"
        updated = "select n_tup_upd from pg_stat_user_tables where relname = 'monitors'"
    wait_until(lambda: one(database, updated) >= 100, "the statistics have arrived")
    assert one(database, hot) <= 2
    assert one(database, "select pg_relation_size('monitors')") <= 16_384


@pytest.mark.parametrize(
    "change",
    [
        "heartbeat_interval_seconds = 0",
        "heartbeat_interval_seconds = 100000",
        "name = ''",
        "name = E'two\\nlines'",
        "location = repeat('x', 101)",
        "services = 'seven b'",
    ],
)
def test_rows_must_obey(database: str, change: LiteralString) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(A_BEAT, [uuid4()])
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(sql.SQL("update monitors set ") + sql.SQL(change))


def test_a_monitor_that_leaves_has_no_row(database: str) -> None:
    identifier = uuid4()
    with pulsebase.connect(database) as door:
        beat(door, identifier)
        assert MonitorModel.remove(door, identifier)
        assert not MonitorModel.remove(door, identifier)
    assert rows(database, "select id from monitors") == []
