"""One look: what a kind makes of it, and what becomes of a kind that breaks its promises."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.monitor.configuration import MonitorKeys, Service
from pulsebase.monitor.looking.prober import Prober
from pulsebase.probes import Look, NothingYetError, Outcome, ProbeTools, UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.sighting import Sighting

pytestmark = pytest.mark.anyio


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What every kind below has."""

    host: str | None = None

    async def probe(self, look: Look) -> Outcome:
        """Find the service well."""
        return well(look)


def well(look: Look) -> Outcome:
    details = {"of": look.service_name}
    return Outcome(status="healthy", latency_ms=1, checked_at=datetime.now(UTC), details=details)


class Raises(Kind):
    async def probe(self, look: Look) -> Outcome:
        message = f"a mistake at {look.service_name}"
        raise KeyError(message)


class TakesForever(Kind):
    async def probe(self, look: Look) -> Outcome:
        await asyncio.Event().wait()
        return well(look)


class Stubborn(Kind):
    """Does not even listen when it is cut off, for the first three times."""

    async def probe(self, look: Look) -> Outcome:
        for _ in range(3):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        return well(look)


class CancelsItself(Kind):
    async def probe(self, look: Look) -> Outcome:
        part = asyncio.create_task(asyncio.sleep(60))
        part.cancel()
        await part
        return well(look)


class EndsTheProcess(Kind):
    async def probe(self, look: Look) -> Outcome:
        del look
        sys.exit(0)


class SaysNothing(Kind):
    async def probe(self, look: Look) -> Any:
        del look


class CannotLook(Kind):
    async def probe(self, look: Look) -> Outcome:
        del look
        message = "there is no network here; plug it in"
        raise UnknownHealthError(message)


class HasNothingYet(Kind):
    async def probe(self, look: Look) -> Outcome:
        del look
        message = "the first report is due tomorrow"
        raise NothingYetError(message)


@pytest.fixture
async def prober() -> AsyncIterator[Prober]:
    async with ProbeTools() as tools, Prober(tools) as opened:
        yield opened


def service(probe: Kind, timeout_seconds: float = 0.2) -> Service:
    return Service(
        name="a",
        kind="own",
        interval=timedelta(seconds=10),
        timeout=timedelta(seconds=timeout_seconds),
        probe=probe,
    )


async def look(prober: Prober, probe: Kind) -> tuple[Sighting, NewHealthCheck | None]:
    return await prober.look(service(probe))


async def test_what_a_probe_saw_is_shown_and_recorded(prober: Prober) -> None:
    sighting, check = await look(prober, Kind())
    assert (sighting.service_name, sighting.status, sighting.latency_ms) == ("a", "healthy", 1)
    assert check is not None
    assert (check.checked_at, check.probe_details) == (sighting.checked_at, {"of": "a"})
    assert prober.broken == 0


@pytest.mark.parametrize(
    "kind", [Raises, TakesForever, Stubborn, CancelsItself, EndsTheProcess, SaysNothing]
)
async def test_a_kind_that_breaks_is_our_mistake_and_nothing_is_recorded(
    prober: Prober, kind: type[Kind], caplog: pytest.LogCaptureFixture
) -> None:
    """Not down: unknown, counted, and told with what is needed to mend it."""
    began_at = time.monotonic()
    sighting, check = await look(prober, kind())
    assert (sighting.status, check) == ("unknown", None)
    assert prober.broken == 1
    assert "the probe of 'a' (own) broke" in caplog.text
    assert time.monotonic() - began_at < 6
    # Whoever waits for something next in the same task is not cut off for it.
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
    assert (await look(prober, Kind()))[0].status == "healthy"


async def test_a_mistake_is_told_with_its_place_and_then_kept_quiet(
    prober: Prober, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand services of a broken kind do not fill the disk with tracebacks."""
    for _ in range(1000):
        await look(prober, Raises())
    assert prober.broken == 1000
    [record] = caplog.records
    assert record.exc_info is not None
    assert record.getMessage().startswith("the probe of 'a' (own) broke: KeyError; nothing is")


async def test_that_we_could_not_look_is_told_once_and_is_no_mistake(
    prober: Prober, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(10):
        sighting, check = await look(prober, CannotLook())
        assert (sighting.status, check) == ("unknown", None)
        assert sighting.why == "there is no network here; plug it in"
    assert prober.broken == 0
    assert len(caplog.records) == 1


async def test_what_has_nothing_to_show_yet_is_awaited_and_not_worth_a_line(
    prober: Prober, caplog: pytest.LogCaptureFixture
) -> None:
    sighting, check = await look(prober, HasNothingYet())
    assert (sighting.status, sighting.is_awaited, check) == ("unknown", True, None)
    failed, _ = await look(prober, CannotLook())
    assert not failed.is_awaited
    assert "tomorrow" not in caplog.text


async def test_a_look_that_is_given_up_ends_at_once_and_is_not_broken(prober: Prober) -> None:
    """As at the end of the monitor."""
    task = asyncio.create_task(prober.look(service(TakesForever(), timeout_seconds=60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert prober.broken == 0


async def test_a_check_says_who_looked_and_from_where() -> None:
    keys = MonitorKeys(name="north", location="Oslo")
    async with ProbeTools() as tools, Prober(tools, keys=keys) as prober:
        _, check = await look(prober, Kind())
    assert check is not None
    assert check.probe_details == {"of": "a", "monitor": "north", "location": "Oslo"}
