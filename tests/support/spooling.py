"""Numbered checks, and spools to keep them in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pulsebase.models.health_check import NewHealthCheck
from pulsebase.monitor.configuration import MonitorKeys
from pulsebase.monitor.recording.spool import open_spool
from pulsebase.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pulsebase.models.health_check import Status
    from pulsebase.monitor.recording.spool import Spool

__all__ = ["MEBIBYTE", "NOWHERE", "a_spool", "checks", "drained", "files", "only_file", "texts"]

NOWHERE = "postgresql://127.0.0.1:9/nobody"
MEBIBYTE = 1024 * 1024


def checks(
    count: int, *, first: int = 0, status: Status = "healthy", details: dict[str, Any] | None = None
) -> list[NewHealthCheck]:
    """So many checks of some services, with ascending numbers as their latencies."""
    return [
        NewHealthCheck(
            service_name=f"service-{number % 7}",
            status=status,
            latency_ms=number,
            probe_details=details,
        )
        for number in range(first, first + count)
    ]


def a_spool(folder: Path, url: str = NOWHERE, **keys: Any) -> Spool:
    """The spool of a monitor with these keys for this database."""
    return open_spool(MonitorKeys(spool=str(folder), **keys), resolve(url))


def texts(given: Sequence[NewHealthCheck]) -> list[str]:
    """The rows of checks."""
    return [check.json() for check in given]


async def drained(spool: Spool, *, at_once: int = 100) -> list[str]:
    """All rows in the order in which they leave; none is kept any longer."""
    rows: list[str] = []
    while loan := await spool.borrow(at_once):
        rows += [row.json() for row in loan.rows]
        await spool.settle(loan, len(loan.rows))
    return rows


def files(folder: Path, pattern: str = "spool-*.sqlite3") -> list[Path]:
    """The files of spools."""
    return sorted(folder.glob(pattern))


def only_file(folder: Path) -> Path:
    """The file of the only spool."""
    [path] = files(folder)
    return path
