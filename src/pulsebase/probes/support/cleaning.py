"""Make anything a server may have said fit for a JSON column.

PostgreSQL's jsonb takes neither NUL nor lone surrogates nor NaN, and a check carries at most
64 KiB of details. What does not fit is shortened, never refused: the observation is worth more
than its last kilobyte.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

__all__ = ["clean_details", "clean_text"]

LONGEST_STRING: Final = 1_000
MOST_ENTRIES: Final = 100
DEEPEST: Final = 6
# Counted in ASCII-escaped JSON, its longest form, and half of what a check may carry.
LARGEST: Final = 32 * 1024

# What an entry takes beside its texts, at most: a number of twenty digits, and signs.
_ENTRY: Final = 26
_LARGE: Final = 2**63
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str, *, longest: int = LONGEST_STRING) -> str:
    """Text that PostgreSQL stores: no NUL, no lone surrogate, at most `longest` characters."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


def clean_details(details: dict[str, Any]) -> dict[str, Any]:
    """The same details as plain JSON values of bounded size; raises TypeError for others."""
    if _is_clean(details):
        return details
    cleaned = {
        clean_text(key): _Cleaner().clean(value, DEEPEST)
        for key, value in list(details.items())[:MOST_ENTRIES]
    }
    sizes = {key: len(json.dumps({key: value})) for key, value in cleaned.items()}
    while sum(sizes.values()) > LARGEST:
        # The largest entry goes first: the fixed keys are small and should survive.
        largest = max(sizes, key=sizes.__getitem__)
        del sizes[largest], cleaned[largest]
    return cleaned


def _is_clean(details: dict[str, Any]) -> bool:
    # Nearly always true, and a monitor does this thousands of times a second. Where the whole is
    # shorter than one string may be, no part of it can be too large.
    return _left_of(details, LONGEST_STRING, DEEPEST) >= 0


def _left_of(entries: dict[str, Any], left: int, depth: int) -> int:
    """How much of a size is left after these entries; less than 0 where they need a closer look."""
    if depth == 0:
        return -1
    for key, value in entries.items():
        kind = type(value)
        left -= len(key) + _ENTRY
        if kind is str:
            if not value.isascii() or "\x00" in value:
                return -1
            left -= len(value)
        elif kind is dict:
            left = _left_of(value, left, depth - 1)
        elif kind is float:
            if not math.isfinite(value):
                return -1
        elif kind is not int or not -_LARGE < value < _LARGE:
            return -1
        if left < 0 or not key.isascii() or "\x00" in key:
            return -1
    return left


class _Cleaner:
    """Cleans one entry, and stops copying when it has become too large to keep anyway."""

    def __init__(self) -> None:
        self._left = LARGEST

    def clean(self, value: Any, depth: int) -> Any:
        self._left -= 1
        match value:
            case str():
                text = clean_text(value)
                self._left -= len(text)
                return text
            case None | bool() | int():
                return value
            case float():
                return value if math.isfinite(value) else None
            case dict() | list() | tuple() if depth == 0 or self._left < 0:
                return "(too large)"
            case dict():
                entries = list(value.items())[:MOST_ENTRIES]
                return {clean_text(key): self.clean(entry, depth - 1) for key, entry in entries}
            case list() | tuple():
                return [self.clean(entry, depth - 1) for entry in value[:MOST_ENTRIES]]
            case _:
                message = f"probe details hold plain JSON values, not {type(value).__name__}"
                raise TypeError(message)
