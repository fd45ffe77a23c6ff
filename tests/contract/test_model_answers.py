"""What other programs and newer schemas put into the tables does not disturb the models."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase import AlertEventModel, CheckViolationError, HealthCheckModel, InvalidDataError
from pulsebase.connection import Call
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase import DatabaseError
    from tests.contract.callers import Caller


@pytest.fixture
def newer_schema(plain_sql: psycopg.Connection[Any]) -> Iterator[None]:
    """Tables with a column that this version of the models does not know."""
    tables = ("service_health_checks", "alert_events")
    for table in tables:
        plain_sql.execute(f"alter table {table} add column region text default 'eu'".encode())
    yield
    for table in tables:
        plain_sql.execute(f"alter table {table} drop column region".encode())


@pytest.mark.usefixtures("newer_schema")
def test_unknown_columns_are_ignored(call: Caller, service: str) -> None:
    check = call(HealthCheckModel.create, service_name=service, status="healthy")
    assert call(HealthCheckModel.find_by_id, check.id) == check
    assert call(HealthCheckModel.find_by_service, service) == [check]
    assert call(HealthCheckModel.find_latest, service_name=service)[0].id == check.id
    event = call(AlertEventModel.create, service_name=service, alert_type="service_down")
    assert call(AlertEventModel.find_active, service_name=service) == [event]
    assert call(AlertEventModel.resolve, event.id).id == event.id


def test_a_row_of_plain_sql_is_read_like_any_other(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute(
        "insert into service_health_checks (service_name, status) values (%s, 'down')", [service]
    )
    (check,) = call(HealthCheckModel.find_by_service, service)
    assert (check.status, check.latency_ms, check.probe_details) == ("down", None, None)
    assert call(HealthCheckModel.find_latest, service_name=service)[0].age_seconds < 60


def test_numbers_that_no_float_can_hold_are_still_read(call_some: Caller, service: str) -> None:
    with psycopg.connect(call_some.door.sql_url, autocommit=True) as plain_sql:
        plain_sql.execute(
            "insert into service_health_checks (service_name, status, probe_details) values"
            """ (%s, 'down', '{"huge": 1e400, "long": 123456789012345678901, "small": 1e-400}')""",
            [service],
        )
    (check,) = call_some(HealthCheckModel.find_by_service, service)
    assert check.probe_details == {"huge": inf, "long": 1.2345678901234568e20, "small": 0.0}


@operation
def create_unchecked(**fields: Any) -> Call[dict[str, Any]]:
    """What a program sends that does not have our checks."""
    return Call(Request("create_health_check", fields), dict)


@pytest.mark.parametrize(
    ("field", "value", "expected", "rule"),
    [
        ("service_name", "", CheckViolationError, "service_name_readable"),
        ("service_name", "a\nb", CheckViolationError, "service_name_readable"),
        ("service_name", "a\x9f", CheckViolationError, "service_name_readable"),
        ("service_name", "x" * 101, InvalidDataError, "too long"),
        ("status", "unknown", CheckViolationError, "status_check"),
        ("latency_ms", -1, CheckViolationError, "latency_ms_not_negative"),
        ("checked_at", "2999-01-01T00:00:00Z", CheckViolationError, "checked_at_not_in_future"),
        ("checked_at", "soon", InvalidDataError, "timestamp"),
        ("probe_details", JsonText("[]"), CheckViolationError, "probe_details_small_object"),
        (
            "probe_details",
            JsonText(f'{{"a":"{"x" * 65_536}"}}'),
            CheckViolationError,
            "small_object",
        ),
        ("id", "x", InvalidDataError, "uuid"),
    ],
)
def test_the_database_has_the_rules_of_the_models_too(
    call_some: Caller,
    service: str,
    *,
    field: str,
    value: Any,
    expected: type[DatabaseError],
    rule: str,
) -> None:
    fields = {"service_name": service, "status": "healthy", field: value}
    with pytest.raises(expected, match=rule):
        call_some(create_unchecked, **fields)
    assert call_some(HealthCheckModel.find_by_service, service) == []
