"""A storm: 2,800 of 3,230 services fail within a minute (UK#4779)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.connection import connect
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck
from tests.acceptance.monitor_process import monitoring
from tests.support.dispatching import asked, write_channels
from tests.support.notices import Receiver
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.models.health_check import Status
    from tests.support.notices import Received

pytestmark = pytest.mark.anyio

WINDOW_SECONDS = 10
CHANNELS = ("ops", "chat")


@dataclass(frozen=True, slots=True)
class Storm:
    """How many services there are, and how many of them fail.

    Whether they are told of in time is a matter of the machine, so the small one only prints it.
    """

    services: int
    failing: int
    is_timed: bool = False


def store(url: str, storm: Storm, minute: datetime, status: Status) -> None:
    """One check of every service, spread over the minute; of those that fail, with this status."""
    checks = [
        NewHealthCheck(
            service_name=f"service-{number:04}",
            status=status if number < storm.failing else "healthy",
            checked_at=minute + timedelta(seconds=60 * number / storm.services),
        )
        for number in range(storm.services)
    ]
    with connect(url) as connection:
        HealthCheckModel.create_many(connection, checks=checks)


def kinds_and_services(received: Received) -> tuple[set[str], set[str]]:
    """What a digest says, and of which services."""
    notices: list[dict[str, Any]] = json.loads(received.body)["notices"]
    assert len({each["id"] for each in notices}) == len(notices)
    return {each["kind"] for each in notices}, {each["service_name"] for each in notices}


@pytest.mark.parametrize(
    "storm",
    [
        pytest.param(Storm(323, 280), id="280 of 323", marks=pytest.mark.timeout(240)),
        pytest.param(
            Storm(3230, 2800, is_timed=True),
            id="2,800 of 3,230",
            marks=[pytest.mark.soak, pytest.mark.timeout(480)],
        ),
    ],
)
async def test_a_storm_is_one_digest_for_each_channel_within_the_window_and_so_is_its_end(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], storm: Storm
) -> None:
    configuration = tmp_path / "pulsebase.toml"
    begin = datetime.now(UTC) - timedelta(minutes=10)
    minutes = [begin + timedelta(minutes=number) for number in range(5)]
    async with Receiver() as ops, Receiver() as chat:
        receivers = (ops, chat)
        write_channels(
            configuration,
            group_window=f"{WINDOW_SECONDS}s",
            timeout="30s",
            **{name: each.url for name, each in zip(CHANNELS, receivers, strict=True)},
        )
        with monitoring(configuration, database, tmp_path / "log") as process:
            await wait_until_async(
                lambda: len(asked(database, "select from alert_channels")) == 2, "channels", 60
            )
            for minute in minutes[:3]:
                await asyncio.to_thread(store, database, storm, minute, "down")
            await until_told(database, 1)
            for minute in minutes[3:]:
                await asyncio.to_thread(store, database, storm, minute, "healthy")
            await until_told(database, 2)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 60) == 0
    names = {f"service-{number:04}" for number in range(storm.failing)}
    for receiver in receivers:
        opened, resolved = map(kinds_and_services, receiver.received)
        assert (opened, resolved) == (({"opened"}, names), ({"resolved"}, names))
    waits = [(float(begun), float(done)) for begun, done in asked(database, WAITED)]
    with capsys.disabled():
        shown = ", ".join(f"{done:.1f} ({begun:.1f})" for begun, done in waits)
        print(  # noqa: T201 -- the numbers of the acceptance
            f"\n{storm.failing} of {storm.services} failed: digests arrived (were begun) after"
            f" {shown} s, in a window of {WINDOW_SECONDS} s"
        )
    assert len(waits) == 4
    assert not storm.is_timed or max(begun for begun, _ in waits) <= WINDOW_SECONDS


# From the first change that a message tells of until it was handed out, and until it had arrived.
WAITED = """
    select
        extract(epoch from min(tried.started_at) - min(delivery.created_at)),
        extract(epoch from message.finished_at - min(delivery.created_at))
    from alert_messages as message
    join alert_deliveries as delivery on delivery.message_id = message.id
    join alert_message_attempts as tried on tried.message_id = message.id
    group by message.id, message.finished_at
    order by message.finished_at
"""


async def until_told(url: str, messages: int) -> None:
    """Each channel has had so many messages."""
    await wait_until_async(
        lambda: (
            [tuple(row) for row in asked(url, DELIVERED)]
            == [(name, messages) for name in sorted(CHANNELS)]
        ),
        f"{messages} messages for each channel",
        120,
    )


DELIVERED = """
    select channel, count(*)
    from alert_messages
    where status = 'delivered'
    group by channel
    order by channel
"""
