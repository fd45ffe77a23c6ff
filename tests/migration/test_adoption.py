"""A database whose table `migrations` was there before pulsebase."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.connection import Connection, connect
from pulsebase.errors import MigrationError
from pulsebase.migrations import Migrator, packaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulsebase.migrations import Catalog

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]

CLASSIC = """
create table public.migrations (
    id text primary key,
    name text not null,
    executed_at timestamptz default now()
);
insert into public.migrations (id, name)
select lpad(n::text, 3, '0'), 'step ' || n from generate_series(1, 11) as n;
"""


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with connect(empty_database) as opened:
        yield opened


@pytest.mark.parametrize("spelling", ["{0:03d}", "{0:03d}_create_x", "{0:03d}_create_x.sql"])
def test_only_our_files_are_applied_after_001_to_011(
    connection: Connection, sql: Sql, spelling: str
) -> None:
    sql(CLASSIC)
    for number in range(1, 12):
        new_id = spelling.format(number)
        sql(f"update migrations set id = '{new_id}' where id = '{number:03d}'")  # noqa: S608 -- a test's
    before = sql("select id, name, executed_at from migrations order by id")
    applied = Migrator(connection, packaged()).apply()
    assert [file.id for file in applied.files] == [file.id for file in packaged().files]
    assert sql("select id, name, executed_at from migrations order by id")[:11] == before
    assert sql("select name from migrations where id like '012%'") == [
        ("create_monitoring_tables",)
    ]
    assert Migrator(connection, packaged()).apply().files == ()


def test_the_applications_own_folder_goes_on_where_its_history_ends(
    connection: Connection, write: Write, sql: Sql
) -> None:
    sql(CLASSIC)
    files: dict[str, str | bytes] = {f"{n:03d}_step": "select 1 / 0" for n in range(1, 12)}
    catalog = write({**files, "012_new": "create table new_one (i int)"})
    plan = Migrator(connection, catalog).plan()
    assert [entry.state for entry in plan.entries] == ["applied"] * 11 + ["pending"]
    assert [file.id for file in Migrator(connection, catalog).apply().files] == ["012_new"]


def test_the_last_record_speaks_for_all_before_it(
    connection: Connection, write: Write, sql: Sql
) -> None:
    sql("create table migrations (id varchar(50)); insert into migrations values ('011_create_x')")
    files: dict[str, str | bytes] = {f"{n:03d}_a": "select 1 / 0" for n in range(1, 12)}
    assert Migrator(connection, write(files)).plan().pending == ()


def test_a_number_that_the_application_has_used_is_not_taken_for_ours(
    connection: Connection, sql: Sql
) -> None:
    sql(CLASSIC)
    sql("insert into migrations (id, name) values ('012', 'something of theirs')")
    with pytest.raises(MigrationError, match=r"comes too late.*pulsebase db export --dir DIR"):
        Migrator(connection, packaged()).apply()
    assert sql("select to_regclass('service_health_checks')") == [(None,)]


def test_ids_of_other_tools_are_left_alone(connection: Connection, sql: Sql) -> None:
    sql(
        "create table migrations (id text primary key);"
        "insert into migrations values ('20240101120000_init'), ('0001_initial'), ('m-1'), ('')"
    )
    assert Migrator(connection, packaged()).apply().count == len(packaged().files)


def test_columns_that_must_have_a_value_are_filled(connection: Connection, sql: Sql) -> None:
    sql(
        """
        create type mood as enum ('fine');
        create table migrations (
            id text primary key, name varchar(255) not null, filename text not null,
            version text not null, description text not null, anything text not null,
            batch integer not null, weight numeric not null, success boolean not null,
            applied_at timestamp not null, on_day date not null, run uuid not null,
            details jsonb not null, more json not null, raw bytea not null, tags text[] not null,
            took interval not null, doubled integer generated always as (batch * 2) stored,
            serial bigint generated always as identity, counted serial,
            optional mood, given text not null default 'x'
        )
        """
    )
    Migrator(connection, packaged()).apply()
    row = sql(
        "select name, filename, version, batch, success, tags, given, checksum is not null"
        " from migrations where id like '012%'"
    )
    name = "012_create_monitoring_tables"
    assert row == [(name[4:], f"{name}.sql", "012", 12, True, [], "x", True)]


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("create table migrations (id serial primary key, name text)", "of type integer"),
        ("create table migrations (id uuid primary key)", "of type uuid"),
        ("create table migrations (version text)", "no column id"),
        ("create view migrations as select 'a' as id", "not a table"),
        (
            "create type mood as enum ('a'); create table migrations (id text, m mood not null)",
            'alter column "m" drop not null',
        ),
    ],
)
def test_a_table_that_cannot_be_adopted_is_left_alone(
    connection: Connection, sql: Sql, table: str, reason: str
) -> None:
    sql(table)
    with pytest.raises(MigrationError, match=reason):
        Migrator(connection, packaged()).apply()
    assert sql("select to_regclass('service_health_checks')") == [(None,)]


def test_an_id_is_never_cut_short(connection: Connection, sql: Sql) -> None:
    sql("create table migrations (id varchar(10) primary key)")
    with pytest.raises(MigrationError, match="too long"):
        Migrator(connection, packaged()).apply()
    assert sql("select count(*) from migrations") == [(0,)]


def test_the_rights_on_a_table_of_the_application_stay(connection: Connection, sql: Sql) -> None:
    sql(CLASSIC)
    sql("grant select on migrations to anon")
    Migrator(connection, packaged()).apply()
    assert sql("select has_table_privilege('anon', 'migrations', 'select')") == [(True,)]
