"""Runs pairs of measurements in turn and shows their ratios."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table: rates (more is better) or times (less is better) of two sides."""

    name: str
    peer: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    target: float | None
    less_is_better: bool = False

    @property
    def ratios(self) -> list[float]:
        """Ours by theirs, pair by pair."""
        return [mine / other for mine, other in zip(self.ours, self.theirs, strict=True)]

    @property
    def met(self) -> bool | None:
        """Whether the median ratio reaches the target; None where there is none."""
        if self.target is None:
            return None
        median = statistics.median(self.ratios)
        return median <= self.target if self.less_is_better else median >= self.target


def in_turn(
    rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Measure both, turn and turn about, after one round that does not count."""
    ours()
    theirs()
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    return [mine for mine, _ in pairs], [other for _, other in pairs]


def show(comparisons: Sequence[Comparison]) -> None:
    """Print the table."""
    table = Table(title="pulsebase beside its peers (median of pairs, lowest to highest)")
    for heading in ("what", "against", "unit"):
        table.add_column(heading)
    for heading in ("ours", "theirs", "ratio", "spread", "target", "met"):
        table.add_column(heading, justify="right")
    for line in comparisons:
        ratios = line.ratios
        table.add_row(
            line.name,
            line.peer,
            line.unit,
            f"{statistics.median(line.ours):,.4g}",
            f"{statistics.median(line.theirs):,.4g}",
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            _target(line),
            {True: "yes", False: "NO", None: ""}[line.met],
        )
    width = None if sys.stdout.isatty() else 160
    Console(width=width).print(table)


def _target(line: Comparison) -> str:
    sign = "≤" if line.less_is_better else "≥"
    return "" if line.target is None else f"{sign} {line.target:g}"
