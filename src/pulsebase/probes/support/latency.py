"""The keys `degraded_above` and `down_above`: how long an answer may take, apart from failures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.probes.support.faults import failed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Status

__all__ = ["LatencyLimits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyLimits:
    """What a kind inherits that judges how long a whole answer took."""

    degraded_above: Duration | None = None
    down_above: Duration | None = None

    def judge_latency(self, elapsed_seconds: float) -> tuple[Status, dict[str, Any]]:
        """The status for an answer that was otherwise as expected, and its details."""
        elapsed = timedelta(seconds=elapsed_seconds)
        if self.down_above is not None and elapsed > self.down_above:
            return "down", _too_slow("down_above", self.down_above, elapsed)
        if self.degraded_above is not None and elapsed > self.degraded_above:
            return "degraded", _too_slow("degraded_above", self.degraded_above, elapsed)
        return "healthy", {}

    def latency_problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with the two limits."""
        for name, limit in (
            ("degraded_above", self.degraded_above),
            ("down_above", self.down_above),
        ):
            if limit is not None and limit <= timedelta(0):
                yield InvalidValueError(name, format_duration(limit), "more than 0s")
        if self.degraded_above and self.down_above and self.degraded_above >= self.down_above:
            got = format_duration(self.degraded_above)
            yield InvalidValueError("degraded_above", got, "less than down_above")


def _too_slow(expectation: str, limit: timedelta, elapsed: timedelta) -> dict[str, Any]:
    return failed(expectation, f"at most {format_duration(limit)}", format_duration(elapsed))
