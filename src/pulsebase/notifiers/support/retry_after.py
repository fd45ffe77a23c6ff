"""When to come back: the header `Retry-After`, in seconds or as a date."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["retry_after_seconds"]

_LONGEST: Final = 86_400.0
_MOST_DIGITS: Final = 9


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """What was asked for, at most a day; None where nothing was, or nothing that can be read."""
    text = headers.get("retry-after", "")
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS:
        return min(float(text), _LONGEST)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (aware - datetime.now(UTC)).total_seconds()), _LONGEST)
