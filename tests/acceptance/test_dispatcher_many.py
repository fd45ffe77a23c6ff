"""Eight dispatchers at once send what there is once."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.monitor_process import monitoring
from tests.support.dispatching import (
    all_delivered,
    asked,
    messages,
    open_alerts,
    repeats_by_key,
    write_channels,
)
from tests.support.notices import Receiver
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

DISPATCHERS = 8


@pytest.mark.parametrize(
    "services",
    [
        pytest.param(150, id="300 deliveries", marks=pytest.mark.timeout(300)),
        pytest.param(
            1000, id="2,000 deliveries", marks=[pytest.mark.soak, pytest.mark.timeout(900)]
        ),
    ],
)
async def test_eight_dispatchers_send_each_delivery_once_when_nothing_fails(
    database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], services: int
) -> None:
    configuration = tmp_path / "pulsebase.toml"
    async with Receiver() as ops, Receiver() as chat:
        write_channels(configuration, timeout="30s", ops=ops.url, chat=chat.url)
        with ExitStack() as running:
            processes = [
                running.enter_context(
                    monitoring(configuration, database, tmp_path / f"log-{number}")
                )
                for number in range(DISPATCHERS)
            ]
            await wait_until_async(lambda: are_watching(database), "all of them are there", 120)
            open_alerts(database, [f"service-{number}" for number in range(services)])
            await wait_until_async(
                lambda: all_delivered(database, 2 * services), "everything arrived", 600
            )
            for process in processes:
                process.terminate()
            for process in processes:
                assert await asyncio.to_thread(process.wait, 60) == 0
    received = [*ops.received, *chat.received]
    [(workers,)] = asked(database, "select count(distinct worker) from alert_message_attempts")
    with capsys.disabled():
        print(  # noqa: T201 -- the numbers of the acceptance
            f"\n{2 * services} deliveries by {DISPATCHERS} dispatchers, {workers} of which"
            f" sent some: {len(received)} arrivals"
        )
    assert repeats_by_key(received) == dict.fromkeys(messages(database), 1)
    assert len(received) == 2 * services


def are_watching(url: str) -> bool:
    """Whether so many monitors share the database, and the channels are there."""
    [(monitors, channels)] = asked(
        url,
        "select (select count(*) from monitors where services is not null),"
        " (select count(*) from alert_channels)",
    )
    return bool(monitors == DISPATCHERS and channels == 2)
