"""Storing checks: in bulk against COPY, one by one against the bare driver and the bare client."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from psycopg.types.json import Jsonb

from bench.harness import Comparison, in_turn
from pulsebase.connection import connect
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_DETAILS: dict[str, Any] = {"http_status": 200, "phases_ms": {"dns": 1, "connect": 2, "total": 9}}
_BULK_ROWS = 30_000
_SINGLES = 500
_ROUNDS = 7
_COPY = (
    "copy service_health_checks (service_name, status, latency_ms, checked_at, probe_details)"
    " from stdin"
)
_INSERT = (
    "insert into service_health_checks (service_name, status, latency_ms, probe_details)"
    " values (%s, %s, %s, %s) returning *"
)


def bulk(url: str) -> Comparison:
    """`create_many`, validation and ids included, against a raw COPY of the same rows."""
    with connect(url) as connection, psycopg.connect(url, autocommit=True) as raw:

        def ours() -> float:
            raw.execute("truncate service_health_checks")
            return _rate(
                _BULK_ROWS,
                lambda: HealthCheckModel.create_many(connection, checks=_checks(_BULK_ROWS)),
            )

        def theirs() -> float:
            raw.execute("truncate service_health_checks")
            return _rate(_BULK_ROWS, lambda: _copy(raw))

        mine, others = in_turn(_ROUNDS, ours, theirs)
    return Comparison(
        name="create_many, direct",
        peer="psycopg COPY, same rows",
        unit="rows/s",
        ours=mine,
        theirs=others,
        target=0.5,
    )


def single(url: str) -> Comparison:
    """`create` against INSERT … RETURNING with commit on a bare psycopg connection."""
    with connect(url) as connection, psycopg.connect(url) as raw:

        def ours() -> float:
            return _rate(_SINGLES, lambda: _repeat(_SINGLES, lambda: _create(connection)))

        def insert() -> None:
            raw.execute(_INSERT, ("one", "healthy", 9, Jsonb(_DETAILS))).fetchone()
            raw.commit()

        mine, others = in_turn(
            _ROUNDS, ours, lambda: _rate(_SINGLES, lambda: _repeat(_SINGLES, insert))
        )
    return Comparison(
        name="create, direct",
        peer="psycopg INSERT and commit",
        unit="calls/s",
        ours=mine,
        theirs=others,
        target=0.8,
    )


def over_http(url: str, key: str) -> list[Comparison]:
    """`create` over PostgREST, with a connection and without, against a bare pooled POST."""
    headers = {"Authorization": f"Bearer {key}", "apikey": key, "Prefer": "return=representation"}
    row = {"service_name": "one", "status": "healthy", "latency_ms": 9, "probe_details": _DETAILS}
    with connect(url, key=key) as connection, httpx.Client(headers=headers) as client:

        def post() -> None:
            client.post(f"{url}/service_health_checks", json=row).raise_for_status().json()

        def rate(call: Callable[[], object]) -> Callable[[], float]:
            return lambda: _rate(_SINGLES, lambda: _repeat(_SINGLES, call))

        given = in_turn(_ROUNDS, rate(lambda: _create(connection)), rate(post))
        found = in_turn(_ROUNDS, rate(_create_without_connection), rate(post))
    return [
        Comparison(
            name=name,
            peer="httpx POST, pooled",
            unit="calls/s",
            ours=ours,
            theirs=theirs,
            target=target,
        )
        for name, (ours, theirs), target in (
            ("create, HTTP", given, 0.9),
            ("create, HTTP, no connection given", found, 0.7),
        )
    ]


def _create(connection: Any) -> None:
    HealthCheckModel.create(
        connection, service_name="one", status="healthy", latency_ms=9, probe_details=_DETAILS
    )


def _create_without_connection() -> None:
    HealthCheckModel.create(
        service_name="one", status="healthy", latency_ms=9, probe_details=_DETAILS
    )


def _checks(rows: int) -> Iterator[NewHealthCheck]:
    for row in range(rows):
        yield NewHealthCheck(
            service_name=f"service-{row % 100}",
            status="healthy",
            latency_ms=row % 500,
            probe_details=_DETAILS,
        )


def _copy(raw: psycopg.Connection[Any]) -> None:
    with raw.cursor().copy(_COPY) as copy:
        for row in range(_BULK_ROWS):
            name, now = f"service-{row % 100}", datetime.now(UTC)
            copy.write_row((name, "healthy", row % 500, now, Jsonb(_DETAILS)))


def _repeat(times: int, call: Callable[[], object]) -> None:
    for _ in range(times):
        call()


def _rate(count: int, work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return count / (time.perf_counter() - started_at)
