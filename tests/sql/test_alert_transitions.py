"""The whole transition table, every row on PostgreSQL; a page of the documentation prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest

from tests.sql.alert_transitions import PAGE, POLICIES, Transition, page, rows
from tests.sql.alerting import Alerting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres_server import PostgresServer

CHANNEL = "ops"
ALERT_TYPES = {"degraded": "service_degraded", "down": "service_down"}


@pytest.fixture(scope="module")
def alerting(postgres: PostgresServer, migrated_template: str) -> Iterator[Alerting]:
    """One database for all rows; each row has services of its own."""
    name = postgres.create_database(template=migrated_template)
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        alerting = Alerting(connection)
        alerting.channel(CHANNEL)
        yield alerting
    postgres.drop_database(name)


def arrange(alerting: Alerting, row: Transition) -> str:
    """A service in the state before, of which the channel knows; and the circumstances."""
    service = f"s-{uuid4()}"
    parent = f"parent of {service}"
    alerting.service(service, POLICIES["at once"], depends_on=(parent,))
    alerting.check(service, "healthy")
    if row.before != "healthy":
        alerting.check(service, row.before)
    alerting.deliver(CHANNEL)
    if row.circumstances.acknowledged:
        alerting.acknowledge(service)
    if row.circumstances.maintenance:
        alerting.silence(service, kind="maintenance")
    if row.circumstances.silence:
        alerting.silence(service)
    if row.circumstances.parent:
        alerting.at_once(parent)
        alerting.check(parent, "down")
        alerting.deliver(CHANNEL)
    alerting.service(service, POLICIES[row.policy], depends_on=(parent,))
    return service


def expected_events(row: Transition) -> list[tuple[str, str, str | None]]:
    before = ALERT_TYPES.get(row.before)
    resolved_by = "recovery" if row.recovers else "superseded" if row.opens else None
    events: list[tuple[str, str, str | None]] = []
    if before is not None:
        events.append((before, "resolved" if resolved_by else "active", resolved_by))
    if row.opens is not None:
        events.append((row.opens, "active", None))
    if row.recovers:
        events.append(("recovery", "resolved", None))
    return events


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
def test_a_check_does_what_the_table_says(alerting: Alerting, row: Transition) -> None:
    service = arrange(alerting, row)
    alerting.check(service, row.incoming)
    told = [each.kind for each in alerting.deliver(CHANNEL) if each.service_name == service]
    assert alerting.status(service) == row.after
    assert alerting.events(service) == expected_events(row)
    assert told == ([] if row.told is None else [row.told])
    waiting = [] if row.waits_for is None else [("opened", row.waits_for)]
    assert alerting.waiting(service) == waiting
    alerting.forget()


def test_the_page_is_the_table(alerting: Alerting) -> None:
    """Where this fails the table was changed: python -m tests.sql.alert_transitions."""
    assert alerting is not None
    assert PAGE.read_text(encoding="utf-8") == page()
