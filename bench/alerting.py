"""What evaluation adds to storing checks: in time, in statements and in write-ahead log.

The same rows go into two databases, one of which has its trigger disabled. Each service has been
down before and has a state to be looked up; one channel is told of everything.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import psycopg
from rich.console import Console
from rich.table import Table

from bench.harness import Comparison, in_turn
from pulsebase.connection import connect
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pulsebase.connection import Connection
    from pulsebase.models.health_check import Status

SETTINGS: Final = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    # Nothing else writes while it is counted, and no page is logged whole after a checkpoint.
    "autovacuum": "off",
    "full_page_writes": "off",
}

_SERVICES: Final = 1000
_BATCHES: Final = 20
_SINGLES: Final = 500
_ROUNDS: Final = 7
_DETAILS: Final[dict[str, Any]] = {"http_status": 200, "phases_ms": {"dns": 1, "total": 9}}
_AT_ONCE: Final = {
    **dict.fromkeys(("down_open_checks", "down_close_checks"), 1),
    "down_open_of": None,
    "down_open_seconds": None,
    "flapping_changes": 0,
}
_SWITCH_OFF: Final = "alter table service_health_checks disable trigger evaluate_new_checks"
_INSERT: Final = (
    "insert into service_health_checks (service_name, status, latency_ms, checked_at,"
    " probe_details) values (%s, %s, %s, %s, %s)"
)
_COUNTED: Final = """
select coalesce(sum(calls) filter (where toplevel), 0),
    coalesce(sum(calls) filter (where not toplevel), 0)
from pg_stat_statements
-- What frames a transaction, and what counts here, says nothing about checks.
where query !~* '^(begin|commit|set|show|deallocate)|pg_stat_statements|pg_current_wal'
    and dbid = (select oid from pg_database where datname = current_database())
