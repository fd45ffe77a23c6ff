"""Monitors that share one real database: who probes what, through deaths, pauses and outages."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.connection import AsyncConnection, connect_async
from pulsebase.models.monitor import MonitorModel
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.sharing.footprints import Footprints
from pulsebase.monitor.sharing.sharing import Sharing
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from tests.support.postgrest_server import PostgrestServer

pytestmark = pytest.mark.anyio

HEARTBEAT_SECONDS = 0.6
# What a busy machine may add; the soak of the processes holds the promise at its real length.
NOISE_SECONDS = 3.0
NAMES = [f"service-{number}" for number in range(200)]


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A migrated PostgreSQL that this test may stop and kill."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)]) as server:
        migrate(server.url())
        yield server


class Crew:
    """Several `Sharing`s on one database, each over a connection of its own."""

    def __init__(self, url: str, folder: Path, stack: AsyncExitStack) -> None:
        self._url = url
        self._folder = folder
        self._stack = stack
        self.members: list[Sharing] = []

    async def join(
        self,
        names: Sequence[str] = NAMES,
        *,
        location: str | None = None,
        folder: Path | None = None,
        url: str | None = None,
        key: str | None = None,
    ) -> Sharing:
        """A new member that watches these names."""
        sharing = Sharing(
            await self._connection(url or self._url, key),
            name=f"monitor-{len(self.members)}",
            location=location,
            heartbeat_interval=timedelta(seconds=HEARTBEAT_SECONDS),
            reachability=Reachability(),
            footprints=Footprints(folder or self._folder / str(len(self.members))),
        )
        sharing.watch(names)
        sharing.start()
        self._stack.push_async_callback(sharing.stop)
        self.members.append(sharing)
        return sharing

    async def _connection(self, url: str, key: str | None) -> AsyncConnection:
        connection = connect_async(url, key=key, connect_timeout_seconds=2)
        return await self._stack.enter_async_context(connection)

    async def settle(self, *members: Sharing) -> None:
        """Wait until each of these sees them all and nobody else, and each service has one."""
        there = {member.id for member in members}

        def settled() -> bool:
            met = all(
                {each.id for each in member.monitors if each.location == member._location} == there
                for member in members
            )
            counts = Counter(sum(member.owns(name) for member in members) for name in NAMES)
            return met and counts == {1: len(NAMES)}

        await wait_until_async(settled, f"{len(members)} monitors share the services")


async def heartbeats(count: float) -> None:
    """So many heartbeat intervals go by."""
    loop = asyncio.get_running_loop()
    until = loop.time() + count * HEARTBEAT_SECONDS
    await wait_until_async(lambda: loop.time() > until, "the time goes by")


def pause(sharing: Sharing) -> None:
    """End the beats without a word, as in a process that is stopped."""
    assert sharing._task is not None
    sharing._task.cancel()


def die(sharing: Sharing) -> None:
    """End the beats without a word, and let go of the lock, as a killed process does."""
    pause(sharing)
    held = sharing._footprints._held
    while held:
        os.close(held.popitem()[1])


@asynccontextmanager
async def a_crew(url: str, folder: Path) -> AsyncIterator[Crew]:
    """A crew without members."""
    async with AsyncExitStack() as stack:
        yield Crew(url, folder, stack)


async def test_each_service_has_exactly_one_monitor(database: str, tmp_path: Path) -> None:
    async with a_crew(database, tmp_path) as crew:
        members = [await crew.join() for _ in range(3)]
        await crew.settle(*members)
        shares = [sum(map(member.owns, NAMES)) for member in members]
    assert min(shares) > 35


async def test_one_that_leaves_is_replaced_at_the_next_beat(database: str, tmp_path: Path) -> None:
    async with a_crew(database, tmp_path) as crew:
        members = [await crew.join() for _ in range(3)]
        await crew.settle(*members)
        await members[0].stop()
        left = asyncio.get_running_loop().time()
        await crew.settle(*members[1:])
        assert asyncio.get_running_loop().time() - left < 2 * HEARTBEAT_SECONDS + NOISE_SECONDS


async def test_one_that_dies_is_replaced_within_three_heartbeats(
    database: str, tmp_path: Path
) -> None:
    async with a_crew(database, tmp_path) as crew:
        members = [await crew.join() for _ in range(3)]
        await crew.settle(*members)
        await heartbeats(3)  # only who has beaten for so long may call another one silent
        die(members[0])
        died = asyncio.get_running_loop().time()
        await crew.settle(*members[1:])
        assert asyncio.get_running_loop().time() - died < 3 * HEARTBEAT_SECONDS + NOISE_SECONDS


async def test_a_monitor_started_again_replaces_the_one_that_died_at_once(
    database: str, tmp_path: Path
) -> None:
    """On the same machine nobody waits for heartbeats that will not come."""
    folder = tmp_path / "machine"
    async with a_crew(database, tmp_path) as crew:
        dead = await crew.join(folder=folder)
        await crew.settle(dead)
        die(dead)
        born = asyncio.get_running_loop().time()
        await crew.settle(await crew.join(folder=folder))
        assert asyncio.get_running_loop().time() - born < 1.5 * HEARTBEAT_SECONDS + NOISE_SECONDS


async def test_monitors_of_different_locations_each_probe_everything(
    database: str, tmp_path: Path
) -> None:
    """That is what locations are for; no location is a location of its own."""
    async with a_crew(database, tmp_path) as crew:
        north = [await crew.join(location="north") for _ in range(2)]
        south = await crew.join(location="south")
        nowhere = await crew.join()
        await wait_until_async(
            lambda: all(len(member.monitors) == 4 for member in crew.members), "all meet"
        )
        assert all(map(south.owns, NAMES))
        assert all(map(nowhere.owns, NAMES))
        assert all(sum(member.owns(name) for member in north) == 1 for name in NAMES)


async def test_what_only_one_knows_is_probed_by_that_one(database: str, tmp_path: Path) -> None:
    """Two teams on one database: what they share is shared, the rest is each one's own."""
    ours, theirs = NAMES[:150], NAMES[50:]
    async with a_crew(database, tmp_path) as crew:
        one, other = await crew.join(ours), await crew.join(theirs)
        await wait_until_async(
            lambda: (
                all(one.owns(name) for name in NAMES[:50])
                and all(other.owns(name) for name in NAMES[150:])
                and all(one.owns(name) != other.owns(name) for name in NAMES[50:150])
            ),
            "each service has one prober that knows it",
        )


