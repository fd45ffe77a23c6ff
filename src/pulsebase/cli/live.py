"""What the monitor sees, as a table that renews itself on a terminal and as lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pulsebase.cli.output import Column, console, status_cell, tell
from pulsebase.cli.text import age_text, clean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.table import Table

    from pulsebase.cli.output import Cell
    from pulsebase.monitor.sighting import Sighting

_REFRESH_SECONDS: Final = 0.5
_LONGEST_REASON: Final = 120

COLUMNS: Final = (
    Column("service"),
    Column("status"),
    Column("latency", right=True, rank=1),
    Column("checked", right=True, rank=2),
    Column("why", rank=3),
)


def row_of(sighting: Sighting) -> list[Cell]:
    """What was seen of a service, cell by cell of COLUMNS."""
    seconds = (datetime.now(UTC) - sighting.checked_at).total_seconds()
    return [
        sighting.service_name,
        status_cell(sighting.status),
        "" if sighting.latency_ms is None else f"{sighting.latency_ms} ms",
        f"{age_text(seconds)} ago",
        shortened(sighting.why, _LONGEST_REASON),
    ]


@contextmanager
def live_table(
    sightings: Callable[[], Iterable[Sighting]], caption: Callable[[], str]
) -> Iterator[None]:
    """Show the newest sightings while the block runs; their last state stays on the screen."""
    from rich.live import Live

    with Live(
        get_renderable=lambda: _drawn(sightings(), caption()),
        console=console(),
        refresh_per_second=1 / _REFRESH_SECONDS,
    ) as live:
        yield
        live.refresh()


def _drawn(sightings: Iterable[Sighting], caption: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, pad_edge=False, header_style="dim", caption=caption, caption_justify="left"
    )
    for column in COLUMNS:
        table.add_column(
            column.title,
            justify="right" if column.right else "left",
            no_wrap=column.rank > 0,
            overflow="ellipsis" if column.rank else "fold",
        )
    for sighting in sorted(sightings, key=lambda sighting: sighting.service_name):
        cells = (
            (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
            for cell in row_of(sighting)
        )
        table.add_row(*(Text(clean(text), style=style) for text, style in cells))
    return table


async def tell_changes(latest: Mapping[str, Sighting]) -> None:
    """Where there is no terminal: one line whenever a service's status changes, until cancelled."""
    told: dict[str, str] = {}
    while True:
        for name, seen in sorted(latest.items()):
            if told.get(name) != seen.status:
                told[name] = seen.status
                why = shortened(seen.why, _LONGEST_REASON)
                moment = f"{seen.checked_at:%Y-%m-%dT%H:%M:%SZ}"
                tell(f"{moment} {name} is {seen.status}{f' ({why})' if why else ''}")
        await asyncio.sleep(_REFRESH_SECONDS)


def draws() -> bool:
    """Whether there is a terminal to draw on."""
    return sys.stdout.isatty()
