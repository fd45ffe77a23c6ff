"""How often a service is looked at, how long a look may take, and its labels.

The same keys stand in `[defaults]`, in a group and in a service; the nearest one counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = [
    "MOST_LABELS",
    "PACE_KEYS",
    "SHARED_KEYS",
    "Level",
    "Pace",
    "SharedKeys",
    "label_problems",
    "resolve_pace",
]

DEFAULT_INTERVAL: Final = timedelta(seconds=60)
DEFAULT_TIMEOUT: Final = timedelta(seconds=10)
SHORTEST_INTERVAL: Final = timedelta(seconds=1)
MOST_LABELS: Final = 20

PACE_KEYS: Final = ("interval", "timeout", "retry_interval")
SHARED_KEYS: Final = (*PACE_KEYS, "labels")

_LABEL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)
_LABEL_NAME_RULE: Final = "named by a letter and up to 62 more letters, digits, _, . and -"
_LONGEST_LABEL: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedKeys:
    """`[defaults]`, and the same keys of a group or a service: None where it says nothing."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    interval: Duration | None = None
    timeout: Duration | None = None
    retry_interval: Duration | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        """Refuse what no service could use."""
        refuse([*self._pace_problems(), *label_problems(self.labels)])

    def _pace_problems(self) -> Iterator[InvalidValueError]:
        for name in ("interval", "retry_interval"):
            duration: timedelta | None = getattr(self, name)
            if duration is not None and duration < SHORTEST_INTERVAL:
                yield InvalidValueError(name, format_duration(duration), "at least 1s")
        if self.timeout is not None and self.timeout <= timedelta(0):
            yield InvalidValueError("timeout", format_duration(self.timeout), "more than 0s")
        for name in ("timeout", "retry_interval"):
            duration = getattr(self, name)
            if duration and self.interval and duration > self.interval:
                got = format_duration(duration)
                yield InvalidValueError(name, got, "at most the interval")


@dataclass(frozen=True, slots=True)
class Level:
    """What one table says about the pace, and where it stands; no keys where they are wrong."""

    place: KeyPath
    keys: SharedKeys | None = field(default_factory=SharedKeys)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What counts for one service."""

    interval: timedelta
    timeout: timedelta
    retry_interval: timedelta | None


def label_problems(labels: Mapping[str, str]) -> Iterator[InvalidValueError]:
    """What is wrong with labels."""
    for name, text in labels.items():
        if not _LABEL_NAME.fullmatch(name):
            yield InvalidValueError("labels", name, _LABEL_NAME_RULE)
        elif not (0 < len(text) <= _LONGEST_LABEL and text.isprintable()):
            bound = f"1 to {_LONGEST_LABEL} readable characters each"
            yield InvalidValueError("labels", f"{name}: …", bound)
    if len(labels) > MOST_LABELS:
        yield InvalidValueError("labels", len(labels), f"at most {MOST_LABELS}")


def resolve_pace(levels: tuple[Level, ...], complaints: Complaints) -> Pace:
    """The nearest of each key; `levels` go from the service outwards.

    A timeout or retry interval longer than the interval is a mistake only where it was written
    with the interval in view: one that comes from farther away gives way to it. Where a level is
    wrong itself, nobody can tell.
    """
    are_right = all(level.keys is not None for level in levels)
    interval: timedelta
    interval_rank, interval = _nearest(levels, "interval", DEFAULT_INTERVAL)

    def within_interval(name: str, default: timedelta | None) -> timedelta | None:
        duration: timedelta | None
        rank, duration = _nearest(levels, name, default)
        if duration is None or duration <= interval:
            return duration
        if rank <= interval_rank and are_right:
            bound = f"at most the interval, which is {format_duration(interval)}"
            complaints.invalid((*levels[rank].place, name), bound, format_duration(duration))
        return interval

    return Pace(
        interval=interval,
        timeout=within_interval("timeout", DEFAULT_TIMEOUT) or DEFAULT_TIMEOUT,
        retry_interval=within_interval("retry_interval", None),
    )


def _nearest(levels: tuple[Level, ...], name: str, default: Any) -> tuple[int, Any]:
    for rank, level in enumerate(levels):
        if (found := getattr(level.keys, name, None)) is not None:
            return rank, found
    return len(levels), default
