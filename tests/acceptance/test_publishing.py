"""What the configuration says of alerting reaches the database, and no channel's address does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.connection import AsyncConnection, connect_async
from pulsebase.models.alert_channel import AlertChannelModel, NewAlertChannel, NewAlertRoute
from pulsebase.models.alert_policy import AlertPolicyModel, NewAlertPolicy
from pulsebase.models.alert_silence import AlertSilenceModel, MaintenanceWindow
from pulsebase.models.monitored_service import MonitoredServiceModel
from pulsebase.models.schedules import CronSchedule
from pulsebase.monitor.configuration import Configuration, Service
from pulsebase.monitor.configuration.values import Channel
from pulsebase.monitor.publishing import Published, Publishing, publish
from pulsebase.monitor.reachability import Reachability
from pulsebase.notifiers.webhook import WebhookNotifier
from pulsebase.probes.http import HttpProbe
from tests.support.migrating import migrate
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from tests.support.postgrest_server import PostgrestServer

pytestmark = pytest.mark.anyio

SECRET = "canary-2f8e61c0d9"  # noqa: S105 -- looked for where it must not be
PROBE = HttpProbe(url="http://127.0.0.1:9/")
NIGHTLY = CronSchedule(cron="0 2 * * *", duration=timedelta(hours=1), zone="Europe/Berlin")


def service(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    depends_on: tuple[str, ...] = (),
    alert_policy: Mapping[str, object] | None = None,
) -> Service:
    return Service(
        name=name,
        kind="http",
        interval=timedelta(seconds=30),
        timeout=timedelta(seconds=5),
        probe=PROBE,
        labels=labels or {},
        depends_on=depends_on,
        alert_policy=alert_policy,
    )


def channel(name: str, *, remind_every: timedelta | None = None) -> Channel:
    return Channel(
        rules=NewAlertChannel(name=name, remind_every=remind_every),
        notifier=WebhookNotifier(url=f"http://127.0.0.1:9/{SECRET}", allow_private_addresses=True),
    )


def window(name: str, schedule: CronSchedule = NIGHTLY) -> MaintenanceWindow:
    return MaintenanceWindow(name=name, matcher={"services": ["db-*"]}, schedule=schedule)


WHOLE = Configuration(
    services=(
        service("gateway"),
        service(
            "checkout",
            labels={"team": "shop"},
            depends_on=("gateway",),
            alert_policy={"down_close_checks": 7},
        ),
    ),
    policies=(
        NewAlertPolicy(alert_policy={"down_close_checks": 4, "degraded_close_checks": 5}),
        NewAlertPolicy(
            alert_policy={"degraded_close_checks": 6}, matcher={"labels": {"team": "shop"}}
        ),
    ),
    channels=(channel("ops"), channel("boss")),
    routes=(NewAlertRoute(channels=("boss",), after=timedelta(minutes=15)),),
    maintenance=(window("backup"), window("upgrade")),
)
BARE = Configuration(services=WHOLE.services)


async def open_windows(connection: AsyncConnection) -> dict[str | None, str]:
    """The windows that hold or will, with the ids of their rows."""
    found = await AlertSilenceModel.find_open(connection)
    return {each.name: str(each.id) for each in found}


async def published_channels(connection: AsyncConnection) -> list[str]:
    return [each.name for each in await AlertChannelModel.find_all(connection) if each.is_published]


@asynccontextmanager
async def publishing(
    connection: AsyncConnection, configuration: Configuration
) -> AsyncIterator[Publishing]:
    """As the monitor does it, beside everything else."""
    parts = Publishing(connection, configuration, reachability=Reachability())
    task = asyncio.create_task(parts.run())
    try:
        yield parts
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_the_database_learns_what_the_file_says(database: str) -> None:
    async with connect_async(database) as connection:
        assert await publish(connection, WHOLE) == Published(
            services=2, policies=2, channels=2, windows=2
        )
        known = {
            each.service_name: each for each in await MonitoredServiceModel.find_all(connection)
        }
        assert known["checkout"].labels == {"team": "shop"}
        assert known["checkout"].depends_on == ("gateway",)
        assert known["checkout"].interval == timedelta(seconds=30)
        policy = await AlertPolicyModel.find_by_service(connection, "checkout")
        assert (policy["down_close_checks"], policy["degraded_close_checks"]) == (7, 6)
        policy = await AlertPolicyModel.find_by_service(connection, "gateway")
        assert (policy["down_close_checks"], policy["degraded_close_checks"]) == (4, 5)
        assert await published_channels(connection) == ["boss", "ops"]
        assert (await open_windows(connection)).keys() == {"backup", "upgrade"}


async def test_what_is_as_it_was_is_left_alone(database: str) -> None:
    async with connect_async(database) as connection:
        await publish(connection, WHOLE)
        before = await open_windows(connection)
        assert await publish(connection, WHOLE) == Published(services=0)
        assert await open_windows(connection) == before


async def test_windows_come_and_go_with_the_file(database: str) -> None:
    """A window that changes is another one; what a person has silenced stays."""
    later = CronSchedule(cron="0 4 * * *", duration=timedelta(hours=1), zone="Europe/Berlin")
    changed = (window("backup"), window("upgrade", later))
    async with connect_async(database) as connection:
        by_hand = await AlertSilenceModel.create(connection, by="anna", matcher={}, name="by hand")
        await publish(connection, WHOLE)
        first = await open_windows(connection)
        await publish(connection, Configuration(services=WHOLE.services, maintenance=changed))
        second = await open_windows(connection)
        assert second["backup"] == first["backup"]
        assert second["upgrade"] != first["upgrade"]
        await publish(connection, BARE)
        assert await open_windows(connection) == {"by hand": str(by_hand.id)}


async def test_a_file_without_alerting_takes_away_nothing(database: str) -> None:
    """A second monitor that merely probes must not silence the first one's channels."""
    async with connect_async(database) as connection:
        await publish(connection, WHOLE)
        second = Publishing(connection, BARE, reachability=Reachability())
        await second.publish_once()
        assert await published_channels(connection) == ["boss", "ops"]
        assert (await open_windows(connection)).keys() == {"backup", "upgrade"}


