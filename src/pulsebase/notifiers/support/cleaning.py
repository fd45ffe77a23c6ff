"""Texts of others, made fit for a line, a header and a page.

What a service says of itself ends up in a message: it shall neither break a line, nor turn the
reading direction, nor call everybody in a chat room.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["one_line", "shortened", "shortened_bytes"]

_BREAKS: Final = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")
# Lone surrogates, which cannot be sent, and what is not seen but turns or hides what is.
_UNSEEN: Final = re.compile(
    "[\ud800-\udfff\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
# Chat rooms read these as a call to everybody in them, even where they format nothing.
_CALLS: Final = re.compile(r"@(?=(?:everyone|here|channel|all)\b)|<(?=[!@#])", re.IGNORECASE)
_APART: Final = "\u200b"


def one_line(text: str, *, longest: int) -> str:
    """The text in one line of bounded length, without what only a machine would see."""
    # Twice as long as it may get, so that endless texts cost nothing.
    line = _BREAKS.sub(" ", _UNSEEN.sub("", text[: 2 * longest + 100])).strip()
    return _CALLS.sub(lambda found: found[0] + _APART, shortened(line, longest))


def shortened(text: str, longest: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: max(0, longest - 1)].rstrip()}…"[:longest]


def shortened_bytes(text: str, largest: int) -> str:
    """The same, counted in bytes of UTF-8."""
    encoded = text.encode()
    if len(encoded) <= largest:
        return text
    return f"{encoded[: largest - len('…'.encode())].decode(errors='ignore').rstrip()}…"
