"""A driver with much to do gets a process to help it, and its looks are the same."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from pulsebase.probes import Outcome, ProbeTools, UnknownHealthError
from pulsebase.probes.http import HeaderExpectation, HttpExpectation, HttpProbe
from pulsebase.probes.support.curl.driver import CurlDriver
from tests.support.certificates import Authority
from tests.support.looking import a_look
from tests.support.lying_server import LyingServer, answers, stalls
from tests.support.waiting import wait_until, wait_until_async
from tests.unit.test_http_probe_hostile import LIES, LOOKED_INTO

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Helped:
    """Tools whose driver thinks that two looks a second are many."""

    def __init__(self, driver: CurlDriver) -> None:
        self.driver = driver
        self.tools = ProbeTools(given={CurlDriver: driver})

    async def look(self, probe: HttpProbe, *, timeout_seconds: float = 5) -> Outcome:
        return await probe.probe(a_look(self.tools, timeout_seconds=timeout_seconds))

    async def call_for_help(self) -> int:
        """Look until there is help; the process's id."""
        async with LyingServer(answers()) as server:

            async def helper() -> int:
                await self.look(HttpProbe(url=server.url))
                return self.driver.helper_process_id or 0

            return await wait_until_async(helper, "a process helps")


@asynccontextmanager
async def helped() -> AsyncIterator[Helped]:
    driver = CurlDriver(many_a_second=2, pause_after_loss_seconds=0)
    try:
        yield Helped(driver)
    finally:
        await driver.aclose()


def remote_ports(process: psutil.Process) -> set[int]:
    """The ports that it is connected to."""
    return {one.raddr.port for one in process.net_connections() if one.status == "ESTABLISHED"}


async def test_few_looks_need_no_help() -> None:
    async with LyingServer(answers()) as server, ProbeTools() as tools:
        for _ in range(20):
            await HttpProbe(url=server.url).probe(a_look(tools))
        assert tools.use(CurlDriver).helper_process_id is None


async def test_a_look_with_help_sees_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    headers = "Content-Type: text/plain; charset=ISO-8859-1\r\n"
    behaviour = answers("grün".encode("latin-1"), headers=headers)
    async with (
        helped() as with_help,
        LyingServer(behaviour, tls=authority.issue("127.0.0.1").serving()) as server,
    ):
        probe = HttpProbe(
            url=server.url,
            ca_file=str(authority.ca_file),
            expect=HttpExpectation(
                body_contains="grün", headers=(HeaderExpectation(name="Content-Type"),)
            ),
        )
        alone = await with_help.look(probe)
        await with_help.call_for_help()
        together = await with_help.look(probe)
    assert together.status == alone.status == "healthy"
    assert together.details.keys() == alone.details.keys()
    assert together.details["tls"] == alone.details["tls"]
    assert together.details["phases_ms"].keys() == alone.details["phases_ms"].keys()


async def test_every_lie_has_its_kind_with_help() -> None:
    async with helped() as with_help:
        helper = await with_help.call_for_help()

        async def lied_to(lie: str) -> tuple[str, str]:
            async with LyingServer(LIES[lie][0]) as server:
                probe = HttpProbe(url=server.url, expect=LOOKED_INTO)
                outcome = await with_help.look(probe, timeout_seconds=2)
            return lie, outcome.details["error"]["kind"]

        found = await asyncio.gather(*map(lied_to, LIES))
        assert with_help.driver.helper_process_id == helper
    assert dict(found) == {lie: kind for lie, (_, kind) in LIES.items()}


async def test_hundreds_at_once_are_helped() -> None:
    async with helped() as with_help, LyingServer(answers()) as server:
        await with_help.call_for_help()
        probes = [HttpProbe(url=f"{server.url}{n}", headers={"X": str(n)}) for n in range(300)]
        looks = (with_help.look(probe, timeout_seconds=20) for probe in probes)
        outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}
    assert len({request.split()[1] for request in server.requests}) == 300


async def test_a_helper_that_dies_loses_its_looks_and_nothing_else() -> None:
    async with helped() as with_help, LyingServer(stalls()) as silent:
        first = await with_help.call_for_help()
        look = asyncio.create_task(with_help.look(HttpProbe(url=silent.url), timeout_seconds=30))
        await silent.asked.wait()
        os.kill(first, signal.SIGKILL)
        with pytest.raises(UnknownHealthError, match="ended"):
            await look
        assert with_help.driver.helper_process_id is None
        second = await with_help.call_for_help()
    assert second != first
    assert not psutil.pid_exists(first)
    assert not psutil.pid_exists(second)


async def test_where_no_process_can_be_started_the_driver_goes_on_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with helped() as with_help, LyingServer(answers()) as server:
        for _ in range(9):
            assert (await with_help.look(HttpProbe(url=server.url))).status == "healthy"
        assert with_help.driver.helper_process_id is None
    assert "going on without" in caplog.text


async def test_a_cancelled_look_is_given_up_by_the_helper() -> None:
    async with helped() as with_help, LyingServer(stalls()) as silent:
        helper = psutil.Process(await with_help.call_for_help())
        look = asyncio.create_task(with_help.look(HttpProbe(url=silent.url), timeout_seconds=30))
        await silent.asked.wait()
        assert silent.port in remote_ports(helper)
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look

        def lets_go() -> bool:
            return silent.port not in remote_ports(helper)

        await wait_until_async(lets_go, "the helper lets go of the connection")
        await with_help.call_for_help()


async def test_closing_cancels_what_the_helper_does() -> None:
    async with LyingServer(stalls()) as silent:
        async with helped() as with_help:
            helper = await with_help.call_for_help()
            look = asyncio.create_task(with_help.look(HttpProbe(url=silent.url)))
            await silent.asked.wait()
        with pytest.raises(asyncio.CancelledError):
            await look
    assert not psutil.pid_exists(helper)


async def test_signals_to_all_processes_of_a_service_leave_the_helper_to_its_parent() -> None:
    async with helped() as with_help:
        helper = await with_help.call_for_help()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(helper, number)
        async with LyingServer(answers()) as server:
            assert (await with_help.look(HttpProbe(url=server.url))).status == "healthy"
        assert with_help.driver.helper_process_id == helper


ORPHANED = """
import asyncio, os, signal
from tests.unit.test_http_probe_helper import helped

async def main():
    async with helped() as with_help:
        print(await with_help.call_for_help(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_helper_ends_when_its_parent_is_killed() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORPHANED), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    helper = int(said)
    wait_until(lambda: not is_running(helper), "the helper has ended")


def is_running(process_id: int) -> bool:
    try:
        return psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
