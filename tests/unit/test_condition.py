"""Whether a monitor does its work: what must be well before it says so to anybody."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from pulsebase.connection import connect_async
from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.condition import Condition
from pulsebase.monitor.configuration import Configuration
from pulsebase.monitor.connectivity import Connectivity
from pulsebase.monitor.looking.prober import Prober
from pulsebase.monitor.looking.standstill import Standstill
from pulsebase.monitor.looking.turns import Turns
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.recording.recorder import Recorder
from pulsebase.monitor.sighting import Sighting
from pulsebase.probes import ProbeTools
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pulsebase.monitor.sighting import Health

pytestmark = pytest.mark.anyio


class Parts:
    """A monitor's parts that nobody has started, and a clock that the test moves."""

    def __init__(self, recorder: Recorder, reachability: Reachability, tools: ProbeTools) -> None:
        self.now = 1000.0
        self.recorder = recorder
        self.reachability = reachability
        self.connectivity = Connectivity([f"tcp://127.0.0.1:{free_port()}"], tools)
        turns = Turns(
            Configuration(services=()),
            prober=Prober(tools),
            connectivity=self.connectivity,
            standstill=Standstill(),
            owns=lambda _: True,
            see=lambda *_: None,
            not_ours=lambda _: None,
        )
        self.condition = Condition(
            turns=turns,
            connectivity=self.connectivity,
            recorder=recorder,
            reachability=reachability,
            clock=lambda: self.now,
        )

    def put(self, checks: int) -> None:
        for _ in range(checks):
            self.condition.put()
            self.recorder.put(NewHealthCheck(service_name="a", status="healthy"))

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.condition.note()

    def saw(self, *statuses: Health) -> None:
        for status in statuses:
            self.condition.saw(
                Sighting(service_name="a", status=status, checked_at=datetime.now(UTC))
            )


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    reachability = Reachability()
    async with (
        connect_async("postgresql://127.0.0.1:9/nobody") as connection,
        ProbeTools() as tools,
    ):
        yield Parts(Recorder(connection, reachability=reachability), reachability, tools)


async def test_all_is_well_with_a_monitor_that_has_nothing_to_do(parts: Parts) -> None:
    parts.go_on(1000)
    assert parts.condition.trouble() is None


async def test_checks_may_wait_for_a_minute_and_no_longer(parts: Parts) -> None:
    parts.put(10)
    parts.go_on(59)
    assert parts.condition.trouble() is None
    parts.go_on(2)
    assert parts.condition.trouble() == "checks wait for more than 60 s to be stored"


async def test_what_is_put_meanwhile_does_not_hide_what_waits(parts: Parts) -> None:
    """Twenty are newer than a minute; the one before them is not."""
    parts.put(1)
    for _ in range(20):
        parts.go_on(10)
        parts.put(1)
    assert parts.condition.trouble() == "checks wait for more than 60 s to be stored"


async def test_a_database_that_does_not_answer_is_trouble_at_once(parts: Parts) -> None:
    parts.reachability.failed()
    assert parts.condition.trouble() == "the database does not answer"
    parts.reachability.succeeded()
    assert parts.condition.trouble() is None


async def test_a_network_that_is_away_is_trouble(parts: Parts) -> None:
    async with parts.connectivity:
        assert await parts.connectivity.was_away(0.0, 1.0)
        assert parts.condition.trouble() == "this monitor's own network is away"


async def test_looks_that_all_come_back_without_an_answer_are_trouble(parts: Parts) -> None:
    """One that told something is enough; and what was before the last call does not count."""
    parts.saw("unknown", "unknown")
    assert parts.condition.trouble() == "no probe could look at its service"
    parts.saw("unknown", "down")
    assert parts.condition.trouble() is None
    assert parts.condition.trouble() is None


async def test_a_monitor_that_only_awaits_first_reports_is_well(parts: Parts) -> None:
    """Else its dead man's switch would raise an alarm until the first job is due."""
    awaited = Sighting(
        service_name="a", status="unknown", checked_at=datetime.now(UTC), is_awaited=True
    )
    parts.condition.saw(awaited)
    assert parts.condition.trouble() is None
