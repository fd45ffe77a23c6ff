"""What the dispatcher does beside sending: it catches up, plans silences ahead, and tidies up."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.connection import connect, connect_async
from pulsebase.models.alert_event import AlertEventModel
from pulsebase.models.alert_silence import AlertSilenceModel
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck
from pulsebase.models.schedules import CronSchedule
from pulsebase.monitor.delivering.dispatcher import Dispatcher
from pulsebase.monitor.reachability import Reachability
from tests.support.dispatching import asked, open_alerts, publish, recover
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def dispatching(database: str) -> AsyncIterator[Dispatcher]:
    """A dispatcher without a channel."""
    async with (
        connect_async(database) as connection,
        Dispatcher(connection, {}, reachability=Reachability()) as dispatcher,
    ):
        yield dispatcher


def store(url: str, *seconds_ago: int) -> None:
    now = datetime.now(UTC)
    checks = [
        NewHealthCheck(
            service_name="checkout", status="down", checked_at=now - timedelta(seconds=each)
        )
        for each in seconds_ago
    ]
    with connect(url) as connection:
        HealthCheckModel.create_many(connection, checks=checks)


async def test_checks_that_nobody_evaluated_open_their_alert_also_without_a_channel(
    database: str,
) -> None:
    """As where two sessions store checks of a service at the same moment."""
    store(database, 30)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute("alter table service_health_checks disable trigger evaluate_new_checks")
        store(database, 20, 10)
        owner.execute("alter table service_health_checks enable trigger evaluate_new_checks")
    with connect(database) as connection:
        assert AlertEventModel.find_active(connection) == []
        async with dispatching(database):
            await wait_until_async(
                lambda: AlertEventModel.find_active(connection), "the alert is open", 30
            )


async def test_recurring_silences_are_planned_ahead(database: str) -> None:
    schedule = CronSchedule(cron="0 2 * * *", duration=timedelta(hours=1), zone="Europe/Berlin")
    with connect(database) as connection:
        AlertSilenceModel.create(connection, by="anna", matcher={}, schedule=schedule)
    with psycopg.connect(database) as owner:
        owner.execute("delete from alert_silence_periods")
        owner.execute("update alert_silences set planned_until = now() where true")
    async with dispatching(database):
        await wait_until_async(
            lambda: len(asked(database, "select from alert_silence_periods")) > 30,
            "a month is planned",
            30,
        )


async def test_old_messages_go(database: str) -> None:
    publish(database, "ops")
    open_alerts(database, ["old", "new"])
    recover(database, ["old", "new"])
    with psycopg.connect(database) as owner:
        owner.execute(
            "update alert_deliveries set cancelled_at = now() - interval '31 days',"
            " created_at = now() - interval '31 days' where service_name = 'old'"
        )
    async with dispatching(database):
        await wait_until_async(
            lambda: (
                {name for (name,) in asked(database, "select service_name from alert_deliveries")}
                == {"new"}
            ),
            "what is old is gone",
            30,
        )


async def test_without_the_tables_it_says_once_what_to_run_and_waits(
    empty_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pulsebase.monitor")
    async with dispatching(empty_database) as dispatcher:
        await wait_until_async(lambda: dispatcher.failing_seconds > 2, "some rounds", 30)
        assert "db migrate" in str(dispatcher.trouble)
    lines = [record for record in caplog.records if "no messages are delivered" in record.message]
    assert [record.levelno for record in lines] == [logging.WARNING]
