"""Over long histories every verb finds its rows by an index, also once a plan is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase import AlertEventModel, HealthCheckModel
from tests.sql.scripts import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SERVICES, CHECKS_EACH = 60, 2000
HISTORY = """
insert into service_health_checks (id, service_name, status, latency_ms, checked_at, created_at)
select gen_random_uuid(), 'service-' || service,
    case when number %% 50 = 0 then 'down' else 'healthy' end, number %% 500, moment, moment
from generate_series(1, %(checks)s) as n (number), generate_series(1, %(services)s) as s (service),
    lateral (select now() - number * interval '20 minutes') as m (moment);
"""
ALERTS = """
insert into alert_events (service_name, alert_type, status, created_at, resolved_at)
select 'service-' || number %% %(services)s, 'service_down',
    case when number <= %(services)s then 'active' else 'resolved' end, moment, moment
from generate_series(1, 50000) as n (number),
    lateral (select now() - number * interval '1 minute') as m (moment);
"""
EXPLAINING = """
load 'auto_explain';
set auto_explain.log_min_duration = 0;
set auto_explain.log_nested_statements = on;
set auto_explain.log_analyze = on;
set auto_explain.log_timing = off;
set auto_explain.log_format = json;
set client_min_messages = log;
"""
DELETE_500 = "select delete_health_checks_older_than(%s, 500)"
A_WEEK = datetime.now(UTC) - timedelta(days=7)


@pytest.fixture(scope="module")
def history(postgres: Any, migrated_template: str) -> Iterator[str]:
    """A database with 120,000 checks and 50,000 alert events."""
    name = postgres.create_database(template=migrated_template)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        for script in (HISTORY, ALERTS):
            connection.execute(script.encode(), {"services": SERVICES, "checks": CHECKS_EACH})
        connection.execute("vacuum analyze")
    yield postgres.url(name)
    postgres.drop_database(name)


class Explained:
    """A session that remembers the plans of everything that runs in it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._plans: list[dict[str, Any]] = []
        connection.add_notice_handler(self._remember)

    def _remember(self, diagnostic: Any) -> None:
        _, _, plan = (diagnostic.message_primary or "").partition("plan:\n")
        if plan:
            self._plans.append(json.loads(plan)["Plan"])

    def scans(self, verb: Any, *arguments: Any, **named: Any) -> list[tuple[str, str, int]]:
        """The scans of our tables in the verb's last run: kind, index or table, rows touched."""
        for _ in range(8):  # from the sixth on PostgreSQL may keep one plan for all values
            self._plans.clear()
            with self._connection.transaction(force_rollback=True):
                answer = verb(self._connection, *arguments, **named)
                if not isinstance(answer, list | int | tuple) and hasattr(answer, "__next__"):
                    next(answer)
        return [scan for plan in self._plans for scan in _scans(plan)]


def _scans(node: dict[str, Any]) -> Iterator[tuple[str, str, int]]:
    if node.get("Relation Name") in OURS:
        loops = node.get("Actual Loops", 1)
        touched = (node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)) * loops
        yield (
            node["Node Type"],
            node.get("Index Name", node.get("Relation Name", "")),
            round(touched),
        )
    for child in node.get("Plans", []):
        yield from _scans(child)


@pytest.fixture
def explained(history: str) -> Iterator[Explained]:
    """A session whose plans are seen."""
    with psycopg.connect(history, autocommit=True) as connection:
        for line in EXPLAINING.strip().splitlines():
            connection.execute(line.encode())
        yield Explained(connection)


def _before(explained: Explained) -> Any:
    return HealthCheckModel.find_by_service(explained._connection, "service-7", limit=500)[-1]


VERBS: dict[str, tuple[Callable[[Explained], dict[str, Any]], Any, tuple[Any, ...], int]] = {
    "find_by_service": (lambda _: {}, HealthCheckModel.find_by_service, ("service-7",), 101),
    "find_by_service, a range": (
        lambda _: {"since": A_WEEK, "until": A_WEEK + timedelta(hours=1)},
        HealthCheckModel.find_by_service,
        ("service-7",),
        4,
    ),
    "find_by_service, a later page": (
        lambda explained: {"before": _before(explained)},
        HealthCheckModel.find_by_service,
        ("service-7",),
        101,
    ),
    "find_by_service, a status": (
        lambda _: {"status": "down", "limit": 10},
        HealthCheckModel.find_by_service,
        ("service-7",),
        501,
    ),
    "iterate_by_service": (lambda _: {}, HealthCheckModel.iterate_by_service, ("service-7",), 1001),
    "find_latest": (lambda _: {}, HealthCheckModel.find_latest, (), 3 * SERVICES),
    "find_latest of one": (
        lambda _: {"service_name": "service-7"},
        HealthCheckModel.find_latest,
        (),
        4,
    ),
    "count_by_status of one": (
        lambda _: {"service_name": "service-7", "since": A_WEEK},
        HealthCheckModel.count_by_status,
        (),
        505,
    ),
    "count_by_status of all in a day": (
        lambda _: {"since": datetime.now(UTC) - timedelta(days=1)},
        HealthCheckModel.count_by_status,
        (),
        72 * SERVICES + 2 * SERVICES,
    ),
    "find_by_id": (
        lambda explained: {"id": _before(explained).id},
        HealthCheckModel.find_by_id,
        (),
        1,
    ),
    "find_active": (lambda _: {}, AlertEventModel.find_active, (), 60),
    "alerts of a service": (lambda _: {}, AlertEventModel.find_by_service, ("service-7",), 101),
}


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_touches_hardly_more_than_its_answer(explained: Explained, name: str) -> None:
    make_arguments, verb, arguments, most_rows = VERBS[name]
    scans = explained.scans(verb, *arguments, **make_arguments(explained))
    assert scans
    for kind, _, _ in scans:
        assert kind != "Seq Scan", scans
    assert sum(touched for _, _, touched in scans) <= most_rows, scans


def test_deleting_a_batch_reads_one_batch(explained: Explained) -> None:
    """Both steps, finding the old rows and deleting them, go by an index."""

    def delete_one_batch(connection: psycopg.Connection[Any]) -> int:
        cutoff = datetime.now(UTC) - timedelta(days=20)
        (deleted,) = connection.execute(DELETE_500, [cutoff]).fetchall()[0]
        assert deleted == 500
        return 500

    scans = explained.scans(delete_one_batch)
    assert all(kind != "Seq Scan" for kind, _, _ in scans), scans
    assert sum(touched for kind, _, touched in scans if kind.startswith("Index")) <= 1500, scans
