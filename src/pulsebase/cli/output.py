"""What the commands print: one JSON document for programs, tables and sentences for people.

Data goes to stdout, everything else (errors, progress, logs) to stderr. On a terminal a table is
drawn by rich, which is imported only then; elsewhere it is aligned plain text.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime, timedelta
from math import isfinite
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias
from uuid import UUID

from pulsebase.cli.text import clean, display_width

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.progress import Progress as BarOfRich
    from rich.text import Text

__all__ = [
    "Cell",
    "Column",
    "Progress",
    "Styled",
    "console",
    "exit_code",
    "print_error",
    "print_json",
    "print_line",
    "print_styled",
    "print_table",
    "progress",
    "status_cell",
    "status_text",
    "tell",
    "use_color",
    "worst",
]

# What JSON leaves as it is and a terminal obeys: C1 controls, direction marks, invisible signs.
_UNSAFE_IN_JSON: Final = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_GAP: Final = "  "
_MOMENT_SECONDS: Final = 0.5
_STATUS_STYLES: Final = {
    "healthy": "green",
    "degraded": "yellow",
    "down": "bold red",
    "unknown": "magenta",
    "ok": "green",
    "warning": "yellow",
    "problem": "bold red",
    "active": "bold red",
    "resolved": "green",
}
_SEVERITY: Final = ("healthy", "degraded", "unknown", "down")
_EXIT_CODES: Final = {"healthy": 0, "degraded": 1, "down": 2, "unknown": 3}


@dataclass(frozen=True, slots=True)
class Styled:
    """A text with a rich style; where there are no colours, the text alone."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Where the terminal is too narrow, the highest `rank` goes first.

    Rank 0 always stays; its text is folded when nothing else is left to drop.
    """

    title: str
    right: bool = False
    rank: int = 0


Cell: TypeAlias = str | Styled


def print_json(document: Any) -> None:
    """Print one JSON document: dataclasses, times, UUIDs and durations (in seconds) included."""
    ascii_only = not (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(_plain(document), ensure_ascii=ascii_only, allow_nan=False, indent=2)
    sys.stdout.write(f"{_UNSAFE_IN_JSON.sub(_json_escape, text)}\n")


def print_line(text: str) -> None:
    """Print a line of data to stdout, with unprintable characters escaped."""
    sys.stdout.write(f"{clean(text)}\n")


def print_styled(*cells: Cell) -> None:
    """Print a line of data to stdout, in colours where there are colours."""
    if not sys.stdout.isatty():
        print_line("".join(_text(cell) for cell in cells))
        return
    from rich.text import Text

    console().print(Text.assemble(*(_rich(cell) for cell in cells)), soft_wrap=True)


def tell(text: str) -> None:
    """Print a line for people to stderr: what was done, or why there is nothing to see."""
    sys.stderr.write(f"{clean(text)}\n")


def print_error(text: str) -> None:
    """Print `error: …` to stderr, on one line whatever the text holds."""
    line = clean(" ".join(text.split()))
    if not (sys.stderr.isatty() and use_color()):
        sys.stderr.write(f"error: {line}\n")
        return
    sys.stderr.write(f"\x1b[1;31merror:\x1b[0m {line}\n")


def print_table(columns: Sequence[str | Column], rows: Sequence[Sequence[Cell]]) -> None:
    """Print a table to stdout: drawn on a terminal, aligned plain text elsewhere."""
    headings = [column if isinstance(column, Column) else Column(column) for column in columns]
    if sys.stdout.isatty():
        _draw_table(headings, rows)
    else:
        _write_table(headings, rows)


def status_cell(status: str, text: str | None = None) -> Styled:
    """A status (or another text) in the colour of the status."""
    return Styled(status if text is None else text, _STATUS_STYLES.get(status, ""))


def status_text(status: str) -> Text:
    """A status as a text of rich, in its colour."""
    from rich.text import Text

    return Text(clean(status), style=_STATUS_STYLES.get(status, ""))


def worst(statuses: Iterable[str]) -> str:
    """The worst of some statuses; no status at all is unknown.

    A service that is known to be down outranks one of which nothing is known.
    """
    return max(statuses, key=_SEVERITY.index, default="unknown")


def exit_code(status: str) -> int:
    """The exit code for a health, as monitoring plugins have it."""
    return _EXIT_CODES[status]


def console(file: IO[str] | None = None) -> Console:
    """A console of rich's for stdout (or another file) that interprets no markup."""
    from rich.console import Console

    shown_in = file or sys.stdout
    return Console(
        file=shown_in,
        no_color=not use_color(),
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal=shown_in.isatty(),
    )


