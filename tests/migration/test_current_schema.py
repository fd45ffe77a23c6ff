from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.connection import connect
from pulsebase.migrations import Migrator, packaged
from tests.migration.schema import CURRENT, catalog_of
from tests.support.supabase_roles import create_roles, set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres_server import PostgresServer


def test_current_sql_is_the_migrated_database(postgres: PostgresServer) -> None:
    """Where this fails a file was added: python -m tests.migration.schema."""
    migrated = postgres.url(postgres.create_database())
    described = postgres.url(postgres.create_database())
    set_default_privileges(migrated, "new")
    set_default_privileges(described, "new")
    with connect(migrated) as connection:
        Migrator(connection, packaged()).apply()
    with psycopg.connect(described, autocommit=True) as plain:
        plain.execute(CURRENT.read_bytes())
    assert catalog_of(described) == catalog_of(migrated)


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_every_major_version_is_migrated_twice(
    postgres_of_major: Callable[[int], PostgresServer], major: int
) -> None:
    """On plain PostgreSQL, which has none of Supabase's roles."""
    server = postgres_of_major(major)
    with connect(server.url(server.create_database())) as connection:
        assert Migrator(connection, packaged()).apply().count == len(packaged().files)
        assert Migrator(connection, packaged()).apply().files == ()


@pytest.mark.parametrize("flavour", ["old", "new"])
def test_only_the_service_role_may_anything(postgres: PostgresServer, flavour: str) -> None:
    url = postgres.url(postgres.create_database())
    create_roles(url)
    set_default_privileges(url, "old" if flavour == "old" else "new")
    with connect(url) as connection:
        Migrator(connection, packaged()).apply()
    with psycopg.connect(url) as plain:
        open_to_browsers = plain.execute(
            """
            select r.rolname, c.relname from pg_class as c, pg_roles as r
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S')
                and r.rolname in ('anon', 'authenticated')
                and (has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate'))
            union all
            select r.rolname, p.proname from pg_proc as p, pg_roles as r
            where p.pronamespace = 'public'::regnamespace
                and r.rolname in ('anon', 'authenticated')
                and has_function_privilege(r.oid, p.oid, 'execute')
            """
        ).fetchall()
    assert open_to_browsers == []
