"""The monitor inside this process: what it shows of itself, what a reload and the end leave."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.connection import connect_async
from pulsebase.models.health_check import HealthCheckModel
from pulsebase.monitor.configuration import Configuration, MonitorKeys, Service
from pulsebase.monitor.monitor import Monitor, check_once
from pulsebase.probes.http import HttpProbe
from tests.support.raw_server import RawServer, silent, speaks
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

WELL = speaks(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def service(name: str, port: int, *, interval: float = 1, timeout: float = 1) -> Service:
    return Service(
        name=name,
        kind="http",
        interval=timedelta(seconds=interval),
        timeout=timedelta(seconds=timeout),
        probe=HttpProbe(url=f"http://127.0.0.1:{port}/{name}"),
    )


@asynccontextmanager
async def running(
    database: str, *services: Service, keys: MonitorKeys | None = None
) -> AsyncIterator[Monitor]:
    configuration = Configuration(services=services, monitor=keys or MonitorKeys())
    async with connect_async(database) as connection:
        monitor = Monitor(configuration, connection)
        task = asyncio.create_task(monitor.run())
        try:
            yield monitor
        finally:
            monitor.stop()
            assert await task == 0


async def recorded(database: str, name: str) -> list[str]:
    """What a service was, newest first."""
    async with connect_async(database) as connection:
        found = HealthCheckModel.find_by_service(connection, service_name=name, limit=100)
        return [check.status for check in await found]


async def test_it_shows_what_it_does(database: str) -> None:
    async with RawServer(WELL) as server:
        services = [service("a", server.port), service("b", server.port)]
        services.append(service("c", free_port()))
        async with running(database, *services) as monitor:
            await wait_until_async(lambda: len(monitor.latest) == 3, "each was seen")
            assert monitor.counts == {"healthy": 2, "down": 1}
            assert (monitor.owned, monitor.total, monitor.monitors) == (3, 3, 1)
            assert (monitor.broken, monitor.late, monitor.left_out) == (0, 0, 0)
            assert monitor.behind_seconds < 1
            assert not monitor.network_is_away


async def test_a_look_at_a_service_that_is_taken_away_comes_to_nothing(database: str) -> None:
    """Neither shown nor recorded, though its server answers later."""
    async with RawServer(silent) as hanging, RawServer(WELL) as server:
        gone = service("gone", hanging.port, interval=2, timeout=1.5)
        stays = service("stays", server.port)
        async with running(database, gone, stays) as monitor:
            await wait_until_async(lambda: hanging.open_connections, "the look is under way")
            monitor.reload(Configuration(services=(replace(stays),)))
            await wait_until_async(lambda: not hanging.open_connections, "and ends")
            await wait_until_async(lambda: monitor.recorder.recorded >= 2, "others go on")
            assert monitor.latest.keys() == {"stays"}
            assert (monitor.total, monitor.owned) == (1, 1)
    assert await recorded(database, "gone") == []
    assert set(await recorded(database, "stays")) == {"healthy"}


async def test_a_changed_service_is_looked_at_as_it_is_defined_now(database: str) -> None:
    async with RawServer(silent) as hanging, RawServer(WELL) as server:
        before = service("a", hanging.port)
        async with running(database, before) as monitor:
            await wait_until_async(lambda: hanging.open_connections, "the old one is asked")
            monitor.reload(Configuration(services=(service("a", server.port),)))
            await wait_until_async(lambda: monitor.recorder.recorded >= 2, "the new one is")
            assert hanging.connections == 1
    assert set(await recorded(database, "a")) == {"healthy"}


async def test_the_end_does_not_wait_for_a_server_that_hangs(database: str) -> None:
    """And what was given up is not recorded as down."""
    async with RawServer(silent) as hanging:
        slow = service("slow", hanging.port, interval=60, timeout=60)
        async with running(database, replace(slow, interval=timedelta(seconds=1))):
            await wait_until_async(lambda: hanging.open_connections, "the look is under way")
            began_at = time.monotonic()
        assert time.monotonic() - began_at < 5
    assert await recorded(database, "slow") == []


async def test_a_failure_in_doubt_at_the_end_gets_its_verdict_first(database: str) -> None:
    """The next round would come in five seconds; the end asks at once."""
    async with RawServer(WELL) as target:
        keys = MonitorKeys(connectivity=(f"tcp://127.0.0.1:{target.port}",))
        async with running(database, service("closed", free_port()), keys=keys) as monitor:
            await wait_until_async(lambda: monitor.recorder.recorded == 1, "the first is judged")
            await wait_until_async(lambda: monitor._turns._doubting, "the next one waits")
        assert target.connections == 2
    assert await recorded(database, "closed") == ["down", "down"]


async def test_turns_that_are_late_are_counted_and_told_once(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with RawServer(silent) as hanging:
        services = [service(f"s{number}", hanging.port) for number in range(6)]
        keys = MonitorKeys(concurrency=1)
        async with running(database, *services, keys=keys) as monitor:
            await wait_until_async(lambda: monitor.late >= 3, "several are late", 20)
            assert monitor.behind_seconds > 1
    told = [record for record in caplog.records if "over a second late" in record.getMessage()]
    assert len(told) == 1


async def test_looking_once_doubts_failures_as_well() -> None:
    closed, away = service("closed", free_port()), (f"tcp://127.0.0.1:{free_port()}",)
    [(sighting, check)] = await check_once([closed], keys=MonitorKeys(connectivity=away))
    assert (sighting.status, check) == ("unknown", None)
    async with RawServer(WELL) as target:
        there = MonitorKeys(connectivity=(f"tcp://127.0.0.1:{target.port}",), location="Oslo")
        [(sighting, check)] = await check_once([closed], keys=there)
    assert sighting.status == "down"
    assert check is not None
    assert (check.probe_details or {})["location"] == "Oslo"
