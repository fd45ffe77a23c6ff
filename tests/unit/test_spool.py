"""The spool keeps what it is given, in order, within its bound, whatever lies in its folder."""

from __future__ import annotations

import logging
import os
import random
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.spool import Spool, open_spool
from pulsebase.monitor.spool_store import SpoolStore
from pulsebase.settings import resolve
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pulsebase.models.health_check import Status
    from pulsebase.monitor.configuration.values import WhenFull

TARGET = resolve("postgresql://somebody:secret@db.example:5432/app")
LARGE = {"text": "x" * 800}
MEBIBYTE = 1024 * 1024


def checks(
    count: int, *, first: int = 0, status: Status = "healthy", details: dict[str, Any] | None = None
) -> list[NewHealthCheck]:
    """So many checks with ascending numbers as their latencies."""
    return [
        NewHealthCheck(service_name="a", status=status, latency_ms=n, probe_details=details)
        for n in range(first, first + count)
    ]


def keys(folder: Path, **given: Any) -> MonitorKeys:
    """The keys of a monitor that keeps its checks in this folder."""
    return MonitorKeys(spool=str(folder), **given)


def texts(given: Sequence[NewHealthCheck]) -> list[str]:
    """The rows of checks."""
    return [check.json() for check in given]


async def drained(spool: Spool, *, at_once: int = 100) -> list[str]:
    """All rows in the order in which they leave; none is kept any longer."""
    rows: list[str] = []
    while loan := await spool.borrow(at_once):
        rows += [row.json() for row in loan.rows]
        await spool.settle(loan, len(loan.rows))
    return rows


def files(folder: Path, pattern: str = "spool-*.sqlite3") -> list[Path]:
    """The files of spools."""
    return sorted(folder.glob(pattern))


def only_file(folder: Path) -> Path:
    """The file of the only spool."""
    [path] = files(folder)
    return path


async def test_what_is_kept_comes_back_in_order_and_once(tmp_path: Path) -> None:
    spool = open_spool(keys(tmp_path), TARGET)
    given = checks(40) + checks(30, status="down") + checks(50) + checks(20, status="degraded")
    random.Random(1).shuffle(given)  # noqa: S311 -- an order, no secret
    await spool.keep(given[:60])
    await spool.keep(given[60:])
    assert (spool.count, spool.on_disk, spool.in_memory) == (140, 140, 0)
    assert await drained(spool, at_once=33) == texts(given)
    assert await spool.borrow(10) is None
    assert await spool.close() == 0


async def test_what_one_process_leaves_the_next_one_finds(tmp_path: Path) -> None:
    given = checks(10)
    first = open_spool(keys(tmp_path), TARGET)
    await first.keep(given)
    assert await first.close() == 0
    second = open_spool(keys(tmp_path), TARGET)
    later = checks(5)
    await second.keep(later)
    assert await drained(second) == texts(given + later)
    await second.close()
    assert files(tmp_path) == []


async def test_nothing_is_written_before_there_is_something_to_keep(tmp_path: Path) -> None:
    spool = open_spool(keys(tmp_path / "deep" / "folder"), TARGET)
    assert list((tmp_path / "deep" / "folder").iterdir()) == []
    await spool.close()


async def test_databases_have_files_of_their_own_whoever_logs_in(tmp_path: Path) -> None:
    """The name tells neither the user nor the password."""
    others = [
        resolve("postgresql://other:word@db.example:5432/app"),
        resolve("postgresql://somebody:secret@db.example:5432/other"),
        resolve("postgresql://somebody:secret@other.example:5432/app"),
    ]
    spool = open_spool(keys(tmp_path), TARGET)
    await spool.keep(checks(3))
    await spool.close()
    seen = []
    for target in others:
        other = open_spool(keys(tmp_path), target)
        seen.append(other.count)
        await other.close()
    assert seen == [3, 0, 0]


