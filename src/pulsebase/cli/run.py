"""`pulsebase run`: the monitor, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Final

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
    from collections.abc import Callable
    from pathlib import Path

    from pulsebase.monitor.configuration import Configuration
    from pulsebase.monitor.monitor import Monitor
    from pulsebase.settings import Target

_OBJECTS_BEFORE_COLLECTING: Final = 10_000


@click.command(cls=MonitorCommand)
@config_option
def run(path: Path) -> None:
    """Probe the services of the configuration file and record what is seen.

    Runs until Ctrl-C or SIGTERM, then records what is left and ends with 0. On a terminal it shows
    a live table, elsewhere a line for each change. While the database is away it goes on probing
    and keeps the checks. A changed file is taken over within seconds, at SIGHUP at once.
    """
    _allow_many_open_files()
    _outlive_hangups()
    configuration = read_configuration(path)
    target = target_of(configuration, current_options())
    _collect_rarely()
    left = asyncio.run(_run(path, configuration, target))
    if left:
        from pulsebase.monitor.counted import counted

        message = (
            f"lost {counted(left, 'check')}: the database is away, and no file could keep more;"
            " set spool under [monitor] to a folder that can be written"
        )
        raise PulsebaseError(message)


def _collect_rarely() -> None:
    """Leave what was read at the start alone, and look for circles of garbage less often.

    A look leaves no circles, and makes hundreds of objects: at Python's own pace, every 700 of
    them, a busy monitor would spend a sixteenth of its time on this.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTING, 20, 20)


async def _run(path: Path, configuration: Configuration, target: Target) -> int:
    from pulsebase.monitor.background import in_background
    from pulsebase.monitor.monitor import Monitor
    from pulsebase.monitor.recording.spool import open_spool
    from pulsebase.monitor.reload import Reloading

    async with open_door(target) as connection:
        trouble = await make_ready(connection, target)
        spool = open_spool(configuration.monitor, target)
        monitor = Monitor(configuration, connection, spool=spool)
        reloading = Reloading(path, configuration, environ=os.environ, apply=monitor.reload)
        hangup = _hangup(monitor.stop, reloading.reload_now)
        with stop_on_signals(monitor.stop, at_hangup=hangup):
            # Only now: whoever reads this may send signals, and they are heeded.
            tell(f"{path}: {_watched(configuration)}; recording to {target}")
            if trouble:
                tell(f"not recording yet: {trouble}")
            async with in_background(reloading.run(), name="reload"):
                return await show_while_running(monitor, f"recording to {target}; Ctrl-C ends")


def _watched(configuration: Configuration) -> str:
    kinds = Counter(service.kind for service in configuration.services)
    services = len(configuration.services)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
    return f"{services:,} service{'' if services == 1 else 's'} ({counts})"


def _allow_many_open_files() -> None:
    """Raise the soft limit to the hard one: each look under way has a connection open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS names a hard limit that it does not grant.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _outlive_hangups() -> None:
    """Ignore SIGHUP until it can be heeded: who reloads a service that just starts must not end it.

    Not on a terminal, which may be closed meanwhile.
    """
    if not _has_terminal():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _hangup(stop: Callable[[], None], reload: Callable[[], None]) -> Callable[[], None]:
    """What SIGHUP means: the terminal that we were started on is closed, else to reload."""
    has_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN

    def hangup() -> None:
        if has_terminal and not _has_terminal():
            stop()
        else:
            reload()

    return hangup


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


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
    """What there is to say of the monitor itself; what is not there is not said."""
    recorder = monitor.recorder
    others = monitor.monitors - 1
    parts = [
        f"{recorder.recorded:,} recorded",
        f"{recorder.waiting:,} waiting" if recorder.waiting else "",
        f"{recorder.spooled:,} on disk" if recorder.spooled else "",
        f"{recorder.dropped:,} lost" if recorder.dropped else "",
        f"{monitor.broken:,} broken looks" if monitor.broken else "",
        f"{monitor.late:,} late" if monitor.late else "",
        "the network is away" if monitor.network_is_away else "",
        f"{others:,} more monitor{'' if others == 1 else 's'}" if others else "",
    ]
    return ", ".join(part for part in parts if part)
