"""`pulsebase run` as a process of its own, and what it has recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ask", "monitoring", "rows", "stored"]


@contextmanager
def monitoring(configuration: Path, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`pulsebase run`, with its lines in a file."""
    environment = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
    with (
        log.open("wb") as lines,
        subprocess.Popen(
            [sys.executable, "-m", "pulsebase", "run", "-c", str(configuration)],
            env={**environment, "PULSEBASE_URL": url},
            stderr=lines,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ask(url: str, query: LiteralString) -> list[Any]:
    """The only row of an answer."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return list(row)


def stored(url: str) -> int:
    """How many rows there are."""
    return int(ask(url, "select count(*) from service_health_checks")[0])


def rows(url: str) -> dict[str, list[float]]:
    """When the rows of each service were checked."""
    found: dict[str, list[float]] = {}
    with psycopg.connect(url) as connection:
        for name, at in connection.execute(
            "select service_name, extract(epoch from checked_at)::float8 from service_health_checks"
        ):
            found.setdefault(name, []).append(at)
    return found
