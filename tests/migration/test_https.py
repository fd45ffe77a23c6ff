"""Migrations with nothing but a URL and a service key, on PostgREST and on `@supabase/lite`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.connection import connect
from pulsebase.errors import AuthenticationError, MigrationError
from pulsebase.migrations import Migrator, packaged

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.migrations import Applied, Catalog
    from tests.migration.conftest import Project

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]


def apply(project: Project, catalog: Catalog, **options: Any) -> Applied:
    with connect(project.url, key=project.key) as connection:
        return Migrator(connection, catalog, **options).apply()


def own_function(parameter: str, returns: str, body: str) -> str:
    return f"""
        create function public.exec_sql({parameter} text) returns {returns}
        language plpgsql security definer as $f$ {body} $f$;
        revoke all on function public.exec_sql(text) from public, anon, authenticated;
        grant execute on function public.exec_sql(text) to service_role;
    """


def test_our_files_are_applied_once(project: Project, sql: Sql) -> None:
    assert apply(project, packaged()).count == len(packaged().files)
    assert apply(project, packaged()).files == ()
    assert sql("select checksum from migrations order by id") == [
        (file.checksum,) for file in packaged().files
    ]


def test_what_the_api_does_not_know_yet_is_told(project: Project, write: Write) -> None:
    """PostgREST has read its schema when `apply` returns; lite never does, and that is said."""
    applied = apply(project, write({"001_a": "create table fresh (i int);"}))
    with connect(project.url, key=project.key) as connection:
        transport: Any = connection.transport
        assert transport.serves("fresh") is (applied.advice == "")
    if applied.advice:
        assert "the API does not know it yet (fresh)" in applied.advice


def test_without_exec_sql_the_ways_to_get_it_are_named(bare_project: Project) -> None:
    with pytest.raises(MigrationError, match=r"pulsebase db bootstrap.*SQL editor.*--url"):
        apply(bare_project, packaged())


@pytest.mark.parametrize("parameter", ["query", "sql_query", "statement"])
def test_another_name_of_the_parameter_is_found(
    bare_project: Project, write: Write, parameter: str
) -> None:
    bare_project.execute(own_function(parameter, "void", f"begin execute {parameter}; end"))
    catalog = write({"001_a": "create table a (i int);", "002_b": "create table b (i int);"})
    assert apply(bare_project, catalog).count == 2
    assert apply(bare_project, catalog).files == ()


def test_a_function_that_hands_nothing_back_serves(
    bare_project: Project, write: Write, sql: Sql
) -> None:
    bare_project.execute(own_function("sql", "void", "begin execute sql; end"))
    assert apply(bare_project, write({"001_a": "create table a (i int);"})).count == 1
    sql("insert into migrations (id, name) select 'old-' || n, 'x' from generate_series(1, 2500) n")
    with connect(bare_project.url, key=bare_project.key) as connection:
        catalog = write({"001_a": "create table a (i int);", "002_b": "select 2"})
        plan = Migrator(connection, catalog).plan()
    assert len(plan.entries) == 2502
    assert [file.id for file in plan.pending] == ["002_b"]
    with pytest.raises(MigrationError, match="was edited after it was applied"):
        apply(bare_project, write({"001_a": "create table b (i int);"}))


def test_a_function_that_hides_errors_is_refused(bare_project: Project, sql: Sql) -> None:
    body = "begin execute sql; return '{}'; exception when others then return to_json(sqlerrm); end"
    bare_project.execute(own_function("sql", "json", body))
    with pytest.raises(MigrationError, match=r"hides errors; .*pulsebase db bootstrap"):
        apply(bare_project, packaged())
    assert sql("select to_regclass('public.migrations')") == [(None,)]


def test_a_function_that_only_queries_is_refused(bare_project: Project) -> None:
    body = """declare r json;
        begin execute 'select to_json(q) from (' || sql || ') q' into r; return r; end"""
    bare_project.execute(own_function("sql", "json", body))
    with pytest.raises(MigrationError, match=r"runs no scripts; .*pulsebase db bootstrap"):
        apply(bare_project, packaged())


@pytest.mark.parametrize("role", ["anon", "authenticated", "public"])
def test_a_function_that_browsers_may_call_is_refused(
    project: Project, sql: Sql, role: str
) -> None:
    project.execute(f"grant execute on function public.exec_sql(text) to {role}")
    with pytest.raises(
        MigrationError, match=r"revoke all on function .*exec_sql\(text\) from public"
    ):
        apply(project, packaged())
    assert sql("select to_regclass('public.migrations')") == [(None,)]


@pytest.mark.parametrize("bare_project", ["postgrest"], indirect=True)
def test_a_key_of_browsers_is_refused(project: Project) -> None:
    """On PostgREST only: lite calls every function as its own superuser, whatever the key."""
    with (
        connect(project.url, key=project.server.anon_key) as connection,
        pytest.raises(MigrationError, match=r"permission denied.*service key"),
    ):
        Migrator(connection, packaged()).apply()


def test_a_wrong_key_is_an_authentication_error(project: Project) -> None:
    with (
        connect(project.url, key="sb_secret_wrong") as connection,
        pytest.raises((AuthenticationError, MigrationError)),
    ):
        Migrator(connection, packaged()).apply()


def test_a_failing_file_leaves_nothing_and_names_its_statement(
    project: Project, write: Write, sql: Sql
) -> None:
    catalog = write(
        {
            "001_a": "create table a (i int);",
            "002_b": "create table b (i int);\n\ninsert into b\nvalues (1 / 0);\nselect 3;",
        }
    )
    with pytest.raises(MigrationError, match=r"002_b\.sql:3:1: division by zero") as caught:
        apply(project, catalog)
    assert str(caught.value).split("\n")[1] == "    3 | insert into b"
    assert sql("select to_regclass('a') is null, to_regclass('b')") == [(False, None)]
    assert sql("select id from migrations") == [("001_a",)]


def test_an_edited_file_is_refused(project: Project, write: Write) -> None:
    apply(project, write({"001_a": "select 1"}))
    with pytest.raises(MigrationError, match="was edited after it was applied"):
        apply(project, write({"001_a": "select 2"}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("begin; select 1; commit;", "BEGIN has no place"),
        ("-- pulsebase: no transaction\nvacuum;", "asks for no transaction, and over HTTPS"),
        ("create index concurrently i on t (a)", "CREATE INDEX CONCURRENTLY cannot run"),
        ("copy a from stdin", "COPY FROM STDIN"),
    ],
)
def test_what_cannot_run_over_https_is_refused_before_anything_is_applied(
    project: Project, write: Write, sql: Sql, text: str, reason: str
) -> None:
    with pytest.raises(MigrationError, match=reason):
        apply(project, write({"001_a": "select 1", "002_b": text}))
    assert sql("select to_regclass('public.migrations')") == [(None,)]


def test_the_time_limit_of_the_api_is_explained(project: Project, write: Write) -> None:
    cancel = "raise query_canceled using message = 'canceling statement due to statement timeout'"
    with pytest.raises(MigrationError, match="Nothing of it was applied") as caught:
        apply(project, write({"001_slow": f"do $$ begin {cancel}; end $$;"}))
    assert "alter role authenticator set statement_timeout" in str(caught.value)


def test_an_existing_table_is_adopted(project: Project, sql: Sql) -> None:
    project.execute(
        "create table public.migrations (id text primary key, name text not null, "
        "executed_at timestamptz default now()); insert into public.migrations (id, name) "
        "select lpad(n::text, 3, '0'), 'x' from generate_series(1, 11) n"
    )
    assert apply(project, packaged()).count == len(packaged().files)
    assert sql("select count(*) from migrations") == [(11 + len(packaged().files),)]
