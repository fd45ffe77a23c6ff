"""How many messages may be under way at once, to one channel and all in all."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Slots"]

_OF_A_CHANNEL: Final = 8
_ALL: Final = 64


class Slots:
    """Counts what is under way.

    A channel is asked for again when half of its slots are free: to ask for every single one would
    ask as often as there are messages.
    """

    def __init__(self, *, of_a_channel: int = _OF_A_CHANNEL, all_in_all: int = _ALL) -> None:
        self._of_a_channel = of_a_channel
        self._all = all_in_all
        self._taken: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How many are under way."""
        return self._taken.total()

    def open(self, channels: Iterable[str]) -> tuple[list[str], int]:
        """Which of these channels to ask for, and how many messages fit whosever they are."""
        free = {name: self._of_a_channel - self._taken[name] for name in channels}
        half_free = {name: count for name, count in free.items() if count * 2 >= self._of_a_channel}
        fits = min([self._all - self.taken, *half_free.values()])
        return (list(half_free), fits) if half_free and fits > 0 else ([], 0)

    def take(self, channel: str) -> None:
        """One more is under way."""
        self._taken[channel] += 1

    def give_back(self, channel: str) -> None:
        """One less is under way."""
        self._taken[channel] -= 1
        if not self._taken[channel]:
            del self._taken[channel]
