"""Durations as people write them: `500ms`, `60s`, `2m`, `1h30m`, `30d`.

A unit is always there, so that nobody has to guess what a bare `60` means. `Duration` is the type
of a dataclass field that takes such a text in a configuration file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["Duration", "format_duration", "parse_duration"]

_FORM: Final = (
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?"
    r"(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
_DURATION: Final = re.compile(_FORM, re.ASCII)
_UNITS: Final = (
    timedelta(days=1),
    timedelta(hours=1),
    timedelta(minutes=1),
    timedelta(seconds=1),
    timedelta(milliseconds=1),
)
_NAMES: Final = ("d", "h", "m", "s", "ms")
_LONGEST_TEXT: Final = 40
_LONGEST: Final = timedelta(days=36_500)
_RULE: Final = 'a duration such as "500ms", "60s", "1h30m" or "30d"'


def parse_duration(text: str) -> timedelta:
    """Read a duration; raises ValueError with the rule when it is none.

    Units in this order, each at most once: `d`, `h`, `m`, `s`, `ms`. Decimals are allowed.
    """
    match = _DURATION.fullmatch(text) if 0 < len(text) <= _LONGEST_TEXT else None
    if match is None:
        message = f"must be {_RULE}"
        raise ValueError(message)
    parts = zip(match.groups(), _UNITS, strict=True)
    try:
        duration = sum((float(count) * unit for count, unit in parts if count), timedelta())
    except OverflowError:
        duration = timedelta.max
    if duration > _LONGEST:
        message = "must be at most a hundred years"
        raise ValueError(message)
    return duration


def format_duration(duration: timedelta) -> str:
    """Write a duration the way that `parse_duration` reads it, to the millisecond."""
    rest = duration
    parts: list[str] = []
    for name, unit in zip(_NAMES, _UNITS, strict=True):
        count, rest = divmod(rest, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def _read(value: object) -> timedelta:
    match value:
        case timedelta():
            return value
        case str():
            return parse_duration(value)
        case _:
            message = f"must be {_RULE}, in quotes"
            raise ValueError(message)


class _WrittenAsText:
    """Tell pydantic, where a configuration file is read, that the field is written as text."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        # Imported here: only who reads a file has pydantic installed, and it imports slowly.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_read)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: GetJsonSchemaHandler) -> Any:
        return {"type": "string", "pattern": f"^(?=.){_FORM}$"}


Duration = Annotated[timedelta, _WrittenAsText()]
