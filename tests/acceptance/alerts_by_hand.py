"""Alerts for the tests of `pulsebase alerts`: services that fail, and what is said of them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from tests.acceptance.cli_process import Ended, pulsebase
from tests.sql.alerting import Alerting

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["alerting", "fail", "run", "told"]

_ACTOR = {"PULSEBASE_ACTOR": "anna"}


@contextmanager
def alerting(url: str) -> Iterator[Alerting]:
    """The database of a URL, each statement in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Alerting(connection)


def fail(url: str, *services: str, reason: str = "connection refused") -> list[str]:
    """Have each service fail now, which opens an alert of each; the ids of these."""
    with alerting(url) as database:
        for service in services:
            database.at_once(service)
            database.connection.execute(
                "insert into service_health_checks (service_name, status, probe_details)"
                " values (%s, 'down', %s)",
                [service, json.dumps({"error": {"message": reason}})],
            )
        rows = database.connection.execute(
            "select service_name, id::text from alert_events where status = 'active'"
        ).fetchall()
    ids = dict(rows)
    return [ids[service] for service in services]


def run(url: str, *arguments: str, env: dict[str, str] | None = None) -> Ended:
    """`pulsebase alerts …` as anna."""
    return pulsebase("alerts", *arguments, env={"DATABASE_URL": url, **_ACTOR, **(env or {})})


def told(url: str, *arguments: str) -> Any:
    """The JSON document of a command that succeeds without a word."""
    ended = run(url, *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    return json.loads(ended.out)
