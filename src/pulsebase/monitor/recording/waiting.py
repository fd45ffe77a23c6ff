"""Checks in memory on their way to the database, in the order in which they were made.

They wait in batches, so that the age of the oldest is known without a clock for each of them.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.models.health_check import NewHealthCheck

__all__ = ["WaitingChecks"]

_BATCH_ROWS = 1000


@dataclass(slots=True)
class _Batch:
    """Checks that were put one after another; `since_seconds` is when the first one was."""

    since_seconds: float
    checks: deque[NewHealthCheck] = field(default_factory=deque)


class WaitingChecks:
    """A queue with at most `most` checks. Times are monotonic seconds."""

    def __init__(self, most: int) -> None:
        self._batches: deque[_Batch] = deque()
        self._most = most
        self.count = 0
        self.dropped = 0

    @property
    def since_seconds(self) -> float | None:
        """When the oldest check was added; None where there is none."""
        return self._batches[0].since_seconds if self._batches else None

    def add(self, check: NewHealthCheck) -> None:
        """Put a check at the end; when too many wait, the oldest one goes."""
        if self.count >= self._most:
            self.take(1)
            self.dropped += 1
        if not self._batches or len(self._batches[-1].checks) >= _BATCH_ROWS:
            self._batches.append(_Batch(time.monotonic()))
        self._batches[-1].checks.append(check)
        self.count += 1

    def take(self, most_rows: int) -> list[NewHealthCheck]:
        """Take the oldest checks out, at most so many."""
        taken: list[NewHealthCheck] = []
        while self._batches and len(taken) < most_rows:
            checks = self._batches[0].checks
            while checks and len(taken) < most_rows:
                taken.append(checks.popleft())
            if not checks:
                self._batches.popleft()
        self.count -= len(taken)
        return taken

    def put_back(self, checks: Sequence[NewHealthCheck]) -> None:
        """Put checks back before all others."""
        if checks:
            self._batches.appendleft(_Batch(time.monotonic(), deque(checks)))
            self.count += len(checks)