async def test_rows_that_are_on_their_way_are_kept_first_and_lent(tmp_path: Path) -> None:
    spool = open_spool(keys(tmp_path), TARGET)
    given = checks(10)
    loan = await spool.keep(given, flying=4)
    assert loan is not None
    assert [row.json() for row in loan.rows] == texts(given[:4])
    await spool.settle(loan, 3)
    await spool.take_back(loan.after(3))
    assert spool.count == 7
    assert await drained(spool) == texts(given[3:])
    await spool.close()


@pytest.mark.parametrize("drops", ["oldest", "newest", "healthy"])
async def test_a_full_spool_drops_by_its_rule_and_counts(tmp_path: Path, drops: WhenFull) -> None:
    spool = open_spool(keys(tmp_path, spool_limit=MEBIBYTE, spool_drops=drops), TARGET)
    given: list[NewHealthCheck] = []
    for first in range(0, 2500, 50):
        healthy = checks(45, first=first, details=LARGE)
        given += healthy + checks(5, first=first + 45, status="down", details=LARGE)
        await spool.keep(given[-50:])
    # The pages of one write more than what is in use: no page is free before its rows are gone.
    assert only_file(tmp_path).stat().st_size <= MEBIBYTE + 50 * 1200
    assert spool.dropped == 2500 - spool.count
    assert spool.count > 900
    left = await drained(spool)
    assert len(left) == 2500 - spool.dropped
    match drops:
        case "oldest":
            assert left == texts(given)[-len(left) :]
        case "newest":
            # Where a page became free, the newest of a later write found room.
            assert left[:900] == texts(given)[:900]
        case "healthy":
            down = [check for check in given if check.status == "down"]
            assert [row for row in left if '"down"' in row] == texts(down)
            newest = [check for check in given if check.status == "healthy"][-len(left) + 250 :]
            assert [row for row in left if '"healthy"' in row] == texts(newest)
    await spool.close()


async def test_when_no_healthy_check_is_left_the_oldest_goes() -> None:
    spool = Spool(SpoolStore(None, limit_bytes=100_000, drops="healthy"))
    given = checks(300, status="down", details=LARGE)
    for start in range(0, 300, 20):
        await spool.keep(given[start : start + 20])
    left = await drained(spool)
    assert 50 < len(left) < 150
    assert left == texts(given)[-len(left) :]
    await spool.close()


@pytest.mark.parametrize("drops", ["oldest", "newest", "healthy"])
async def test_what_is_on_its_way_is_not_dropped(drops: WhenFull) -> None:
    """Else a check would be counted as lost and stored at once."""
    spool = Spool(SpoolStore(None, limit_bytes=100_000, drops=drops))
    given = checks(20, details=LARGE)
    loan = await spool.keep(given, flying=10)
    assert loan is not None
    for _ in range(20):
        await spool.keep(checks(20, details=LARGE))
    before = spool.count
    await spool.settle(loan, 10)
    assert spool.count == before - 10
    assert spool.dropped == 420 - before
    assert len(await drained(spool)) == before - 10
    await spool.close()


async def test_a_bound_that_takes_nothing_still_counts() -> None:
    spool = Spool(SpoolStore(None, limit_bytes=0, drops="oldest"))
    await spool.keep(checks(7))
    assert (spool.count, spool.dropped) == (0, 7)
    assert await spool.borrow(1) is None
    assert await spool.close() == 0


async def test_an_emptied_file_gives_its_space_back(tmp_path: Path) -> None:
    """A long outage must not leave a large file until the process ends."""
    spool = open_spool(keys(tmp_path), TARGET)
    await spool.keep(checks(5000, details=LARGE))
    await drained(spool, at_once=1000)
    assert only_file(tmp_path).stat().st_size < 100_000
    await spool.keep(checks(1))
    assert spool.on_disk == 1
    await spool.close()


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
    spool = open_spool(keys(tmp_path), TARGET)
    await spool.keep(checks(1000))
    await spool.close()
    harm(only_file(tmp_path))
    harmed = only_file(tmp_path).read_bytes()
    spool = open_spool(keys(tmp_path), TARGET)
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
    spool = open_spool(keys(tmp_path), TARGET)
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
    spool = open_spool(keys(tmp_path), TARGET)
    await spool.keep(checks(3))
    await spool.close()
    with closing(sqlite3.connect(only_file(tmp_path), isolation_level=None)) as connection:
        connection.execute("update healthy set row = cast(x'ff00fe' as text) where seq = 2")
    spool = open_spool(keys(tmp_path), TARGET)
    loan = await spool.borrow(10)
    assert loan is not None
    assert [row.service_name for row in loan.rows] == ["a", "?", "a"]
    await spool.close()