async def test_a_rolling_reload_leaves_no_service_alone(database: str, tmp_path: Path) -> None:
    """While only some monitors have the new file, they probe what is new, and all what is left."""
    added = [f"added-{number}" for number in range(40)]
    async with a_crew(database, tmp_path) as crew:
        members = [await crew.join() for _ in range(3)]
        await crew.settle(*members)
        for count, member in enumerate(members, 1):
            member.watch([*NAMES[20:], *added])
            reloaded = members[:count]
            await wait_until_async(
                partial(_each_has_one, reloaded, added), f"{count} monitors probe what is new"
            )
            await wait_until_async(
                partial(_each_has_one, members, NAMES[20:]), "the others go on as before"
            )


def _each_has_one(members: Sequence[Sharing], names: Sequence[str]) -> bool:
    return all(sum(each.owns(name) for each in members) == 1 for name in names)


async def test_a_paused_monitor_lets_go_of_its_share(database: str, tmp_path: Path) -> None:
    """It wakes up to find that the others have taken over, and asks before it goes on."""
    async with a_crew(database, tmp_path) as crew:
        members = [await crew.join() for _ in range(2)]
        await crew.settle(*members)
        pause(members[0])
        await crew.settle(members[1])
        assert not any(map(members[0].owns, NAMES))
        members[0].start()
        await crew.settle(*members)


