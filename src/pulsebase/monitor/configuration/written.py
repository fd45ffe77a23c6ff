"""What people write of checks, messages and clocks: `"3 of 5"`, `"20 in 1h"`, `"22:00"`, `"mon"`.

Each is the type of a dataclass field, read from its text where a configuration file is read.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

from pulsebase.durations import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DAYS",
    "LONGEST_RULE",
    "Agreement",
    "CountWithin",
    "Flapping",
    "Moment",
    "OpenAfter",
    "Opening",
    "Rate",
    "TimeOfDay",
    "Weekday",
    "number_of_seconds",
]

LONGEST_RULE: Final = timedelta(days=30)
MOST_CHECKS: Final = 100
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_MOST_CHANGES: Final = 100
_MOST_LOCATIONS: Final = 1000
_MOST_MESSAGES: Final = 1_000_000
_MAJORITY: Final = 0
_ALL: Final = -1
_WINDOW: Final = re.compile(r"(\d{1,9}) of (\d{1,9})", re.ASCII)
_WITHIN: Final = re.compile(r"(\d{1,9}) in (\S+)", re.ASCII)
_TIME: Final = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d|24:00", re.ASCII)
_DURATION_FORM: Final = r"(?:\d+(?:\.\d+)?(?:d|h|m|s|ms))+"
_WITHIN_FORM: Final = {"type": "string", "pattern": rf"^\d{{1,9}} in {_DURATION_FORM}$"}

_OPENING_RULE: Final = (
    'how many checks in a row, such as 3, or "3 of 5", or a duration in quotes such as "5m"'
)


class _Written:
    """Tell pydantic how a value is read, and editors what it looks like."""

    def __init__(self, read: Callable[[Any], Any], form: dict[str, Any]) -> None:
        self._read = read
        self._form = form

    def __get_pydantic_core_schema__(self, _source: Any, _handler: Any) -> Any:
        # Imported here: only who reads a file has pydantic installed, and it imports slowly.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(self._read)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> Any:
        return dict(self._form)


@dataclass(frozen=True, slots=True)
class Opening:
    """When an alert opens: after so many failing checks in a row, so many of some, or a time."""

    checks: int | None = None
    of: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class CountWithin:
    """So many in a time."""

    count: int
    within: timedelta


def number_of_seconds(duration: timedelta) -> float:
    """A duration for JSON, as a whole number where it is one."""
    seconds = duration.total_seconds()
    return int(seconds) if seconds.is_integer() else seconds


def _refuse(rule: str) -> NoReturn:
    message = f"must be {rule}"
    raise ValueError(message)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _opening(value: Any) -> Opening:
    if _is_number(value):
        if not 1 <= value <= MOST_CHECKS:
            _refuse(f"from 1 to {MOST_CHECKS} checks")
        return Opening(checks=value)
    if not isinstance(value, str):
        _refuse(_OPENING_RULE)
    if window := _WINDOW.fullmatch(value):
        checks, of = int(window[1]), int(window[2])
        if not 1 <= checks <= of <= MOST_CHECKS:
            _refuse(f'"N of M", with N from 1 to M and M at most {MOST_CHECKS}')
        return Opening(checks=checks, of=of)
    return Opening(seconds=number_of_seconds(_rule_time(value, _OPENING_RULE)))


def _rule_time(text: str, rule: str) -> timedelta:
    try:
        duration = parse_duration(text)
    except ValueError:
        duration = None
    if duration is None:
        _refuse(rule)
    if not timedelta(0) < duration <= LONGEST_RULE:
        _refuse("a time of more than 0s and at most 30d")
    return duration


def _within(value: Any, lowest: int, highest: int, rule: str) -> CountWithin:
    match = _WITHIN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        _refuse(rule)
    count = int(match[1])
    if not lowest <= count <= highest:
        _refuse(f"{rule}, with a number from {lowest} to {highest}")
    return CountWithin(count, _rule_time(match[2], rule))


def _rate(value: Any) -> CountWithin:
    return _within(value, 1, _MOST_MESSAGES, 'so many messages in a time, such as "20 in 1h"')


def _flapping(value: Any) -> CountWithin:
    if value is False:
        return CountWithin(0, timedelta(0))
    return _within(
        value, 2, _MOST_CHANGES, 'so many changes in a time, such as "6 in 1h", or false'
    )


def _agreement(value: Any) -> int:
    match value:
        case "majority":
            return _MAJORITY
        case "all":
            return _ALL
        case _ if _is_number(value) and 1 <= value <= _MOST_LOCATIONS:
            return int(value)
        case _:
            _refuse(f'"majority", "all", or a number of locations from 1 to {_MOST_LOCATIONS}')


def _time_of_day(value: Any) -> str:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return value
    _refuse('a time of day as "HH:MM", from "00:00" to "24:00"')


def _weekday(value: Any) -> int:
    if isinstance(value, str) and value in DAYS:
        return DAYS.index(value) + 1
    _refuse(f"one of {', '.join(DAYS)}")


def _moment(value: Any) -> datetime:
    if isinstance(value, str) and ":" in value:
        with suppress(ValueError):
            return datetime.fromisoformat(value)
    _refuse("a date with a time, such as 2026-12-01T22:00:00+01:00")


OpenAfter = Annotated[
    Opening,
    _Written(
        _opening,
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MOST_CHECKS},
                {"type": "string", "pattern": rf"^(?:\d{{1,3}} of \d{{1,3}}|{_DURATION_FORM})$"},
            ]
        },
    ),
]
Rate = Annotated[CountWithin, _Written(_rate, _WITHIN_FORM)]
Flapping = Annotated[
    CountWithin,
    _Written(_flapping, {"anyOf": [_WITHIN_FORM, {"type": "boolean", "enum": [False]}]}),
]
Agreement = Annotated[
    int,
    _Written(
        _agreement,
        {
            "anyOf": [
                {"type": "string", "enum": ["majority", "all"]},
                {"type": "integer", "minimum": 1, "maximum": _MOST_LOCATIONS},
            ]
        },
    ),
]
TimeOfDay = Annotated[
    str,
    _Written(
        _time_of_day,
        {"type": "string", "pattern": r"^(?:(?:[01]\d|2[0-3]):[0-5]\d|24:00)$"},
    ),
]
Weekday = Annotated[int, _Written(_weekday, {"type": "string", "enum": list(DAYS)})]
Moment = Annotated[
    datetime, _Written(_moment, {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d"})
]