HOLDER = """
import asyncio, sys
from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.spool import open_spool
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
        [sys.executable, "-c", HOLDER, str(folder), TARGET.url], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_two_processes_never_share_a_file(tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        assert process.stdout is not None
        wait_until(process.stdout.readline, "the other process keeps something")
        ours = open_spool(keys(tmp_path), TARGET)
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
    spool = open_spool(keys(tmp_path), TARGET)
    rows = await drained(spool, at_once=1000)
    assert len(rows) >= max(said, 500)
    assert len(rows) % 100 == 0
    assert all(f'"latency_ms":{number},' in row for number, row in enumerate(rows))
    await spool.close()


async def test_files_of_several_dead_processes_are_emptied_oldest_first(tmp_path: Path) -> None:
    """And removed; what comes meanwhile comes after them."""
    older, newer = open_spool(keys(tmp_path), TARGET), open_spool(keys(tmp_path), TARGET)
    given = checks(30)
    await newer.keep(given[10:20])
    await older.keep(given[:10])
    await newer.close()
    await older.close()
    assert len(files(tmp_path)) == 2
    spool = open_spool(keys(tmp_path), TARGET)
    await spool.keep(given[20:])
    assert await drained(spool, at_once=7) == texts(given)
    assert len(files(tmp_path)) == 1
    await spool.close()
    assert files(tmp_path) == []


async def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    before = os.umask(0)
    try:
        spool = open_spool(keys(folder), TARGET)
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
    spool = open_spool(keys(blocked / "folder"), TARGET)
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


@contextmanager
def small_disk(folder: Path, kilobytes: int) -> Iterator[None]:
    """The folder becomes a filesystem of its own, of so many kilobytes."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        # No part that could be installed: where nothing can be mounted, the limit below serves.
        pytest.skip("only root can mount a small filesystem, and not everywhere")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def small_files(kilobytes: int) -> Iterator[None]:
    """No file of this process may grow beyond so many kilobytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_is_survived_and_left_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the disk does not take waits in memory, and goes to the disk when it does."""
    monkeypatch.setattr("pulsebase.monitor.spool_store._RETRY_SECONDS", 0.0)
    given = checks(1000, details=LARGE)
    with small_disk(tmp_path, 512):
        spool = open_spool(keys(tmp_path), TARGET)
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
    monkeypatch.setattr("pulsebase.monitor.spool_store._RETRY_SECONDS", 0.0)
    given = checks(300, details=LARGE)
    spool = open_spool(keys(tmp_path), TARGET)
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


async def test_any_history_gives_what_a_list_would_give(tmp_path: Path) -> None:
    """Keep, borrow, settle a part, give back, end and start again, in any order."""
    chance = random.Random(3)  # noqa: S311 -- a history, no secret
    spool = open_spool(keys(tmp_path), TARGET)
    expected: list[str] = []
    for _ in range(300):
        match chance.choice(["keep", "keep", "borrow", "restart"]):
            case "keep":
                given = checks(chance.randint(1, 9), status=chance.choice(["healthy", "down"]))
                await spool.keep(given)
                expected += texts(given)
            case "borrow":
                if loan := await spool.borrow(chance.randint(1, 20)):
                    got = [row.json() for row in loan.rows]
                    assert got == expected[: len(got)]
                    if settled := chance.randint(0, len(got)):
                        await spool.settle(loan, settled)
                    await spool.take_back(loan.after(settled))
                    del expected[:settled]
            case _:
                assert await spool.close() == 0
                spool = open_spool(keys(tmp_path), TARGET)
        assert spool.count == len(expected)
    assert await drained(spool) == expected
    await spool.close()
