"""How a kind refuses keys that could only fail when something is to be told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pulsebase.durations import format_duration
from pulsebase.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LONGEST_TIMEOUT", "timeout_problem"]

# An attempt ends in good time: a message is lent to whoever sends it for twice as long.
LONGEST_TIMEOUT: Final = timedelta(seconds=50)
_SHORTEST_TIMEOUT: Final = timedelta(milliseconds=100)


def timeout_problem(timeout: timedelta) -> Iterable[InvalidValueError]:
    """What is wrong with the time that one attempt may take."""
    if not _SHORTEST_TIMEOUT <= timeout <= LONGEST_TIMEOUT:
        yield InvalidValueError("timeout", format_duration(timeout), "from 100ms to 50s")
