"""What the monitor sees, as a table that renews itself on a terminal and as lines elsewhere.

Both are for any number of services: the table shows the worst as far as the screen goes and counts
the rest, and the lines tell of changes, not of everything that is well.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from heapq import nsmallest
from time import monotonic
from typing import TYPE_CHECKING, Final

from pulsebase.cli.output import Column, Styled, console, status_cell, tell
from pulsebase.cli.text import age_text, clean, display_width, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from rich.console import RenderableType
    from rich.text import Text

    from pulsebase.cli.output import Cell
    from pulsebase.monitor.sighting import Sighting

__all__ = ["COLUMNS", "Changes", "LiveTable", "draws", "live_table", "row_of", "tell_changes"]

_REFRESH_SECONDS: Final = 0.5
_SLOW_REFRESH_SECONDS: Final = 2.0
# Beyond so many services a redraw takes long enough to be done less often.
_MANY: Final = 2_000
_LONGEST_REASON: Final = 120
# Where more services than this are watched, their first healthy look is not worth a line each.
_MOST_FIRST_LOOKS_TOLD: Final = 100
# Heading, the line that counts what is not shown, counts, caption, and the cursor's own line.
_LINES_BESIDE_ROWS: Final = 5
_GAP: Final = 2
_NARROWEST: Final = 8  # a column that would be cut shorter than this is left out
_WORST_FIRST: Final = ("down", "unknown", "degraded", "healthy")

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
        "" if sighting.latency_ms is None else f"{sighting.latency_ms:,} ms",
        f"{age_text(seconds)} ago",
        shortened(sighting.why, _LONGEST_REASON),
    ]


def counts_of(sightings: Collection[Sighting]) -> list[Cell]:
    """`12 services: 10 healthy, 1 degraded, 1 down`, in colours, the statuses that there are."""
    found = Counter(sighting.status for sighting in sightings)
    cells: list[Cell] = [f"{len(sightings):,} service{'' if len(sightings) == 1 else 's'}"]
    for status in reversed(_WORST_FIRST):
        if found[status]:
            cells += [": " if len(cells) == 1 else ", "]
            cells += [status_cell(status, f"{found[status]:,} {status}")]
    return cells


@contextmanager
def live_table(
    sightings: Callable[[], Collection[Sighting]], caption: Callable[[], str]
) -> Iterator[None]:
    """Show the newest sightings while the block runs; their last state stays on the screen."""
    from rich.live import Live

    table = LiveTable(sightings, caption)
    with Live(
        get_renderable=table.drawn,
        console=console(),
        refresh_per_second=1 / _REFRESH_SECONDS,
        vertical_overflow="crop",
    ) as live:
        yield
        table.forget()
        live.refresh()


class LiveTable:
    """Draws what there is to see; among thousands of services not at every turn."""

    def __init__(
        self, sightings: Callable[[], Collection[Sighting]], caption: Callable[[], str]
    ) -> None:
        self._sightings = sightings
        self._caption = caption
        self._screen = console()
        self._last: RenderableType | None = None
        self._last_at = 0.0

    def drawn(self) -> RenderableType:
        """The picture for this moment."""
        found = self._sightings()
        fresh_for = _SLOW_REFRESH_SECONDS if len(found) > _MANY else 0.0
        if self._last is None or monotonic() - self._last_at >= fresh_for:
            self._last, self._last_at = self._draw(found), monotonic()
        return self._last

    def forget(self) -> None:
        """Draw anew the next time, whenever that is."""
        self._last = None

    def _draw(self, found: Collection[Sighting]) -> RenderableType:
        from rich.console import Group
        from rich.table import Table

        # The rank first, the name last: the worst on top, and no row jumps without a reason.
        most = max(1, self._screen.size.height - _LINES_BESIDE_ROWS)
        shown = nsmallest(most, found, key=_worst_first)
        rows = [row_of(sighting) for sighting in shown]
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="dim")
        for column, width in zip(COLUMNS, _widths(rows, self._screen.width), strict=True):
            if width:
                table.add_column(
                    column.title,
                    justify="right" if column.right else "left",
                    no_wrap=True,
                    overflow="ellipsis",
                    width=width,
                )
        for row in rows:
            table.add_row(*map(_rich, row[: len(table.columns)]))
        lines: list[RenderableType] = [table]
        if left := len(found) - len(shown):
            lines.append(_rich(Styled(f"… and {left:,} more", "dim")))
        lines += [_line(counts_of(found)), _rich(Styled(self._caption(), "dim"))]
        return Group(*lines)


def _widths(rows: list[list[Cell]], screen_width: int) -> list[int]:
    """How wide each column is; the last ones take what is left, and go where that is too little."""
    wanted = [
        max(
            [display_width(column.title), *(display_width(_rich(row[index]).plain) for row in rows)]
        )
        for index, column in enumerate(COLUMNS)
    ]
    # A name of a hundred characters leaves room for what is said of it.
    wanted[0] = min(wanted[0], max(_NARROWEST, screen_width // 2))
    widths: list[int] = []
    left = screen_width
    for width in wanted:
        given = min(width, left)
        is_cut_short = given < min(width, _NARROWEST)
        widths.append(0 if is_cut_short and widths else given)
        left = 0 if is_cut_short else left - given - _GAP
    return widths


def _worst_first(sighting: Sighting) -> tuple[int, str]:
    return _WORST_FIRST.index(sighting.status), sighting.service_name


def _rich(cell: Cell) -> Text:
    from rich.text import Text

    text, style = (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
    return Text(clean(text), style=style, no_wrap=True, overflow="ellipsis")


def _line(cells: list[Cell]) -> Text:
    from rich.text import Text

    return Text.assemble(*map(_rich, cells), no_wrap=True, overflow="ellipsis")


async def tell_changes(latest: Mapping[str, Sighting]) -> None:
    """Where there is no terminal: a line whenever a service's status changes, until cancelled."""
    changes = Changes()
    while True:
        for line in changes.lines(latest):
            tell(line)
        await asyncio.sleep(_REFRESH_SECONDS)


class Changes:
    """What has changed since the last look, as lines."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def lines(self, latest: Mapping[str, Sighting]) -> list[str]:
        """A line for each service whose status is another one than before, by name.

        A first look is a change, too; that of a service that is well is left out where there are
        so many that the lines would only hide what is not.
        """
        told = self._told
        changed = [seen for seen in latest.values() if told.get(seen.service_name) != seen.status]
        worth = [seen for seen in changed if self._is_worth_a_line(seen, len(latest))]
        told.update((seen.service_name, seen.status) for seen in changed)
        # What is not watched any more may come back, and is then told anew.
        for name in told.keys() - latest.keys() if len(told) > len(latest) else ():
            del told[name]
        return [_change(seen) for seen in sorted(worth, key=lambda seen: seen.service_name)]

    def _is_worth_a_line(self, seen: Sighting, services: int) -> bool:
        is_first = seen.service_name not in self._told
        return not (is_first and seen.status == "healthy" and services > _MOST_FIRST_LOOKS_TOLD)


def _change(seen: Sighting) -> str:
    why = shortened(seen.why, _LONGEST_REASON)
    moment = f"{seen.checked_at:%Y-%m-%dT%H:%M:%SZ}"
    return f"{moment} {seen.service_name} is {seen.status}{f' ({why})' if why else ''}"


def draws() -> bool:
    """Whether there is a terminal to draw on: one that can take back what it has shown."""
    return sys.stdout.isatty() and not console().is_dumb_terminal
