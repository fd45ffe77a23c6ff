"""The catalog holds exactly what other programs rely on, and the documented additions."""

from __future__ import annotations

import pytest

from tests.sql.scripts import OURS, SEED, apply, one, rows

COLUMNS = """
select column_name, data_type, character_maximum_length, is_nullable, column_default
from information_schema.columns
where table_schema = 'public' and table_name = %s
order by ordinal_position
"""
CONSTRAINTS = """
select pg_get_constraintdef(oid)
from pg_constraint
where conrelid = format('public.%%I', %s::text)::regclass and contype <> 'n'
order by contype, conname
"""
INDEXES = """
select indexname, split_part(indexdef, ' USING ', 2)
from pg_indexes
where schemaname = 'public' and tablename = %s
order by indexname
"""
TABLES = (
    "select relname from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
)
FUNCTIONS = """
select proname, pg_get_function_identity_arguments(oid), prosecdef, proconfig, provolatile,
    prorettype::regtype::text
from pg_proc where pronamespace = 'public'::regnamespace order by 1, 2
"""
ROW_SECURITY = "select relrowsecurity, relforcerowsecurity from pg_class where oid = %s::regclass"

UUID = ("id", "uuid", None, "NO", "gen_random_uuid()")
NAME = ("service_name", "character varying", 100, "NO", None)
STATUS = ("status", "text", None, "NO", None)
MOMENT = ("timestamp with time zone", None, "YES")

EXPECTED_COLUMNS = {
    "service_health_checks": [
        UUID,
        NAME,
        STATUS,
        ("latency_ms", "integer", None, "YES", None),
        ("checked_at", *MOMENT, "CURRENT_TIMESTAMP"),
        ("probe_details", "jsonb", None, "YES", None),
        ("created_at", *MOMENT, "CURRENT_TIMESTAMP"),
    ],
    "alert_events": [
        UUID,
        NAME,
        ("alert_type", "text", None, "NO", None),
        STATUS,
        ("details", "jsonb", None, "YES", None),
        ("created_at", *MOMENT, "CURRENT_TIMESTAMP"),
        ("resolved_at", *MOMENT, None),
    ],
}


def _one_of(column: str, *values: str) -> str:
    listed = ", ".join(f"'{value}'::text" for value in values)
    return f"CHECK (({column} = ANY (ARRAY[{listed}])))"


EXPECTED_CONSTRAINTS = {
    "service_health_checks": {
        "PRIMARY KEY (id)",
        _one_of("status", "healthy", "degraded", "down"),
    },
    "alert_events": {
        "PRIMARY KEY (id)",
        _one_of("alert_type", "service_down", "service_degraded", "recovery"),
        _one_of("status", "active", "resolved"),
    },
}
EXPECTED_INDEXES = {
    "service_health_checks": {
        "service_health_checks_pkey": "btree (id)",
        "idx_service_health_checks_created_at": "btree (created_at)",
        "idx_service_health_checks_service_name": "btree (service_name)",
        "idx_service_health_checks_service_created": "btree (service_name, created_at)",
    },
    "alert_events": {
        "alert_events_pkey": "btree (id)",
        "idx_alert_events_created_at": "btree (created_at)",
        "idx_alert_events_status": "btree (status)",
        "idx_alert_events_service_name": "btree (service_name)",
    },
}
ADDED_INDEXES = {
    "service_health_checks": {
        "idx_service_health_checks_service_checked": "btree (service_name, checked_at, id)",
    },
    "alert_events": {
        "idx_alert_events_service_created": "btree (service_name, created_at, id)",
        "idx_alert_events_one_active": (
            "btree (service_name, alert_type) WHERE (status = 'active'::text)"
        ),
    },
}
FUNCTION_NAMES = {
    "acknowledge_alert_event",
    "alert_policy_of",
    "beat_monitor",
    "claim_alert_messages",
    "count_health_checks_by_status",
    "create_alert_event",
    "create_alert_silence",
    "create_health_check",
    "create_health_checks",
    "delete_alert_events_older_than",
    "delete_alert_messages_older_than",
    "delete_health_checks_older_than",
    "disable_alert_channel",
    "enable_alert_channel",
    "evaluate_health_checks",
    "evaluate_new_checks",
    "find_active_alert_events",
    "find_alert_acknowledgements",
    "find_alert_acts",
    "find_alert_channels",
    "find_alert_event",
    "find_alert_events",
    "find_alert_message",
    "find_alert_messages",
    "find_alert_silence",
    "find_alert_silences",
    "find_alert_silences_to_plan",
    "find_health_check",
    "find_health_checks",
    "find_latest_health_checks",
    "find_monitor_services",
    "find_monitored_services",
    "find_monitors",
    "find_service_states",
    "find_waiting_deliveries",
    "finish_alert_message",
    "lift_alert_silence",
    "plan_alert_silence",
    "publish_alert_channels",
    "publish_alert_policies",
    "publish_maintenance_windows",
    "publish_monitor_services",
    "publish_monitored_services",
    "queue_alert_messages",
    "remove_monitor",
    "replay_alert_message",
    "resolve_alert_event",
    "unacknowledge_alert_event",
}
NUMBERS = [str(number).zfill(3) for number in range(12, 28)]


