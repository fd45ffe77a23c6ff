"""`pulsebase check`: every service once, recorded, and the worst status as the exit code."""

from __future__ import annotations

import asyncio
import difflib
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from pulsebase.cli.live import COLUMNS, row_of
from pulsebase.cli.options import HealthCommand, current_options
from pulsebase.cli.output import (
    exit_code,
    print_error,
    print_json,
    print_table,
    tell,
    worst,
)
from pulsebase.cli.watching import (
    config_option,
    make_ready,
    open_door,
    read_configuration,
    target_of,
)
from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.configuration import Configuration, MonitorKeys, Service
    from pulsebase.monitor.sighting import Sighting
    from pulsebase.settings import Target

    Looks = list[tuple[Sighting, NewHealthCheck | None]]

_RECORD_SECONDS = 30.0
_MOST_NAMES_LISTED = 20


@click.command(cls=HealthCommand)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@config_option
def check(names: tuple[str, ...], path: Path) -> None:
    """Probe every service of the configuration file once, or only those NAMEd, and record it.

    What cannot be recorded is kept on disk, and the next check or run records it first.

    \b
    Exit codes: 0 all healthy, 1 the worst is degraded, 2 one is down,
    3 unknown: a probe broke, or what was seen could not be recorded.
    """  # noqa: D301 -- click's mark for a paragraph that it must not wrap
    configuration = read_configuration(path)
    services = _chosen(configuration, names)
    target = target_of(configuration, current_options())
    looks, trouble = asyncio.run(_check(services, configuration.monitor, target))
    _show(looks)
    if trouble:
        print_error(trouble)
    statuses = [sighting.status for sighting, _ in looks]
    raise SystemExit(exit_code(worst([*statuses, "unknown"] if trouble else statuses)))


def _chosen(configuration: Configuration, names: Sequence[str]) -> list[Service]:
    by_name = {service.name: service for service in configuration.services}
    for name in names:
        if name not in by_name:
            near = difflib.get_close_matches(name, by_name, n=1)
            advice = f'did you mean "{near[0]}"?' if near else f"there are: {_listed(by_name)}"
            msg = f'the configuration file has no service "{name}"; {advice}'
            raise click.UsageError(msg)
    return [by_name[name] for name in dict.fromkeys(names)] or list(by_name.values())


def _listed(names: Collection[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - _MOST_NAMES_LISTED
    shown = ", ".join(islice(names, _MOST_NAMES_LISTED))
    return f"{shown} and {more:,} more" if more > 0 else shown


async def _check(
    services: Sequence[Service], keys: MonitorKeys, target: Target
) -> tuple[Looks, str | None]:
    """What was seen, and what is to be said if it could not be recorded."""
    from pulsebase.monitor.monitor import check_once

    async with open_door(target) as connection:
        # First, since heartbeats read what jobs have reported: the embedded server may have to be
        # made and started for that, and takes longer than a look may.
        try:
            trouble = await make_ready(connection, target)
        except PulsebaseError as error:
            trouble = str(error)
        looks = await check_once(services, keys=keys, connection=connection)
        checks = [check for _, check in looks if check]
        return looks, await _record(connection, checks, keys, target, trouble)


async def _record(
    connection: AsyncConnection,
    checks: Sequence[NewHealthCheck],
    keys: MonitorKeys,
    target: Target,
    trouble: str | None,
) -> str | None:
    """Record what earlier runs kept, then the checks; with trouble ahead, keep them at once."""
    from pulsebase.monitor.counted import counted
    from pulsebase.monitor.recording.recorder import Recorder
    from pulsebase.monitor.recording.spool import open_spool

    spool = open_spool(keys, target)
    earlier = spool.on_disk
    recorder = Recorder(connection, spool=spool)
    for check in checks:
        recorder.put(check)
    if trouble is None:
        recorder.start()
    lost = await recorder.stop(within_seconds=_RECORD_SECONDS)
    kept = spool.on_disk
    if earlier and not kept:
        tell(f"recorded as well, kept by earlier runs: {counted(earlier, 'check')}")
    if not kept and not lost:
        return None
    extent = "not everything" if recorder.recorded else "nothing"
    reason = trouble or recorder.trouble or "there was not enough time"
    rest = (
        f"lost: {counted(lost, 'check')}; set spool under [monitor] to a folder that can be written"
        if lost
        else f"kept for the next check or run: {counted(kept, 'check')}"
    )
    return f"{extent} was recorded: {reason}{' ' if reason.endswith('?') else '; '}{rest}"


def _show(looks: Looks) -> None:
    if current_options().json:
        print_json([_document(sighting, check) for sighting, check in looks])
        return
    print_table(COLUMNS, [row_of(sighting) for sighting, _ in looks])


def _document(sighting: Sighting, check: NewHealthCheck | None) -> dict[str, Any]:
    if check is None:
        return {
            "service_name": sighting.service_name,
            "status": sighting.status,
            "checked_at": sighting.checked_at.isoformat(),
            "why": sighting.why,
        }
    return {
        "id": str(check.id),
        "service_name": check.service_name,
        "status": check.status,
        "latency_ms": check.latency_ms,
        "checked_at": check.checked_at.isoformat(),
        "probe_details": check.probe_details,
    }
