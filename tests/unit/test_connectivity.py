"""Whose failure it is: the service's, or that of this monitor's own network."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.connectivity import Connectivity
from pulsebase.monitor.sighting import Sighting
from pulsebase.probes import ProbeTools
from tests.support.raw_server import RawServer, silent, speaks
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

NOT_WELL = speaks(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def asking(*targets: str, pause_seconds: float = 0.2) -> AsyncIterator[Connectivity]:
    async with (
        ProbeTools() as tools,
        Connectivity(targets, tools, pause_seconds=pause_seconds) as connectivity,
    ):
        yield connectivity


def nobody() -> str:
    """A target that does not answer."""
    return f"tcp://127.0.0.1:{free_port()}"


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a connection, and that was it."""
    writer.close()
    await writer.wait_closed()


async def was_away(connectivity: Connectivity, *, began_at: float | None = None) -> bool:
    """The verdict on a look that ends now."""
    now = steady_seconds()
    return await connectivity.was_away(now if began_at is None else began_at, now)


def failure() -> tuple[Sighting, NewHealthCheck]:
    check = NewHealthCheck(service_name="a", status="down", latency_ms=None)
    sighting = Sighting(
        service_name="a", status="down", checked_at=check.checked_at, latency_ms=7, why="refused"
    )
    return sighting, check


@pytest.mark.parametrize("scheme", ["tcp", "http"])
async def test_a_failure_is_believed_when_a_target_answers_whatever_it_says(scheme: str) -> None:
    """And at once: nobody waits for the next round when there is none yet."""
    async with (
        RawServer(NOT_WELL) as server,
        asking(f"{scheme}://127.0.0.1:{server.port}", pause_seconds=60) as connectivity,
    ):
        began_at = time.monotonic()
        assert await was_away(connectivity) is False
        assert time.monotonic() - began_at < 3
        assert not connectivity.is_away


@pytest.mark.parametrize("scheme", ["tcp", "http"])
async def test_nobody_who_answers_means_that_our_network_is_away(scheme: str) -> None:
    port = free_port()
    async with asking(f"{scheme}://127.0.0.1:{port}", nobody()) as connectivity:
        sighting, check = await connectivity.judge(*failure(), began_at=steady_seconds())
    assert check is None
    assert (sighting.status, sighting.latency_ms) == ("unknown", None)
    assert "this monitor's own network is away: none of" in sighting.why
    assert f"{scheme}://127.0.0.1:{port}" in sighting.why


async def test_one_answer_is_enough_and_nobody_waits_for_a_target_that_hangs() -> None:
    async with RawServer(silent) as hanging, RawServer(NOT_WELL) as server:
        targets = [
            f"http://127.0.0.1:{hanging.port}",
            nobody(),
            f"http://127.0.0.1:{server.port}",
        ]
        async with asking(*targets) as connectivity:
            began_at = time.monotonic()
            assert await was_away(connectivity) is False
            assert time.monotonic() - began_at < 3


async def test_a_target_that_hangs_is_no_answer() -> None:
    async with (
        RawServer(silent) as hanging,
        asking(f"http://127.0.0.1:{hanging.port}") as connectivity,
    ):
        assert await was_away(connectivity) is True


async def test_what_is_not_down_does_not_wait_and_asks_nobody() -> None:
    async with (
        RawServer(NOT_WELL) as server,
        asking(f"tcp://127.0.0.1:{server.port}") as connectivity,
    ):
        sighting, _ = failure()
        for check in (None, NewHealthCheck(service_name="a", status="degraded")):
            judged = await connectivity.judge(sighting, check, began_at=0.0)
            assert judged == (sighting, check)
        await asyncio.sleep(0)
        assert server.connections == 0


async def test_without_targets_everything_is_believed() -> None:
    async with asking() as connectivity:
        seen = failure()
        assert await connectivity.judge(*seen, began_at=0.0) == seen


async def test_all_failures_of_a_moment_share_one_round() -> None:
    async with (
        RawServer(NOT_WELL) as server,
        asking(f"tcp://127.0.0.1:{server.port}", pause_seconds=0.5) as connectivity,
    ):
        verdicts = await asyncio.gather(*(was_away(connectivity) for _ in range(5000)))
        assert not any(verdicts)
        assert server.connections <= 2


async def test_rounds_begin_only_every_so_often_and_each_failure_waits_for_a_later_one() -> None:
    async with (
        RawServer(NOT_WELL) as server,
        asking(f"tcp://127.0.0.1:{server.port}", pause_seconds=0.5) as connectivity,
    ):
        began_at = time.monotonic()
        for _ in range(4):
            assert await was_away(connectivity) is False
        assert time.monotonic() - began_at >= 1.5
        assert server.connections == 4


async def test_while_it_is_away_nobody_waits_and_its_return_is_noticed() -> None:
    """What overlapped the outage says nothing, what came after it is believed again."""
    port = free_port()
    async with asking(f"tcp://127.0.0.1:{port}") as connectivity:
        assert await was_away(connectivity) is True
        began_at = time.monotonic()
        during = steady_seconds()
        assert all([await was_away(connectivity) for _ in range(100)])
        assert time.monotonic() - began_at < 0.2
        server = await asyncio.start_server(hangs_up, "127.0.0.1", port)
        async with server:
            await wait_until_async(lambda: not connectivity.is_away, "it is back")
            assert await was_away(connectivity, began_at=during) is True
            assert await was_away(connectivity) is False


async def test_an_outage_and_its_end_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    async with asking(f"tcp://127.0.0.1:{port}") as connectivity:
        for _ in range(3):
            assert await was_away(connectivity) is True
        async with await asyncio.start_server(hangs_up, "127.0.0.1", port):
            await wait_until_async(lambda: not connectivity.is_away, "it is back")
            assert await was_away(connectivity) is False
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "none of" in messages[0]
    assert messages[1] == "this monitor's own network is back"


async def test_the_secrets_of_a_target_are_not_shown() -> None:
    target = f"http://user:hidden-1@127.0.0.1:{free_port()}/hidden-2?token=hidden-3"
    async with asking(target) as connectivity:
        assert await was_away(connectivity) is True
        assert "hidden" not in connectivity.reason


async def test_at_the_end_nobody_waits_for_the_pause() -> None:
    async with (
        RawServer(NOT_WELL) as server,
        asking(f"tcp://127.0.0.1:{server.port}", pause_seconds=60) as connectivity,
    ):
        assert await was_away(connectivity) is False
        verdict = asyncio.create_task(was_away(connectivity))
        await asyncio.sleep(0)
        connectivity.hurry()
        assert await asyncio.wait_for(verdict, 5) is False


async def test_targets_may_change_and_those_who_wait_see_it() -> None:
    async with (
        RawServer(NOT_WELL) as server,
        asking(nobody()) as connectivity,
    ):
        assert await was_away(connectivity) is True
        connectivity.update([f"tcp://127.0.0.1:{server.port}"])
        await wait_until_async(lambda: not connectivity.is_away, "the other one answers")
        connectivity.update([nobody()])
        assert await was_away(connectivity) is True
        connectivity.update([])
        assert await was_away(connectivity) is False
        await wait_until_async(lambda: not connectivity.is_away, "nobody is asked any more")