def use_color() -> bool:
    """Whether colours are wanted: not with NO_COLOR (see no-color.org) or a dumb terminal."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Progress:
    """How far a command has come. `bar` appears when it takes longer than a moment."""

    def __init__(self, bar: BarOfRich | None = None) -> None:
        self._bar = bar
        self._done = 0
        self._appears_at = time.monotonic() + _MOMENT_SECONDS

    def advance(self, steps: int = 1) -> None:
        """So many more steps are done."""
        self._done += steps
        if self._bar is None or time.monotonic() < self._appears_at:
            return
        if not self._bar.live.is_started:
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._done)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Progress]:
    """A progress bar on stderr, if that is a terminal; it vanishes when it is done.

    Without a `total` it only counts.
    """
    if not sys.stderr.isatty():
        yield Progress()
        return
    from rich import progress as parts

    count = "{task.completed:,}" + ("/{task.total:,}" if total else "")
    columns: list[str | parts.ProgressColumn] = [parts.TextColumn("{task.description}")]
    columns += [parts.BarColumn()] if total else []
    columns += [parts.TextColumn(count), parts.TimeElapsedColumn()]
    bar = parts.Progress(*columns, console=console(sys.stderr), transient=True)
    bar.add_task(clean(description), total=total)
    try:
        yield Progress(bar)
    finally:
        bar.stop()


def _json_escape(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def _plain(value: Any) -> Any:  # noqa: PLR0911 -- one for each type
    """The value in JSON's own types."""
    match value:
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case float() if not isfinite(value):
            return str(value)  # 1e400 in a JSON column is a number to PostgreSQL alone
        case UUID() | PurePath():
            return str(value)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
        case _:
            return value


def _text(cell: Cell) -> str:
    return clean(cell.text if isinstance(cell, Styled) else cell)


def _rich(cell: Cell) -> tuple[str, str]:
    return _text(cell), cell.style if isinstance(cell, Styled) else ""


def _write_table(columns: list[Column], rows: Sequence[Sequence[Cell]]) -> None:
    lines = [[column.title for column in columns], *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(display_width, texts)) for texts in zip(*lines, strict=True)]
    for line in lines:
        padded = map(_padded, line, widths, (column.right for column in columns))
        sys.stdout.write(f"{_GAP.join(padded).rstrip()}\n")


def _padded(text: str, width: int, right: bool) -> str:  # noqa: FBT001 -- mapped over columns
    space = " " * (width - display_width(text))
    return space + text if right else text + space


def _draw_table(columns: list[Column], rows: Sequence[Sequence[Cell]]) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    shown = _fitting(columns, rows, screen.width)
    table = Table(box=None, pad_edge=False, padding=(0, len(_GAP), 0, 0), header_style="dim")
    for index in shown:
        column = columns[index]
        table.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=index != shown[0],
        )
    for row in rows:
        cells = (_rich(row[index]) for index in shown)
        table.add_row(*(Text(text, style=style) for text, style in cells))
    screen.print(table)


def _fitting(columns: list[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    """The columns that fit side by side: empty ones go first, then the highest rank."""
    widths = [
        max([display_width(column.title), *(display_width(_text(row[index])) for row in rows)])
        for index, column in enumerate(columns)
    ]
    shown = [
        index
        for index, column in enumerate(columns)
        if not column.rank or any(_text(row[index]) for row in rows)
    ]
    while sum(widths[index] + len(_GAP) for index in shown) - len(_GAP) > width:
        droppable = [index for index in shown if columns[index].rank]
        if not droppable:
            break
        shown.remove(max(droppable, key=lambda index: columns[index].rank))
    return shown
