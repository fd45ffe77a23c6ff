"""Tables that an application has filled before us are adopted as they are."""

from __future__ import annotations

import psycopg
import pytest

from pulsebase import AlertEventModel, HealthCheckModel
from tests.sql.scripts import apply, one, rows

FOREIGN_ROWS = """
insert into service_health_checks
    (service_name, status, latency_ms, checked_at, probe_details, created_at)
values
    ('no times', 'healthy', 5, null, null, null),
    ('no checked_at', 'down', 5, null, null, '2026-01-01Z'),
    ('no created_at', 'down', 5, '2026-01-02Z', null, null),
    ('negative', 'down', -7, '2026-01-03Z', null, '2026-01-03Z'),
    (E'two\\nlines', 'down', 1, '2026-01-03Z', null, '2026-01-03Z'),
    ('', 'down', 1, '2026-01-03Z', null, '2026-01-03Z'),
    ('early', 'down', 1, '2026-01-09Z', null, '2026-01-03Z'),
    ('list', 'down', 1, '2026-01-03Z', '[1, "two"]', '2026-01-03Z'),
    ('scalar', 'down', 1, '2026-01-03Z', '5', '2026-01-03Z'),
    ('large', 'down', 1, '2026-01-03Z',
        jsonb_build_object('a', repeat('x', 100000)), '2026-01-03Z');
insert into alert_events (service_name, alert_type, status, details, created_at, resolved_at)
values
    ('no times', 'service_down', 'active', null, null, null),
    ('resolved only', 'service_down', 'resolved', '"text"', null, '2026-01-02Z'),
    ('', 'recovery', 'resolved', '[]', '2026-01-01Z', null);
"""
DUPLICATES = """
insert into alert_events (service_name, alert_type, status, details, created_at)
values
    ('', 'service_down', 'active', '[]', '2026-01-02Z'),
    ('', 'service_down', 'active', '[1]', '2026-01-01Z'),
    ('twice', 'service_down', 'active', '{"a": 1}', '2026-01-02Z'),
    ('twice', 'service_down', 'active', null, '2026-01-01Z'),
    ('twice', 'service_degraded', 'active', null, '2026-01-02Z');
"""
LATER = tuple(str(number).zfill(3) for number in range(14, 28))
COMPLETE = """
select count(*) from service_health_checks where checked_at is null or created_at is null
"""


@pytest.fixture
def filled(plain_database: str) -> str:
    """A database whose tables were filled before file 013, also with rows that it forbids."""
    apply(plain_database, "012")
    with psycopg.connect(plain_database, autocommit=True) as connection:
        connection.execute(FOREIGN_ROWS.encode())
    apply(plain_database, "013", *LATER)
    return plain_database


def test_no_row_is_lost_and_each_has_its_times(filled: str) -> None:
    assert one(filled, "select count(*) from service_health_checks") == 10
    assert one(filled, "select count(*) from alert_events") == 3
    assert one(filled, COMPLETE) == 0
    times = rows(
        filled,
        "select checked_at = created_at from service_health_checks where service_name like 'no %%'",
    )
    assert times == [(True,)] * 3
    assert one(filled, "select count(*) from alert_events where created_at is null") == 0


def test_old_rows_are_read_and_tidied_by_the_models(filled: str) -> None:
    from datetime import timedelta

    with psycopg.connect(filled, autocommit=True) as connection:
        for name, details in (("list", [1, "two"]), ("scalar", 5)):
            (check,) = HealthCheckModel.find_by_service(connection, name)
            found: object = check.probe_details
            assert found == details
        (negative,) = HealthCheckModel.find_by_service(connection, "negative")
        assert negative.latency_ms == -7
        names = [check.service_name for check in HealthCheckModel.find_latest(connection)]
        assert len(names) == 10
        assert len(AlertEventModel.find_active(connection)) == 1
        assert HealthCheckModel.delete_older_than(connection, timedelta(days=30)) == 9
        assert AlertEventModel.delete_older_than(connection, timedelta(days=30)) == 2


@pytest.mark.parametrize(
    ("name", "latency_ms", "checked_at"),
    [("x", -1, "2026-01-01Z"), ("", 1, "2026-01-01Z"), ("x", 1, None), ("x", 1, "2999-01-01Z")],
)
def test_new_rows_must_obey(
    filled: str, name: str, latency_ms: int, checked_at: str | None
) -> None:
    with (
        psycopg.connect(filled, autocommit=True) as connection,
        pytest.raises(psycopg.errors.CheckViolation),
    ):
        connection.execute(
            "insert into service_health_checks (service_name, status, latency_ms, checked_at)"
            " values (%s, 'down', %s, %s)",
            [name, latency_ms, checked_at],
        )


def test_an_old_alert_can_still_be_resolved(filled: str) -> None:
    """An update meets the rules as well, so only rows that obey, or that it makes obey, pass."""
    with psycopg.connect(filled, autocommit=True) as connection:
        (event,) = AlertEventModel.find_active(connection)
        assert AlertEventModel.resolve(connection, event.id).status == "resolved"


def test_of_several_active_events_of_a_type_the_oldest_stays(plain_database: str) -> None:
    apply(plain_database, "012")
    with psycopg.connect(plain_database, autocommit=True) as connection:
        connection.execute(DUPLICATES.encode())
    apply(plain_database, "013", *LATER)
    active = rows(
        plain_database,
        "select service_name, alert_type, created_at::date::text, details from alert_events"
        " where status = 'active' order by 1, 2",
    )
    assert active == [
        ("", "service_down", "2026-01-01", [1]),
        ("twice", "service_degraded", "2026-01-02", None),
        ("twice", "service_down", "2026-01-01", None),
    ]
    resolved = rows(
        plain_database,
        "select details from alert_events where resolved_at is not null order by service_name",
    )
    assert resolved == [([],), ({"a": 1, "resolved_by": "duplicate"},)]