async def test_what_goes_from_the_file_while_it_runs_is_taken_away(database: str) -> None:
    async with connect_async(database) as connection:
        async with publishing(connection, WHOLE) as parts:
            await wait_until_async(lambda: published_channels(connection), "it is published")
            parts.update(BARE)

            async def is_gone() -> bool:
                return not await published_channels(connection)

            await wait_until_async(is_gone, "and taken away")
        assert await open_windows(connection) == {}
        policy = await AlertPolicyModel.find_by_service(connection, "gateway")
        assert policy["down_close_checks"] == 2


async def test_it_waits_until_the_database_can_be_told(
    empty_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pulsebase.monitor")
    async with connect_async(empty_database) as connection, publishing(connection, WHOLE):
        await wait_until_async(lambda: "not published yet" in caplog.text, "it is not ready")
        await asyncio.to_thread(migrate, empty_database)
        await wait_until_async(
            lambda: published_channels(connection), "after the migration it is told", 60
        )


async def test_what_the_database_refuses_is_told_and_mended_by_a_reload(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = NewAlertPolicy(alert_policy={"down_close_checks": 0})
    async with (
        connect_async(database) as connection,
        publishing(connection, Configuration(services=WHOLE.services, policies=(wrong,))) as parts,
    ):
        await wait_until_async(lambda: caplog.records, "it complains")
        assert "down_close_checks" in caplog.records[0].getMessage()
        parts.update(WHOLE)
        await wait_until_async(lambda: published_channels(connection), "and goes on", 60)


async def test_no_address_reaches_the_database(database: str) -> None:
    async with connect_async(database) as connection:
        await publish(connection, WHOLE)
    with psycopg.connect(database) as owner:
        for table in ("alert_channels", "alert_routes", "monitored_services", "alert_acts"):
            text = owner.execute(
                f"select coalesce(jsonb_agg(to_jsonb(one))::text, '') from {table} as one"  # noqa: S608
            ).fetchone()
            assert text is not None
            assert SECRET not in text[0]


async def test_fifty_thousand_services_are_told_in_pieces_that_https_takes(
    database: str, start_postgrest: Callable[[str], PostgrestServer]
) -> None:
    """The second time only the one that differs is written."""
    labels = {"team": "shop", "tier": "front"}
    many = tuple(
        service(
            f"service {number:05}", labels=labels, depends_on=("service 00000",) if number else ()
        )
        for number in range(50_000)
    )
    server = start_postgrest(database)
    async with connect_async(server.url, key=server.service_key) as connection:
        assert (await publish(connection, Configuration(services=many))).services == 50_000
        changed = (*many[:-1], service("service 49999"))
        assert (await publish(connection, Configuration(services=changed))).services == 1
