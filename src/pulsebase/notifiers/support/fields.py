"""How a kind refuses keys that could only fail when something is to be told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pulsebase.durations import format_duration
from pulsebase.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CLOSED", "LONGEST_TIMEOUT", "InvalidFieldsError", "refuse", "timeout_problem"]

# Every kind says `__pydantic_config__: ClassVar[Any] = CLOSED`: a key that is not a field is an
# error where a configuration file is read. A plain mapping, so that no kind imports pydantic.
CLOSED: Final[Mapping[str, Any]] = {"extra": "forbid"}

# An attempt ends in good time: a message is lent to whoever sends it for twice as long.
LONGEST_TIMEOUT: Final = timedelta(seconds=50)
_SHORTEST_TIMEOUT: Final = timedelta(milliseconds=100)


class InvalidFieldsError(ValueError):
    """Several fields of a kind are wrong; `errors` holds one error for each."""

    def __init__(self, errors: Iterable[InvalidValueError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, self.errors)))


def refuse(problems: Iterable[InvalidValueError]) -> None:
    """Raise what a kind found wrong with its fields, all of it at once."""
    match found := list(problems):
        case []:
            return
        case [only]:
            raise only
        case _:
            raise InvalidFieldsError(found)


def timeout_problem(timeout: timedelta) -> Iterable[InvalidValueError]:
    """What is wrong with the time that one attempt may take."""
    if not _SHORTEST_TIMEOUT <= timeout <= LONGEST_TIMEOUT:
        yield InvalidValueError("timeout", format_duration(timeout), "from 100ms to 50s")
