"""The spool keeps what it is given, in order and within its bound."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pulsebase.monitor.recording.spool import Spool
from pulsebase.monitor.recording.spool_store import SpoolStore
from tests.support.spooling import MEBIBYTE, a_spool, checks, drained, files, only_file, texts

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.models.health_check import NewHealthCheck, Status
    from pulsebase.monitor.configuration.values import WhenFull
    from pulsebase.monitor.recording.spool_store import Loan

LARGE = {"text": "x" * 800}


async def test_what_is_kept_comes_back_in_order_and_once(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
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
    first = a_spool(tmp_path)
    await first.keep(given)
    assert await first.close() == 0
    second = a_spool(tmp_path)
    later = checks(5)
    await second.keep(later)
    assert await drained(second) == texts(given + later)
    await second.close()
    assert files(tmp_path) == []


async def test_nothing_is_written_before_there_is_something_to_keep(tmp_path: Path) -> None:
    spool = a_spool(tmp_path / "deep" / "folder")
    assert list((tmp_path / "deep" / "folder").iterdir()) == []
    await spool.close()


async def test_databases_have_files_of_their_own_whoever_logs_in(tmp_path: Path) -> None:
    """The name tells neither the user nor the password."""
    others = [
        "postgresql://other:word@db.example:5432/app",
        "postgresql://somebody:secret@db.example:5432/other",
        "postgresql://somebody:secret@other.example:5432/app",
    ]
    spool = a_spool(tmp_path, "postgresql://somebody:secret@db.example:5432/app")
    await spool.keep(checks(3))
    await spool.close()
    seen = []
    for url in others:
        other = a_spool(tmp_path, url)
        seen.append(other.count)
        await other.close()
    assert seen == [3, 0, 0]


async def test_rows_that_are_on_their_way_are_kept_first_and_lent(tmp_path: Path) -> None:
    spool = a_spool(tmp_path)
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
    spool = a_spool(tmp_path, spool_limit=MEBIBYTE, spool_drops=drops)
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
    spool = a_spool(tmp_path)
    await spool.keep(checks(5000, details=LARGE))
    await drained(spool, at_once=1000)
    assert only_file(tmp_path).stat().st_size < 100_000
    await spool.keep(checks(1))
    assert spool.on_disk == 1
    await spool.close()


async def test_any_history_gives_what_a_list_would_give(tmp_path: Path) -> None:
    """Keep, borrow, settle a part, give back, end and start again, in any order."""
    chance = random.Random(3)  # noqa: S311 -- a history, no secret
    spool = a_spool(tmp_path)
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
                spool = a_spool(tmp_path)
        assert spool.count == len(expected)
    assert await drained(spool) == expected
    await spool.close()


@pytest.mark.parametrize("drops", ["oldest", "newest", "healthy"])
@pytest.mark.parametrize("seed", range(4))
async def test_every_check_is_somewhere_or_counted(drops: WhenFull, seed: int) -> None:
    """Kept, lent, settled and given back while too little fits: nothing just vanishes."""
    chance = random.Random(seed)  # noqa: S311 -- a history, no secret
    limit = chance.choice([20_000, 60_000, 200_000])
    spool = Spool(SpoolStore(None, limit_bytes=limit, drops=drops))
    put = settled = 0
    loan: Loan | None = None
    for _ in range(120):
        if chance.random() < 0.6:
            given = mixed(chance, first=put)
            flying = 0 if loan or spool.count else chance.randint(0, len(given))
            loan = await spool.keep(given, flying=flying) or loan
            put += len(given)
        elif loan is None:
            loan = await spool.borrow(chance.randint(1, 50))
        else:
            done = chance.randint(1, len(loan.rows))
            await spool.settle(loan, done)
            settled += done
            await spool.take_back(loan.after(done))
            loan = None
        assert put == settled + spool.count + spool.dropped
    kept = spool.count
    rows = await drained(spool)
    assert len(rows) == kept
    numbers = [int(row.partition('"latency_ms":')[2].partition(",")[0]) for row in rows]
    assert numbers == sorted(numbers)


def mixed(chance: random.Random, *, first: int) -> list[NewHealthCheck]:
    """Some checks, healthy and not, small and large."""
    given: list[NewHealthCheck] = []
    for number in range(first, first + chance.randint(1, 60)):
        status: Status = chance.choice(["healthy", "healthy", "down"])
        details = {"text": "x" * chance.randint(0, 3000)}
        given += checks(1, first=number, status=status, details=details)
    return given
