"""Saying the same thing once a minute, however often it happens."""

from __future__ import annotations

from typing import Final

from pulsebase.monitor.clocks import steady_seconds

__all__ = ["Rarely", "often"]

_PAUSE_SECONDS: Final = 60.0
# Subjects hold what servers and libraries say, so there could be any number of them; what is beyond
# is not said at all, since nobody would read it.
_MOST_SUBJECTS: Final = 1000


class Rarely:
    """Knows what was said lately: at most once a minute for each subject."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}
        self._full_until = 0.0

    def times(self, subject: str) -> int:
        """How often it has happened since it was last said, this time included; 0: keep quiet."""
        now = steady_seconds()
        said_at, kept_quiet = self._said.get(subject, (float("-inf"), 0))
        if now - said_at < _PAUSE_SECONDS:
            self._said[subject] = said_at, kept_quiet + 1
            return 0
        if subject not in self._said and not self._has_room(now):
            return 0
        self._said[subject] = now, 0
        return kept_quiet + 1

    def _has_room(self, now: float) -> bool:
        if len(self._said) < _MOST_SUBJECTS:
            return True
        if now < self._full_until:
            return False
        said = self._said.items()
        self._said = {subject: at for subject, at in said if now - at[0] < _PAUSE_SECONDS}
        self._full_until = now + 1.0
        return len(self._said) < _MOST_SUBJECTS


def often(times: int) -> str:
    """The words to add where it happened more than once."""
    return f" ({times:,} times like this in the last minute or so)" if times > 1 else ""
