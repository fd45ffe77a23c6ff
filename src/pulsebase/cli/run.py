"""`pulsebase run`: the monitor, until it is told to stop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from pulsebase.cli.options import MonitorCommand, current_options
from pulsebase.cli.output import tell
from pulsebase.cli.watching import (
    config_option,
    make_ready,
    open_door,
    read_configuration,
    stop_on_signals,
    target_of,
)
from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.monitor.configuration import Configuration
    from pulsebase.monitor.monitor import Monitor
    from pulsebase.settings import Target


@click.command(cls=MonitorCommand)
@config_option
def run(path: Path) -> None:
    """Probe the services of the configuration file and record what is seen.

    Runs until Ctrl-C or SIGTERM, then records what is left and ends with 0. On a terminal it shows
    a live table, elsewhere a line for each change. While the database is away it goes on probing
    and keeps the checks.
    """
    configuration = read_configuration(path)
    left = asyncio.run(_run(configuration, target_of(configuration, current_options())))
    if left:
        message = f"{left} checks could not be recorded before the end; the database is away"
        raise PulsebaseError(message)


async def _run(configuration: Configuration, target: Target) -> int:
    from pulsebase.monitor.monitor import Monitor

    async with open_door(target) as connection:
        if trouble := await make_ready(connection, target):
            tell(f"not recording yet: {trouble}")
        monitor = Monitor(configuration, connection)
        with stop_on_signals(monitor.stop):
            return await show_while_running(monitor, f"recording to {target}; Ctrl-C ends")


async def show_while_running(monitor: Monitor, caption: str) -> int:
    """Run the monitor with the table or the lines that fit the output."""
    from pulsebase.cli.live import draws, live_table, tell_changes

    if draws():
        with live_table(monitor.latest.values, lambda: f"{_counted(monitor)}; {caption}"):
            return await monitor.run()
    telling = asyncio.create_task(tell_changes(monitor.latest))
    try:
        return await monitor.run()
    finally:
        telling.cancel()
        with suppress(asyncio.CancelledError):
            await telling


def _counted(monitor: Monitor) -> str:
    recorder = monitor.recorder
    waiting = f", {recorder.waiting} waiting" if recorder.waiting else ""
    dropped = f", {recorder.dropped} lost" if recorder.dropped else ""
    return f"{recorder.recorded} recorded{waiting}{dropped}"
