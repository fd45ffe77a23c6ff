"""Who may do what: outsiders nothing, the service role what the models need, on every flavour."""

from __future__ import annotations

import psycopg
import pytest

from pulsebase import HealthCheckModel, NewHealthCheck
from tests.sql.scripts import OURS, apply, one, rows

TABLE_PRIVILEGES = """
select table_name, privilege_type
from information_schema.role_table_grants
where grantee = %s and table_schema = 'public' and table_name = any (%s)
"""
EXECUTABLE = """
select proname
from pg_proc
where pronamespace = 'public'::regnamespace and has_function_privilege(%s, oid, 'execute')
"""
STATEMENTS = [
    "select * from {table}",
    "insert into {table} default values",
    "update {table} set {column} = {column} where true",
    "delete from {table} where true",
    "truncate {table}",
]
FIRST_COLUMN = """
select attname from pg_attribute where attrelid = to_regclass(%s) and attnum = 1
"""
CALL = "select find_health_check('00000000-0000-0000-0000-000000000000')"


@pytest.mark.parametrize("role", ["anon", "authenticated"])
def test_outsiders_can_do_nothing(supabase_database: str, role: str) -> None:
    apply(supabase_database)
    assert rows(supabase_database, TABLE_PRIVILEGES, [role, list(OURS)]) == []
    assert rows(supabase_database, EXECUTABLE, [role]) == []
    columns = {table: one(supabase_database, FIRST_COLUMN, [table]) for table in OURS}
    statements = [
        each.format(table=table, column=column)
        for each in STATEMENTS
        for table, column in columns.items()
    ]
    with psycopg.connect(supabase_database, autocommit=True) as connection:
        connection.execute(f"set role {role}".encode())
        for statement in statements:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(CALL)


def test_the_service_role_can_use_the_tables_and_every_function(supabase_database: str) -> None:
    apply(supabase_database)
    everything = {name for (name,) in rows(supabase_database, EXECUTABLE, ["postgres"])}
    assert {name for (name,) in rows(supabase_database, EXECUTABLE, ["service_role"])} == everything
    for table in OURS:
        found = rows(supabase_database, TABLE_PRIVILEGES, ["service_role", [table]])
        assert {"SELECT", "INSERT", "UPDATE", "DELETE"} <= {privilege for _, privilege in found}
    with psycopg.connect(supabase_database, autocommit=True) as connection:
        connection.execute("set role service_role")
        check = HealthCheckModel.create(connection, service_name="x", status="healthy")
        many = [NewHealthCheck(service_name="x", status="down") for _ in range(3)]
        HealthCheckModel.create_many(connection, checks=many)
        assert HealthCheckModel.find_by_id(connection, check.id) == check
        assert len(HealthCheckModel.find_latest(connection)) == 1


def test_a_new_login_role_can_do_nothing(plain_database: str) -> None:
    apply(plain_database)
    with psycopg.connect(plain_database) as connection:
        connection.execute("create role stranger nologin")
        connection.execute("set role stranger")
        for statement in ("select * from service_health_checks", CALL):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement.encode())
        connection.rollback()


def test_plain_postgresql_needs_none_of_the_roles(plain_database: str) -> None:
    assert rows(plain_database, "select from pg_roles where rolname = 'service_role'") == []
    apply(plain_database)
    with psycopg.connect(plain_database, autocommit=True) as connection:
        check = HealthCheckModel.create(connection, service_name="x", status="healthy")
        assert HealthCheckModel.find_by_service(connection, "x") == [check]
