"""`pulsebase demo`: everything at once, on a private database that is gone afterwards."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pulsebase.cli.options import DURATION, Command
from pulsebase.cli.output import (
    Column,
    print_line,
    print_table,
    status_cell,
    tell,
)
from pulsebase.cli.text import shortened, time_text
from pulsebase.cli.watching import migrate, open_door, stop_on_signals
from pulsebase.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pulsebase.cli.output import Cell
    from pulsebase.connection import AsyncConnection
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.monitor.configuration import Service
    from pulsebase.monitor.monitor import Monitor
    from pulsebase.settings import Target

_INTERVAL = timedelta(seconds=1)
_TIMEOUT = timedelta(seconds=1)
_DEGRADED_ABOVE = timedelta(milliseconds=200)
_DEGRADED_ABOVE_FAR_AWAY = timedelta(milliseconds=800)
_SUMMARY = (
    Column("service"),
    Column("healthy", right=True),
    Column("degraded", right=True),
    Column("down", right=True),
    Column("now"),
)
_LONGEST_REASON = 60
_ALERTS = (
    Column("at"),
    Column("service"),
    Column("alert"),
    Column("status"),
    Column("because"),
)


@click.command(cls=Command)
@click.argument("urls", nargs=-1, metavar="[URL]...")
@click.option("--for", "duration", type=DURATION, help="End by itself after so long, e.g. 20s.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the database in this folder; without it everything is removed at the end.",
)
def demo(urls: tuple[str, ...], duration: timedelta | None, folder: Path | None) -> None:
    """Show it all at once: database, migrations, monitor, alerts and history.

    Starts a private PostgreSQL, creates the tables, and watches two small services of its own (one
    steady, one that turns slow, fails and recovers) and any URL given. Ctrl-C ends it.
    """
    with _data_folder(folder) as data_folder:
        target = resolve(f"embedded://{data_folder}")
        tell("starting a private PostgreSQL …")
        asyncio.run(_demo(target, urls, duration))
    if folder:
        tell(f"kept: pulsebase status --url embedded://{folder.absolute()}")


@contextmanager
def _data_folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="pulsebase-demo-", ignore_cleanup_errors=True) as name:
        # Where root starts the demo, the server runs as another account and must pass through.
        Path(name).chmod(0o711)
        yield Path(name) / "data"


async def _demo(target: Target, urls: Sequence[str], duration: timedelta | None) -> None:
    from pulsebase.cli.demo_services import demo_services
    from pulsebase.cli.run import show_while_running
    from pulsebase.monitor.configuration import Configuration
    from pulsebase.monitor.monitor import Monitor

    async with open_door(target) as connection, demo_services() as own:
        # Our door first: it starts the server, and keeps it while the migrator comes and goes.
        await _started(connection)
        await asyncio.to_thread(migrate, target)
        tell("the tables are there; watching " + ", ".join([*own, *urls]))
        configuration = Configuration(services=tuple(_services(own, urls)))
        monitor = Monitor(configuration, connection)
        with stop_on_signals(monitor.stop):
            ending = _end_after(monitor, duration)
            await show_while_running(monitor, "Ctrl-C ends")
            if ending:
                ending.cancel()
        print_line("")
        print_line("what the database remembers:")
        print_table(_SUMMARY, await _summary(connection))
        if alerts := await _alerts(connection):
            print_line("")
            print_line("and the alerts that it opened and resolved by itself:")
            print_table(_ALERTS, alerts)


async def _started(connection: AsyncConnection) -> None:
    from pulsebase.errors import NotMigratedError
    from pulsebase.models.health_check import HealthCheckModel

    try:
        await HealthCheckModel.count_by_status(connection)
    except NotMigratedError:
        return


def _services(own: dict[str, str], urls: Sequence[str]) -> list[Service]:
    from pulsebase.monitor.configuration import Service
    from pulsebase.probes.http import HttpProbe

    def service(name: str, url: str, degraded_above: timedelta) -> Service:
        return Service(
            name=name,
            kind="http",
            interval=_INTERVAL,
            timeout=_TIMEOUT,
            probe=HttpProbe(url=url, degraded_above=degraded_above),
        )

    mine = [service(name, url, _DEGRADED_ABOVE) for name, url in own.items()]
    given = [service(url[:100], url, _DEGRADED_ABOVE_FAR_AWAY) for url in dict.fromkeys(urls)]
    return mine + given


def _end_after(monitor: Monitor, duration: timedelta | None) -> asyncio.TimerHandle | None:
    if duration is None:
        return None
    return asyncio.get_running_loop().call_later(duration.total_seconds(), monitor.stop)


async def _summary(connection: AsyncConnection) -> list[list[Cell]]:
    """Read back from the database, not counted along the way."""
    from pulsebase.models.health_check import HealthCheckModel

    rows: list[list[Cell]] = []
    for latest in await HealthCheckModel.find_latest(connection):
        name = latest.service_name
        counts = await HealthCheckModel.count_by_status(connection, service_name=name)
        numbers = map(str, (counts.healthy, counts.degraded, counts.down))
        rows.append([name, *numbers, status_cell(latest.status)])
    return rows


async def _alerts(connection: AsyncConnection) -> list[list[Cell]]:
    """The events of every service, oldest first."""
    from pulsebase.models.alert_event import AlertEventModel
    from pulsebase.models.health_check import HealthCheckModel

    events = [
        event
        for latest in await HealthCheckModel.find_latest(connection)
        for event in await AlertEventModel.find_by_service(connection, latest.service_name)
    ]
    return [
        [
            time_text(event.created_at),
            event.service_name,
            event.alert_type,
            status_cell(event.status),
            _because(event),
        ]
        for event in sorted(events, key=lambda event: event.created_at)
    ]


def _because(event: AlertEvent) -> str:
    """Why it opened, or how long it took."""
    details = event.details or {}
    seconds = details.get("downtime_seconds")
    if event.alert_type == "recovery" and seconds is not None:
        return f"well again after {seconds:.0f} s"
    return shortened(str(details.get("reason", "")), _LONGEST_REASON)
