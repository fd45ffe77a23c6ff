"""Tables with reasons, notes and errors in them: on a terminal such texts give way first.

`print_table` leaves out whole columns where a terminal is narrow. A reason can be longer than any
terminal is wide, and half a reason says more than none.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pulsebase.cli.output import Styled, console, print_table
from pulsebase.cli.text import clean, display_width, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.cli.output import Cell, Column

__all__ = ["print_texts"]

_LEAST: Final = 20
_GAP: Final = 2


def print_texts(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], texts: Sequence[str]
) -> None:
    """Print a table in which the columns with these titles may be shortened, not below 20."""
    if not sys.stdout.isatty():
        print_table(columns, rows)
        return
    # Where a column is empty it takes no room, and is not shown.
    filled = [
        index
        for index, column in enumerate(columns)
        if not column.rank or any(_text(row[index]) for row in rows)
    ]
    limits = _limits([columns[index] for index in filled], _widths(columns, rows, filled), texts)
    shown = {index: limit for index, limit in zip(filled, limits, strict=True) if limit}
    print_table(
        [columns[index] for index in shown],
        [[_cut(row[index], limit) for index, limit in shown.items()] for row in rows],
    )


def _widths(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], filled: Sequence[int]
) -> list[int]:
    return [
        max(map(display_width, (columns[index].title, *(_text(row[index]) for row in rows))))
        for index in filled
    ]


def _limits(columns: Sequence[Column], widths: Sequence[int], texts: Sequence[str]) -> list[int]:
    """How wide each column may be; 0 for one that has no room."""
    is_text = [column.title in texts for column in columns]
    limits = [
        min(width, _LEAST) if text else width for width, text in zip(widths, is_text, strict=True)
    ]
    room = console().width + _GAP
    while _taken(limits) > room:
        droppable = [index for index, limit in enumerate(limits) if limit and columns[index].rank]
        if not droppable:
            break
        limits[max(droppable, key=lambda index: columns[index].rank)] = 0
    for index in sorted(range(len(limits)), key=lambda each: columns[each].rank):
        if limits[index]:
            limits[index] += max(0, min(widths[index] - limits[index], room - _taken(limits)))
    return limits


def _taken(limits: Sequence[int]) -> int:
    return sum(limit + _GAP for limit in limits if limit)


def _cut(cell: Cell, limit: int) -> Cell:
    if display_width(_text(cell)) <= limit:
        return cell
    text = shortened(_text(cell), limit)
    return replace(cell, text=text) if isinstance(cell, Styled) else text


def _text(cell: Cell) -> str:
    return clean(cell.text if isinstance(cell, Styled) else cell)