def _constraints(url: str, table: str) -> set[str]:
    return {text for (text,) in rows(url, CONSTRAINTS, [table])}


@pytest.mark.parametrize("table", SEED)
def test_the_seed_schema_is_exactly_as_documented(plain_database: str, table: str) -> None:
    apply(plain_database, "012")
    assert rows(plain_database, COLUMNS, [table]) == EXPECTED_COLUMNS[table]
    assert _constraints(plain_database, table) == EXPECTED_CONSTRAINTS[table]
    assert dict(rows(plain_database, INDEXES, [table])) == EXPECTED_INDEXES[table]
    assert rows(plain_database, ROW_SECURITY, [f"public.{table}"]) == [(True, False)]
    assert {name for (name,) in rows(plain_database, TABLES)} == set(SEED)
    assert rows(plain_database, FUNCTIONS) == []
    assert one(plain_database, "select count(*) from pg_type where typtype = 'e'") == 0


@pytest.mark.parametrize("table", SEED)
def test_later_files_only_add(plain_database: str, table: str) -> None:
    apply(plain_database)
    assert rows(plain_database, COLUMNS, [table]) == EXPECTED_COLUMNS[table]
    added = _constraints(plain_database, table) - EXPECTED_CONSTRAINTS[table]
    assert EXPECTED_CONSTRAINTS[table] <= _constraints(plain_database, table)
    assert all(text.startswith("CHECK") and text.endswith("NOT VALID") for text in added)
    indexes = dict(rows(plain_database, INDEXES, [table]))
    assert indexes == EXPECTED_INDEXES[table] | ADDED_INDEXES[table]
    assert rows(plain_database, ROW_SECURITY, [f"public.{table}"]) == [(True, False)]


def test_every_function_is_safe_to_expose(plain_database: str) -> None:
    apply(plain_database)
    found = rows(plain_database, FUNCTIONS)
    names = {name for name, *_ in found}
    # In the schema of an application: what is ours alone says so, lest it take a name of theirs.
    assert {name for name in names if not name.startswith("pulsebase_")} == FUNCTION_NAMES
    for name, _, definer, configuration, volatility, result in found:
        # A trigger's function cannot be called; it has to work for whoever may insert.
        assert not definer or result == "trigger", name
        assert configuration, name
        assert any(setting.startswith("search_path=") for setting in configuration), name
        assert volatility == "s" or not name.startswith(("find_", "count_")), name


def test_a_file_may_be_applied_twice(plain_database: str) -> None:
    for number in NUMBERS:
        apply(plain_database, number)
        before = _described(plain_database)
        apply(plain_database, number)
        assert _described(plain_database) == before, number


def _described(url: str) -> list[object]:
    tables = [rows(url, query, [table]) for table in OURS for query in (COLUMNS, INDEXES)]
    return [tables, rows(url, FUNCTIONS)]
