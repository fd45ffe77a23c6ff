"""The dead man's switch: called while all is well, and only then, without telling where."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.dead_man import DeadMan
from pulsebase.probes import ProbeTools
from tests.support.raw_server import RawServer, speaks
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

TAKES_IT = speaks(b"HTTP/1.1 204 No Content\r\n\r\n")
REFUSES_IT = speaks(b"HTTP/1.1 404 No such hidden-path\r\nContent-Length: 11\r\n\r\nhidden-path")


def all_is_well() -> str | None:
    return None


def keys_for(port: int) -> MonitorKeys:
    keys = MonitorKeys(dead_man_url=f"http://127.0.0.1:{port}/hidden-path?token=hidden-too")
    # Shorter than a file may say, so that nobody has to wait.
    object.__setattr__(keys, "dead_man_interval", timedelta(seconds=0.1))
    return keys


@asynccontextmanager
async def calling(
    port: int, trouble: Callable[[], str | None] = all_is_well
) -> AsyncIterator[DeadMan]:
    async with ProbeTools() as tools, DeadMan(keys_for(port), tools, trouble) as dead_man:
        yield dead_man


async def test_it_is_called_after_each_good_cycle() -> None:
    async with RawServer(TAKES_IT) as server, calling(server.port) as dead_man:
        assert server.connections == 0
        await wait_until_async(lambda: dead_man.calls >= 3, "three calls")
        assert server.connections >= 3


async def test_it_is_not_called_while_something_is_wrong(caplog: pytest.LogCaptureFixture) -> None:
    """Which is told once, and so is the end of it."""
    asked, reason = 0, "the database does not answer"

    def trouble() -> str | None:
        nonlocal asked
        asked += 1
        return reason or None

    async with RawServer(TAKES_IT) as server, calling(server.port, trouble) as dead_man:
        await wait_until_async(lambda: asked >= 4, "four cycles")
        assert server.connections == 0
        reason = ""
        await wait_until_async(lambda: dead_man.calls >= 2, "two calls")
    assert [record.getMessage() for record in caplog.records] == [
        "no call to the dead man's switch: the database does not answer",
        "the dead man's switch is called again",
    ]


@pytest.mark.parametrize("listens", [True, False])
async def test_a_failing_call_is_told_once_and_shows_nothing_of_the_url(
    caplog: pytest.LogCaptureFixture, *, listens: bool
) -> None:
    cycles = 0

    def trouble() -> str | None:
        nonlocal cycles
        cycles += 1
        return None

    async with RawServer(REFUSES_IT) as server:
        port = server.port if listens else free_port()
        async with calling(port, trouble) as dead_man:
            await wait_until_async(lambda: cycles >= 4, "four calls")
            assert dead_man.calls == 0
    [record] = caplog.records
    reason = "status 404" if listens else "refused"
    expected = f"the dead man's switch at 127.0.0.1 did not take the call: {reason}"
    assert record.getMessage() == expected
    assert "hidden" not in caplog.text


async def test_another_url_is_called_from_the_next_cycle_on() -> None:
    async with (
        RawServer(TAKES_IT) as before,
        RawServer(TAKES_IT) as after,
        calling(before.port) as dead_man,
    ):
        await wait_until_async(lambda: before.connections > 0, "the first is called")
        dead_man.update(keys_for(after.port))
        await wait_until_async(lambda: after.connections > 1, "the other one is called")
        calls = before.connections
        await wait_until_async(lambda: after.connections > 3, "and goes on to be")
        assert before.connections == calls


async def test_without_a_url_nobody_is_called() -> None:
    async with ProbeTools() as tools, DeadMan(MonitorKeys(), tools, all_is_well) as dead_man:
        await asyncio.sleep(0)
        assert dead_man.calls == 0
