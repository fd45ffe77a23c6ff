"""What jobs have reported about themselves, as far as a heartbeat needs to know it.

Probes know no database. A monitor that has one gives its own view of it (`monitor/reports.py`) to
the tools; without one nothing can be said about a job.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from datetime import datetime

    from pulsebase.probes.support.outcome import Status

__all__ = ["Report", "Reports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The newest check of a service: what its job said, or a silence that was noted before.

    `read_at` is the time of reading by the clock of the database, which also dates most reports.
    """

    status: Status
    checked_at: datetime
    read_at: datetime
    latency_ms: int | None = None
    details: dict[str, Any] = field(default_factory=dict[str, Any])


class Reports:
    """The tool that heartbeats ask; this one has no database to look into."""

    @property
    def reachable_since(self) -> datetime | None:
        """Since when jobs can report, as far as this process knows; None while they cannot."""
        return None

    def away_until(self, begin: datetime, end: datetime) -> datetime | None:
        """The end of a time, if one is known of, in which nobody could report from begin to end."""
        del begin, end
        return None

    async def newest(self, service_name: str) -> Report | None:
        """The newest check of a service; UnknownHealthError when it cannot be had."""
        message = f"a heartbeat of {service_name!r} needs the database; none is connected here"
        raise UnknownHealthError(message)

    async def aclose(self) -> None:
        """Nothing is open."""
