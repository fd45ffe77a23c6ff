"""The clock that paces: it never jumps, and goes on while the machine sleeps."""

from __future__ import annotations

import time

__all__ = ["steady_seconds"]


def _pacing_clock() -> int:
    # Linux stops CLOCK_MONOTONIC while it is suspended, and has another one that goes on; on other
    # systems the plain one does.
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    if boot is None:
        return time.CLOCK_MONOTONIC
    try:
        time.clock_gettime(boot)
    except OSError:  # a sandbox may know fewer clocks than its kernel
        return time.CLOCK_MONOTONIC
    return int(boot)


_CLOCK = _pacing_clock()


def steady_seconds() -> float:
    """Seconds since some moment; nobody can set this clock."""
    return time.clock_gettime(_CLOCK)
