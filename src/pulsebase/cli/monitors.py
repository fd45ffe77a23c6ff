"""`pulsebase monitors`: who probes what."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Final, Literal

import click

from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import Column, print_json, print_table, tell
from pulsebase.cli.text import age_text, time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Steps
    from pulsebase.models.monitor import Monitor
    from pulsebase.monitor.sharing.rendezvous import ServiceSet

__all__ = ["monitors"]

_COLUMNS: Final = (
    Column("MONITOR"),
    Column("LOCATION", rank=3),
    Column("STATE"),
    Column("SINCE", rank=5),
    Column("SEEN", right=True, rank=2),
    Column("SERVICES", right=True, rank=4),
    Column("PROBES", right=True, rank=1),
)


@click.command(cls=DatabaseCommand)
def monitors() -> None:
    """Show the monitors on this database and what each of them probes.

    Monitors at one location share the services that they have in common; each probes what only it
    has. Those that have died are shown for a day.
    """
    options = current_options()
    with options.connect() as connection:
        found, shares = connection.run(_monitors_and_shares())
    if options.json:
        print_json({"monitors": [_document(monitor, shares) for monitor in found]})
    elif found:
        print_table(_COLUMNS, [_row(monitor, shares) for monitor in found])
    else:
        tell("no monitor is running; see: pulsebase run --help")


def _monitors_and_shares() -> Steps[tuple[list[Monitor], dict[UUID, int]]]:
    """All monitors, by location and name; and the share of each, where it is known."""
    from pulsebase.models.monitor import MonitorModel

    found: list[Monitor] = yield MonitorModel.find_all.call()
    found.sort(key=lambda each: (each.location or "", each.name or "", each.started_at))
    sets = yield from _sets(found)
    shares: dict[UUID, int] = {}
    for _, there in groupby(found, key=lambda each: each.location):
        shares |= _shares_of([each for each in there if each.gone_at is None], sets)
    return found, shares


def _sets(found: Sequence[Monitor]) -> Steps[dict[str, ServiceSet]]:
    """The sets of services by their digests; most monitors have the same one."""
    from pulsebase.models.monitor import MonitorModel, MonitorServices
    from pulsebase.monitor.sharing.rendezvous import ServiceSet

    sets: dict[str, ServiceSet] = {}
    for monitor in found:
        if monitor.gone_at is None and monitor.services_digest not in {None, *sets}:
            packed: MonitorServices | None = yield MonitorModel.find_services.call(monitor.id)
            if packed is not None:
                sets[packed.digest] = ServiceSet(packed.hashes)
    return sets


def _shares_of(there: Sequence[Monitor], sets: dict[str, ServiceSet]) -> dict[UUID, int]:
    from pulsebase.monitor.sharing.rendezvous import Candidate, share_sizes

    candidates = [
        Candidate(each.id, sets[each.services_digest])
        for each in there
        if each.services_digest in sets
    ]
    sizes = share_sizes(candidates)
    return {candidate.id: sizes[candidate.id] for candidate in candidates}


def _state(monitor: Monitor) -> Literal["running", "silent", "gone"]:
    if monitor.gone_at is not None:
        return "gone"
    return "silent" if monitor.is_silent else "running"


def _document(monitor: Monitor, shares: dict[UUID, int]) -> dict[str, object]:
    return {
        **asdict(monitor),
        "state": _state(monitor),
        "probed_count": shares.get(monitor.id),
    }


def _row(monitor: Monitor, shares: dict[UUID, int]) -> list[Cell]:
    probed = shares.get(monitor.id)
    return [
        monitor.name or str(monitor.id),
        monitor.location or "",
        _state(monitor),
        time_text(monitor.started_at),
        f"{age_text(monitor.age_seconds)} ago",
        f"{monitor.service_count:,}",
        "–" if probed is None else f"{probed:,}",  # noqa: RUF001 -- a dash
    ]
