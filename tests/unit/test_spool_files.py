"""The spool opens whatever lies in its folder, and survives processes and disks."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.small_disk import small_disk, small_files
from tests.support.spooling import NOWHERE, a_spool, checks, drained, files, only_file, texts
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LARGE = {"text": "x" * 800}


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all; " * 1000)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten_in_the_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size // 2))


def of_another_program(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table strangers (name text)")


def of_a_later_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma user_version = 99")


def without_its_tables(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("drop table healthy")


@pytest.mark.parametrize(
    "harm",
    [
        garbage,
        cut_short,
        overwritten_in_the_middle,
        of_another_program,
        of_a_later_version,
        without_its_tables,
    ],
)
async def test_the_spool_opens_whatever_became_of_its_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    """The file is put aside, for a person to look at, and that is said."""
    spool = a_spool(tmp_path)
    await spool.keep(checks(1000))
    await spool.close()
    harm(only_file(tmp_path))
    harmed = only_file(tmp_path).read_bytes()
    spool = a_spool(tmp_path)
    assert spool.count == 0
    given = checks(3)
    await spool.keep(given)
    assert await drained(spool) == texts(given)
    await spool.close()
    [aside] = files(tmp_path, "*.damaged-*Z")
    assert aside.read_bytes()[100:] == harmed[100:]  # but for what opening it has written
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(aside) in record.getMessage()


async def test_a_file_that_breaks_while_it_is_used_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was in it is counted as lost; what comes later is kept."""
    spool = a_spool(tmp_path)
    for _ in range(6):
        await spool.keep(checks(3000, details=LARGE))
    overwritten_in_the_middle(only_file(tmp_path))
    later = checks(10)
    rows = await drained(spool, at_once=500)
    await spool.keep(later)
    rows += await drained(spool)
    assert rows[-10:] == texts(later)
    assert len(rows) + spool.dropped == 18_010
    assert spool.dropped > 0
    assert "damaged" in caplog.text
    await spool.close()


async def test_rows_that_are_no_text_come_out_and_hold_nothing_up(tmp_path: Path) -> None:
    """A damaged page may have made anything of them: the database refuses them alone."""
    spool = a_spool(tmp_path)
    await spool.keep(checks(3))
    await spool.close()
    with closing(sqlite3.connect(only_file(tmp_path), isolation_level=None)) as connection:
        connection.execute("update healthy set row = cast(x'ff00fe' as text) where seq = 2")
    spool = a_spool(tmp_path)
    loan = await spool.borrow(10)
    assert loan is not None
    assert [row.service_name for row in loan.rows] == ["service-0", "?", "service-2"]
    await spool.close()


HOLDER = """
import asyncio, sys
from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.recording.spool import open_spool
from pulsebase.settings import resolve

async def hold():
    spool = open_spool(MonitorKeys(spool=sys.argv[1]), resolve(sys.argv[2]))
    number = 0
    while True:
        batch = [NewHealthCheck(service_name="a", status="down", latency_ms=number + n)
                 for n in range(100)]
        await spool.keep(batch)
        number += 100
        print(number, flush=True)

asyncio.run(hold())
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that keeps a hundred checks at a time, and says how many are kept."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), NOWHERE], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_two_processes_never_share_a_file(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        assert process.stdout is not None
        wait_until(process.stdout.readline, "the other process keeps something")
        ours = a_spool(tmp_path)
        assert ours.count == 0
        given = checks(4)
        await ours.keep(given)
        assert len(files(tmp_path)) == 2
        assert await drained(ours) == texts(given)
        await ours.close()
        assert len(files(tmp_path)) == 1


@pytest.mark.parametrize("round_number", range(3))
async def test_what_was_kept_survives_kill_9(tmp_path: Path, round_number: int) -> None:
    """Whenever it comes: what was said to be kept is there, in its order."""
    with another_process(tmp_path) as process:
        assert process.stdout is not None
        lines = process.stdout
        for _ in range(5 + 9 * round_number):
            wait_until(lines.readline, "it keeps something")
        process.kill()
        said = int((lines.read().split() or ["0"])[-1])
    spool = a_spool(tmp_path)
    rows = await drained(spool, at_once=1000)
    assert len(rows) >= max(said, 500)
    assert len(rows) % 100 == 0
    assert all(f'"latency_ms":{number},' in row for number, row in enumerate(rows))
    await spool.close()


async def test_files_of_several_dead_processes_are_emptied_oldest_first(tmp_path: Path) -> None:
    """And removed; what comes meanwhile comes after them."""
    older, newer = a_spool(tmp_path), a_spool(tmp_path)
    given = checks(30)
    await newer.keep(given[10:20])
    await older.keep(given[:10])
    await newer.close()
    await older.close()
    assert len(files(tmp_path)) == 2
    spool = a_spool(tmp_path)
    await spool.keep(given[20:])
    assert await drained(spool, at_once=7) == texts(given)
    assert len(files(tmp_path)) == 1
    await spool.close()
    assert files(tmp_path) == []


async def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    before = os.umask(0)
    try:
        spool = a_spool(folder)
        await spool.keep(checks(1))
        modes = {path.suffix: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert modes == {".sqlite3": 0o600, ".sqlite3-wal": 0o600}
    await spool.close()


async def test_without_a_folder_checks_are_kept_in_memory_and_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    spool = a_spool(blocked / "folder")
    given = checks(25)
    for check in given:
        await spool.keep([check])
    assert (spool.count, spool.on_disk, spool.in_memory) == (25, 0, 25)
    loan = await spool.borrow(20)
    assert loan is not None
    await spool.settle(loan, 20)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot keep checks on disk" in warnings[0].getMessage()
    assert await spool.close() == 5


async def test_a_full_disk_is_survived_and_left_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk does not take waits in memory, and goes to the disk when it does."""
    monkeypatch.setattr("pulsebase.monitor.recording.spool_store._RETRY_SECONDS", 0.0)
    given = checks(1000, details=LARGE)
    with small_disk(tmp_path, 512):
        spool = a_spool(tmp_path)
        ballast = tmp_path / "ballast"
        ballast.write_bytes(b"x" * 300_000)
        for start in range(0, 600, 20):
            await spool.keep(given[start : start + 20])
        assert spool.on_disk > 0
        assert spool.in_memory > 0
        assert spool.count == 600
        loan = await spool.borrow(20)
        assert loan is not None
        await spool.settle(loan, len(loan.rows))
        ballast.unlink()
        await spool.keep(given[600:610])
        rows = [row.json() for row in loan.rows] + await drained(spool)
        assert rows == texts(given[:610])
        assert spool.dropped == 0
        assert await spool.close() == 0
    assert "cannot keep checks on disk" in caplog.text


async def test_files_that_may_not_grow_are_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where the system limits the size of files."""
    monkeypatch.setattr("pulsebase.monitor.recording.spool_store._RETRY_SECONDS", 0.0)
    given = checks(300, details=LARGE)
    spool = a_spool(tmp_path)
    with small_files(100):
        for start in range(0, 280, 20):
            await spool.keep(given[start : start + 20])
        assert spool.on_disk > 0
        assert spool.in_memory > 0
    await spool.keep(given[280:])
    assert spool.in_memory == 0
    assert await drained(spool) == texts(given)
    assert "the disk takes checks again" in caplog.text
    assert await spool.close() == 0