"""
# What each of them sends for one check that changes nothing, by its source or as measured.
_PEERS: Final = (
    ("Gatus", "10 to 12", "", "", ""),
    ("Uptime Kuma", "6 to 8", "", "", ""),
    ("Healthchecks, a ping", "7 to 8", "", "1,000 to 3,500", ""),
)


@dataclass(frozen=True, slots=True)
class Side:
    """One database with its sessions, and a clock of its own."""

    ours: Connection
    raw: psycopg.Connection[Any]
    seconds: count[int] = field(default_factory=count)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC) - timedelta(days=1))

    def batches(self, number: int, changing: int) -> list[NewHealthCheck]:
        """A check of each service, again and again; so many change their status each time.

        Half of those go down and are up again the next time; the last time all are well.
        """
        half, checks = changing // 2, []
        for batch in range(number):
            moment = self.started_at + timedelta(seconds=next(self.seconds))
            down = range(batch * half, (batch + 1) * half if batch < number - 1 else batch * half)
            failing = {place % _SERVICES for place in down}
            checks += [
                _check(service, "down" if service in failing else "healthy", moment)
                for service in range(_SERVICES)
            ]
        return checks

    def store(self, checks: Sequence[NewHealthCheck]) -> float:
        """Checks per second of one `create_many`."""
        return _rate(len(checks), lambda: HealthCheckModel.create_many(self.ours, checks=checks))

    def insert(self, status: Status) -> float:
        """Checks per second of INSERTs one by one, each with its commit."""
        moments = [self.started_at + timedelta(seconds=next(self.seconds)) for _ in range(_SINGLES)]
        details = json.dumps(_DETAILS)

        def insert_all() -> None:
            for place, moment in enumerate(moments):
                row = (f"service-{place % _SERVICES}", status, 9, moment, details)
                self.raw.execute(_INSERT, row)

        return _rate(_SINGLES, insert_all)

    def empty(self) -> None:
        """Take the checks of the round before out of the way."""
        self.raw.execute("truncate service_health_checks")


@contextmanager
def _sides(with_evaluation: str, without: str) -> Iterator[tuple[Side, Side]]:
    with (
        connect(with_evaluation) as ours,
        psycopg.connect(with_evaluation, autocommit=True) as raw,
        connect(without) as their_ours,
        psycopg.connect(without, autocommit=True) as their_raw,
    ):
        their_raw.execute(_SWITCH_OFF)
        sides = Side(ours, raw), Side(their_ours, their_raw)
        for side in sides:
            _prepare(side)
        yield sides


def _prepare(side: Side) -> None:
    side.raw.execute(
        "insert into alert_policies (position, alert_policy) values (0, %s)", [json.dumps(_AT_ONCE)]
    )
    side.raw.execute("insert into alert_channels (name) values ('ops')")
    # All down and up again.
    side.store(side.batches(2, 2 * _SERVICES))
    side.empty()


def alerting(with_evaluation: str, without: str) -> list[Comparison]:
    """Storing checks with evaluation against the same without."""
    with _sides(with_evaluation, without) as (ours, theirs):

        def bulk(side: Side, changing: int) -> float:
            side.empty()
            return side.store(side.batches(_BATCHES, changing))

        def singly(side: Side, status: Status) -> float:
            side.empty()
            return side.insert(status)

        measured = [
            ("create_many, all healthy", 0.8, lambda side: bulk(side, 0)),
            ("create_many, 1 % changing", 0.6, lambda side: bulk(side, _SERVICES // 100)),
            ("INSERT one by one, healthy", None, lambda side: singly(side, "healthy")),
            ("INSERT one by one, failing", None, lambda side: singly(side, "down")),
        ]
        return [
            _comparison(name, target, *_in_turn(measure, ours, theirs))
            for name, target, measure in measured
        ]


def _in_turn(
    measure: Callable[[Side], float], ours: Side, theirs: Side
) -> tuple[list[float], list[float]]:
    return in_turn(_ROUNDS, lambda: measure(ours), lambda: measure(theirs))


def _comparison(
    name: str, target: float | None, ours: Sequence[float], theirs: Sequence[float]
) -> Comparison:
    return Comparison(
        name=name,
        peer="the same, not evaluated",
        unit="checks/s",
        ours=ours,
        theirs=theirs,
        target=target,
    )


@dataclass(frozen=True, slots=True)
class Cost:
    """What one check costs its database: statements of the client, those within, and its log."""

    sent: float
    inside: float
    wal_bytes: float


def show_costs(with_evaluation: str, without: str) -> None:
    """Print what one check costs, counted on a server that was started with `SETTINGS`."""
    table = Table(title="what one check costs its database (counted by pg_stat_statements)")
    table.add_column("what")
    for heading in ("statements", "and inside", "WAL bytes", "not evaluated"):
        table.add_column(heading, justify="right")
    with _sides(with_evaluation, without) as (ours, theirs):
        for side in (ours, theirs):
            side.raw.execute("create extension pg_stat_statements")
        for name, work in _loads():
            mine, other = _cost(ours, work), _cost(theirs, work)
            counts = f"{mine.sent:.3f}", f"{mine.inside:.3f}"
            table.add_row(name, *counts, f"{mine.wal_bytes:,.0f}", f"{other.wal_bytes:,.0f}")
    for peer in _PEERS:
        table.add_row(*peer)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _loads() -> list[tuple[str, Callable[[Side], int]]]:
    """What is counted, in this order: each returns how many checks it stored."""
    few, all_of_them = _SERVICES // 100, 2 * _SERVICES
    return [
        ("create_many, all healthy", lambda side: _stored(side, _BATCHES, 0)),
        ("create_many, 1 % changing", lambda side: _stored(side, _BATCHES, few)),
        ("create_many, all changing", lambda side: _stored(side, 2, all_of_them)),
        ("INSERT, healthy", lambda side: _inserted(side, "healthy")),
        ("INSERT, opens an event", lambda side: _inserted(side, "down")),
        ("INSERT, still failing", lambda side: _inserted(side, "down")),
        ("INSERT, recovers", lambda side: _inserted(side, "healthy")),
    ]


def _stored(side: Side, batches: int, changing: int) -> int:
    checks = side.batches(batches, changing)
    side.store(checks)
    return len(checks)


def _inserted(side: Side, status: Status) -> int:
    side.insert(status)
    return _SINGLES


def _cost(side: Side, work: Callable[[Side], int]) -> Cost:
    side.raw.execute("select pg_stat_statements_reset()")
    ((before,),) = side.raw.execute("select pg_current_wal_insert_lsn()").fetchall()
    checks = work(side)
    ((sent, inside),) = side.raw.execute(_COUNTED).fetchall()
    query = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)"
    ((written,),) = side.raw.execute(query, [before]).fetchall()
    return Cost(float(sent) / checks, float(inside) / checks, float(written) / checks)


def _check(service: int, status: Status, moment: datetime) -> NewHealthCheck:
    return NewHealthCheck(
        service_name=f"service-{service}",
        status=status,
        latency_ms=9,
        checked_at=moment,
        probe_details=_DETAILS,
    )


def _rate(count: int, work: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    work()
    return count / (time.perf_counter() - started_at)