async def test_while_the_database_is_away_each_keeps_its_share(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Longer than three heartbeats, and nobody is dropped at the return: all beat late alike."""
    async with a_crew(own_server.url(), tmp_path) as crew:
        members = [await crew.join() for _ in range(3)]
        await crew.settle(*members)
        shares = [[name for name in NAMES if member.owns(name)] for member in members]
        own_server.kill()
        await asyncio.wait_for(asyncio.shield(_until_cut_off(members)), 20)
        wrong = asyncio.create_task(_first_change(members, shares))
        await asyncio.to_thread(own_server.start)
        await wait_until_async(
            lambda: all(not member._was_cut_off for member in members), "all beat again", 20
        )
        beats = _last_beats(own_server.url())
        await wait_until_async(
            lambda: all(now > then for now, then in zip(_last_beats(own_server.url()), beats)),  # noqa: B905 -- of three
            "all beat once more",
        )
        assert not wrong.done()
        wrong.cancel()


async def _until_cut_off(members: Sequence[Sharing]) -> None:
    await wait_until_async(
        lambda: all(member._was_cut_off for member in members), "all notice the outage", 20
    )
    await heartbeats(4)  # the outage outlasts every bound


async def _first_change(members: Sequence[Sharing], shares: Sequence[list[str]]) -> None:
    """Return when somebody's share is not what it was."""
    await wait_until_async(
        lambda: [[name for name in NAMES if each.owns(name)] for each in members] != shares,
        "a share changes",
        60,
    )


def _last_beats(url: str) -> list[float]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "select extract(epoch from last_seen_at)::float8 from monitors order by started_at, id"
        ).fetchall()
    return [row[0] for row in found]


async def test_they_share_over_https_with_those_that_connect_directly(
    http_database: str, postgrest: PostgrestServer, tmp_path: Path
) -> None:
    async with a_crew(http_database, tmp_path) as crew:
        direct = await crew.join(location="mixed doors")
        over_https = await crew.join(
            location="mixed doors", url=postgrest.url, key=postgrest.service_key
        )
        await crew.settle(direct, over_https)
        die(direct)
        await crew.settle(over_https)


async def test_before_the_first_answer_nothing_is_probed(database: str, tmp_path: Path) -> None:
    async with a_crew(database, tmp_path) as crew:
        member = await crew.join()
        assert not any(map(member.owns, NAMES))
        await crew.settle(member)


async def test_without_a_database_a_monitor_probes_everything(tmp_path: Path) -> None:
    async with a_crew("postgresql://127.0.0.1:9/nobody", tmp_path) as crew:
        member = await crew.join()
        await wait_until_async(lambda: all(map(member.owns, NAMES)), "it probes alone")


async def test_without_the_table_a_monitor_works_alone_and_says_what_to_run(
    empty_database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, not at each beat; and it finds the others when the table is there."""
    with caplog.at_level(logging.INFO, "pulsebase.monitor"):
        async with a_crew(empty_database, tmp_path) as crew:
            member = await crew.join()
            await wait_until_async(lambda: all(map(member.owns, NAMES)), "it probes alone")
            await asyncio.to_thread(migrate, empty_database)
            await crew.settle(member, await crew.join())
    told = [each for each in caplog.messages if "cannot meet" in each]
    assert len(told) == 1
    assert "pulsebase db migrate" in told[0]


async def test_a_hundred_thousand_services_never_stall_the_loop(
    database: str, tmp_path: Path
) -> None:
    """Neither the start nor a join of another with another set; each turn stays cheap."""
    many = [f"service-{number}" for number in range(100_000)]
    async with a_crew(database, tmp_path) as crew:
        stall = asyncio.create_task(_longest_stall_seconds())
        first = await crew.join(many)
        second = await crew.join(many[1:])
        await wait_until_async(
            lambda: all(0 < sum(map(each.owns, many[1:50])) < 49 for each in (first, second)),
            "both share",
            30,
        )
        stall.cancel()
        assert await stall < 0.5
        owned = await _owned(first, many)
        assert 45_000 < owned < 55_000
        assert await _owned(second, many[1:]) == pytest.approx(100_000 - owned, abs=1)
        rows = await MonitorModel.find_all(first._connection)
        assert sorted(row.service_count for row in rows) == [99_999, 100_000]


async def _owned(sharing: Sharing, names: list[str]) -> int:
    """How many of these it owns; asked in slices, or it would take the loop's silence for sleep."""
    owned = 0
    for start in range(0, len(names), 1000):
        owned += sum(map(sharing.owns, names[start : start + 1000]))
        await asyncio.sleep(0)
    return owned


async def _longest_stall_seconds() -> float:
    """The most that the loop computed in one go, in CPU time: a busy machine is no stall."""
    longest = 0.0
    try:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0.01)
            longest = max(longest, time.thread_time() - before)
    except asyncio.CancelledError:
        return longest
