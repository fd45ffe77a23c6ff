"""A recorder at work, and what has come of it in the database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from pulsebase.monitor.recording.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pulsebase.connection import AsyncConnection
    from pulsebase.monitor.recording.spool import Spool

__all__ = ["left", "recording", "stored_ids", "stored_in_order"]


def stored_ids(url: str) -> list[Any]:
    """The ids of all rows."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("select id from service_health_checks").fetchall()
    return [row[0] for row in rows]


def stored_in_order(url: str) -> list[int]:
    """The numbers of the rows in the order in which they arrived; those of one batch by number."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select latency_ms from service_health_checks order by created_at, latency_ms"
        ).fetchall()
    return [row[0] for row in rows]


def left(recorder: Recorder) -> int:
    """How many checks are not in the database yet."""
    return recorder.waiting + recorder.spooled


@asynccontextmanager
async def recording(
    connection: AsyncConnection, spool: Spool | None = None
) -> AsyncIterator[Recorder]:
    """A recorder at work; it must not leave anything behind."""
    recorder = Recorder(connection, spool=spool)
    recorder.start()
    try:
        yield recorder
    finally:
        lost = await recorder.stop(within_seconds=10)
    assert lost == 0
