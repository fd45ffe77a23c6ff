"""What the monitor saw of a service last, for people; a check is what the database gets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["Health", "Sighting", "why"]

# Unknown is never stored: nothing could be learned of the service.
Health: TypeAlias = Literal["healthy", "degraded", "down", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The newest look at a service. `why` is a sentence, empty for a healthy one.

    `checked_at` may be long ago, where a job reported it; `seen_at_seconds` is the steady clock of
    the look itself, by which one sighting is newer than another. With `is_awaited` it is unknown
    only since there is nothing to see yet, and nothing is wrong.
    """

    service_name: str
    status: Health
    checked_at: datetime
    latency_ms: int | None = None
    why: str = ""
    is_awaited: bool = False
    seen_at_seconds: float = field(default_factory=time.monotonic, compare=False, repr=False)


def why(details: Mapping[str, Any] | None) -> str:
    """One line of a check's details that says why it is not healthy."""
    match details or {}:
        case {"error": {"message": message}}:
            return str(message)
        case {"failed": {"expectation": expectation, "expected": expected, "got": got}}:
            return f"{expectation}: expected {expected}, got {got}"
    return ""
