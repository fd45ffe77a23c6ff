"""What the monitor sees, as a table that renews itself on a terminal and as lines elsewhere."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pulsebase.cli.output import Column, console, status_cell, tell
from pulsebase.cli.text import age_text, clean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.table import Table

    from pulsebase.cli.output import Cell
    from pulsebase.models.health_check import HealthCheck, NewHealthCheck

_REFRESH_SECONDS: Final = 0.5
_LONGEST_REASON: Final = 120

COLUMNS: Final = (
    Column("service"),
    Column("status"),
    Column("latency", right=True, rank=1),
    Column("checked", right=True, rank=2),
    Column("why", rank=3),
)


def row_of(check: HealthCheck | NewHealthCheck) -> list[Cell]:
    """What a check says, cell by cell of COLUMNS."""
    seconds = (datetime.now(UTC) - check.checked_at).total_seconds()
    return [
        check.service_name,
        status_cell(check.status),
        "" if check.latency_ms is None else f"{check.latency_ms} ms",
        f"{age_text(seconds)} ago",
        reason(check.probe_details),
    ]


def reason(details: Mapping[str, Any] | None) -> str:
    """One line of a check's details that says why it is not healthy."""
    match details or {}:
        case {"error": {"message": message}}:
            return shortened(str(message), _LONGEST_REASON)
        case {"failed": {"expectation": expectation, "expected": expected, "got": got}}:
            text = f"{expectation}: expected {expected}, got {got}"
            return shortened(text, _LONGEST_REASON)
    return ""


@contextmanager
def live_table(
    checks: Callable[[], Iterable[NewHealthCheck]], caption: Callable[[], str]
) -> Iterator[None]:
    """Show the newest checks while the block runs; their last state stays on the screen."""
    from rich.live import Live

    with Live(
        get_renderable=lambda: _drawn(checks(), caption()),
        console=console(),
        refresh_per_second=1 / _REFRESH_SECONDS,
    ) as live:
        yield
        live.refresh()


def _drawn(checks: Iterable[NewHealthCheck], caption: str) -> Table:
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
    for check in sorted(checks, key=lambda check: check.service_name):
        cells = (
            (cell, "") if isinstance(cell, str) else (cell.text, cell.style)
            for cell in row_of(check)
        )
        table.add_row(*(Text(clean(text), style=style) for text, style in cells))
    return table


async def tell_changes(latest: Mapping[str, NewHealthCheck]) -> None:
    """Where there is no terminal: one line whenever a service's status changes, until cancelled."""
    told: dict[str, str] = {}
    while True:
        for name, check in sorted(latest.items()):
            if told.get(name) != check.status:
                told[name] = check.status
                why = reason(check.probe_details)
                moment = f"{check.checked_at:%Y-%m-%dT%H:%M:%SZ}"
                tell(f"{moment} {name} is {check.status}{f' ({why})' if why else ''}")
        await asyncio.sleep(_REFRESH_SECONDS)


def draws() -> bool:
    """Whether there is a terminal to draw on."""
    return sys.stdout.isatty()
