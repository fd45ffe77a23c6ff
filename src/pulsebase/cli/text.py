"""Text from strangers made fit for a terminal: nothing in it can move the cursor or hide.

Service names and details come from the database, and anybody who may write there can put an
escape sequence, a reversal of the writing direction or an invisible character into them.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["age_text", "clean", "clean_lines", "display_width", "joined", "shortened", "time_text"]

# Control, format (which holds the direction marks), surrogate, private use, line, paragraph.
_UNSAFE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Persian, Hindi and many emoji are not written without the joiners.
_ALLOWED: Final = frozenset("\u200c\u200d")
_WIDE: Final = frozenset("WF")
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400
_SECONDS_AGO: Final = 120
_BYTE: Final = 0x100
_SHORT: Final = 0x10000


def clean(text: str) -> str:
    """The text with every invisible character written as its escape in Python."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def clean_lines(text: str) -> str:
    """The same for a text of several lines, such as a traceback; the lines stay."""
    return "\n".join(clean(line.expandtabs()) for line in text.split("\n"))


def display_width(text: str) -> int:
    """How many columns of a terminal the text fills."""
    return len(text) if text.isascii() else sum(map(_width, text))


def shortened(text: str, longest: int) -> str:
    """At most `longest` characters of the text, with `…` where something is missing."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def joined(words: list[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def time_text(moment: datetime | None) -> str:
    """A time as people compare it: UTC, to the second."""
    return "" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def age_text(seconds: float) -> str:
    """How long something has lasted, in its two largest units."""
    whole = max(0, round(seconds))
    if whole < _SECONDS_AGO:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def _visible(character: str) -> str:
    if character in _ALLOWED or unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    number = ord(character)
    if number < _BYTE:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < _SHORT else f"\\U{number:08x}"


def _width(character: str) -> int:
    if unicodedata.combining(character) or character in _ALLOWED:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1
