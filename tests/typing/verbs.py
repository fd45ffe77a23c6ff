"""What type checkers see of the verbs: read by mypy and pyright, never run.

Each `assert_type` must hold; each comment names an error that must be reported on its line, and is
itself an error (an unused ignore) when it is not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type
from uuid import UUID

from pulsebase import (
    AlertEvent,
    AlertEventModel,
    AsyncConnection,
    Connection,
    CreatedMany,
    HealthCheck,
    HealthCheckModel,
    LatestHealthCheck,
)
from pulsebase.connection import Call

if TYPE_CHECKING:
    import psycopg


def one_call(
    sync: Connection,
    asynchronous: AsyncConnection,
    own: psycopg.Connection[Any],
    own_async: psycopg.AsyncConnection[Any],
) -> None:
    """An operation: the result, something to await, or the value that says what to ask."""
    assert_type(HealthCheckModel.create(sync, service_name="a", status="down"), HealthCheck)
    assert_type(HealthCheckModel.create(service_name="a", status="down"), HealthCheck)
    assert_type(HealthCheckModel.create(own, service_name="a", status="down"), HealthCheck)
    assert_type(
        HealthCheckModel.create(asynchronous, service_name="a", status="down"),
        Awaitable[HealthCheck],
    )
    assert_type(
        HealthCheckModel.create(own_async, service_name="a", status="down"), Awaitable[HealthCheck]
    )
    assert_type(HealthCheckModel.create.call(service_name="a", status="down"), Call[HealthCheck])
    assert_type(AlertEventModel.find_by_id(sync, UUID(int=0)), AlertEvent | None)


def several_calls(sync: Connection, asynchronous: AsyncConnection) -> None:
    """A procedure: the same."""
    assert_type(HealthCheckModel.create_many(sync, checks=[]), CreatedMany)
    assert_type(HealthCheckModel.create_many(asynchronous, checks=[]), Awaitable[CreatedMany])
    assert_type(HealthCheckModel.find_latest(sync), list[LatestHealthCheck])
    assert_type(HealthCheckModel.delete_older_than(sync, timedelta(days=30)), int)


def rows_by_and_by(sync: Connection, asynchronous: AsyncConnection) -> None:
    """A stream: an iterator of the connection's colour."""
    assert_type(HealthCheckModel.iterate_by_service(sync, "a"), Iterator[HealthCheck])
    assert_type(HealthCheckModel.iterate_by_service(asynchronous, "a"), AsyncIterator[HealthCheck])


def wrong_calls(sync: Connection) -> None:
    """What must be reported where it is written."""
    HealthCheckModel.create(sync, service_name="a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    HealthCheckModel.create(sync, service_name="a", status="up")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    HealthCheckModel.create(sync, service_name=1, status="down")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    HealthCheckModel.create(sync, name="a", status="down")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    HealthCheckModel.find_latest(sync, stale_after=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
