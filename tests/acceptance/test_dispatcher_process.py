"""`pulsebase run`: from a failing service to a message, over a changed file, without its tables."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance.monitor_process import monitoring, stored
from tests.support.dispatching import all_delivered
from tests.support.notices import Receiver
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.notices import Received

pytestmark = pytest.mark.anyio


def write(path: Path, url: str, *, command: str) -> None:
    """One service that is looked at every second, one look of which decides, and one channel."""
    path.write_text(
        f"""
        [[services]]
        name = "checkout"
        kind = "command"
        command = ["{command}"]
        interval = "1s"
        timeout = "1s"
        alerts = {{ open_after = 1, close_after = 1 }}

        [[channels]]
        name = "ops"
        url = "{url}"
        allow_private_addresses = true
        group_window = "0s"
        """
    )


def said(received: Received) -> tuple[str, str]:
    [notice] = json.loads(received.body)["notices"]
    return notice["kind"], notice["service_name"]


async def test_a_failing_service_is_told_and_its_end_to_where_the_changed_file_says(
    database: str, tmp_path: Path
) -> None:
    path, log = tmp_path / "pulsebase.toml", tmp_path / "log"
    async with Receiver() as before, Receiver() as after:
        write(path, before.url, command="false")
        with monitoring(path, database, log) as process:
            await wait_until_async(lambda: before.received, "it is told", 60)
            write(path, after.url, command="true")
            await wait_until_async(lambda: after.received, "its end is told", 60)
            await wait_until_async(lambda: all_delivered(database, 2), "it is reported")
            process.terminate()
            assert await asyncio.to_thread(process.wait, 30) == 0
    assert (said(before.only), said(after.only)) == (
        ("opened", "checkout"),
        ("resolved", "checkout"),
    )
    assert "told 'ops' opened: service_degraded of 'checkout'" in log.read_text()


async def test_what_cannot_be_published_or_delivered_keeps_nobody_from_probing(
    database: str, tmp_path: Path
) -> None:
    """As in a database in which half of the migrations are applied."""
    path, log = tmp_path / "pulsebase.toml", tmp_path / "log"
    with psycopg.connect(database) as owner:
        owner.execute("drop function publish_alert_policies, claim_alert_messages")
    async with Receiver() as ops:
        write(path, ops.url, command="false")
        with monitoring(path, database, log) as process:
            await wait_until_async(lambda: stored(database) >= 4, "it goes on probing", 60)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 30) == 0
        assert ops.received == []
    assert "no messages are delivered: " in log.read_text()
