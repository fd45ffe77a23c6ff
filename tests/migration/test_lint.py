from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pulsebase.migrations import packaged
from pulsebase.migrations.lint import RULES, lint

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.migrations import Catalog

    Write = Callable[[dict[str, str | bytes]], Catalog]

pytest.importorskip("postgast", reason='reading SQL needs: pip install "pulsebase[cli]"')

# What a loop executes for each name counts as if it were written out.
BY_LOOP = """
alter table public.u enable row level security;
do $$
declare
    name text;
begin
    foreach name in array array['t', 'u'] loop
        execute format('alter table public.%I enable row level security', name);
        execute format(
            'grant select on public.%I to service_role', name
        );
    end loop;
end
$$;
"""

# Each rule with what breaks it, where, and what does not.
EXAMPLES: dict[str, list[tuple[str, str, str]]] = {
    "syntax-error": [
        ("select 1;\nselect 'ü' fromm t where;", "2:18", "select 'ü' as fromm;"),
    ],
    "psql-command": [("\\i other.sql", "1:1", "select '\\i';")],
    "copy-from-stdin": [("copy t (a) from stdin;", "1:1", "copy t (a) from '/file';")],
    "transaction-control": [
        ("begin;", "1:1", "do $$ begin perform 1; end $$;"),
        ("select 1;\n  commit;", "2:3", "select 'commit;';"),
    ],
    "needs-no-transaction": [
        (
            "create index concurrently i on t (a);",
            "1:1",
            "-- pulsebase: no transaction\ncreate index concurrently if not exists i on t (a);",
        ),
        ("vacuum t;", "1:1", "analyze t;"),
    ],
    "plain-set": [
        ("set search_path = 'a';", "1:1", "set local search_path = 'a';"),
        ("set session lock_timeout = 1;", "1:1", "set transaction isolation level serializable;"),
        (
            "select pg_catalog.set_config('search_path', '', false);",
            "1:8",
            "select set_config('search_path', '', true);",
        ),
        ("set role postgres;", "1:1", "reset role;"),
    ],
    "where-missing": [
        ("update t set a = 1;", "1:8", "update t set a = 1 where true;"),
        ("delete from t;", "1:13", "delete from t where a = 1;"),
        (
            "with gone as (delete from t returning a) select a from gone;",
            "1:27",
            "with gone as (delete from t where a = 1 returning a) select a from gone;",
        ),
    ],
    "rls-missing": [
        (
            "create table t (i int);\ngrant select on t to service_role;",
            "1:14",
            (
                'create table "t" (i int);\nalter table public.t enable row level security;\n'
                "grant select on t to service_role;"
            ),
        ),
        (
            "create table t as select 1;\ngrant select on t to service_role;",
            "1:14",
            "create temp table t as select 1; create table other.t (i int);",
        ),
    ],
    "grant-missing": [
        (
            (
                "create table t (i int);\nalter table t enable row level security;"
                "-- grant select on t to service_role;\ngrant select on t_2 to service_role;"
            ),
            "1:14",
            (
                "create table t (i int);\nalter table t enable row level security;\n"
                "do $$ begin execute 'grant select on a, public.t to service_role'; end $$;"
            ),
        ),
        (
            "create table t (i int); alter table t enable row level security;",
            "1:14",
            (
                "create table t (i int); alter table t enable row level security;\n"
                "grant all on all tables in schema public to service_role;"
            ),
        ),
        (
            "create table u (i int);\n" + BY_LOOP.replace("'t', 'u'", "'t'"),
            "1:14",
            "create table u (i int);\n" + BY_LOOP,
        ),
    ],
    "search-path-missing": [
        (
            "create function f() returns int language sql as 'select 1';",
            "1:1",
            "create function f() returns int language sql set search_path = '' as 'select 1';",
        ),
    ],
    "ignore-unclear": [
        (
            "delete from t; -- pulsebase: ignore where-missing",
            "1:16",
            "delete from t; -- pulsebase: ignore where-missing: all of them are stale",
        ),
        (
            "select 1; -- pulsebase: ignore everything: because",
            "1:11",
            "-- pulsebase: ignore where-missing: all of them\n\ndelete from t where true;",
        ),
    ],
}
CASES = [(rule, *example) for rule, examples in EXAMPLES.items() for example in examples]


def test_every_rule_has_an_example() -> None:
    assert EXAMPLES.keys() == RULES.keys()


@pytest.mark.parametrize(("rule", "bad", "place", "good"), CASES)
def test_a_rule_finds_what_breaks_it(
    write: Write, rule: str, bad: str, place: str, good: str
) -> None:
    found = [finding for finding in lint(write({"001_a": bad})) if finding.rule == rule]
    assert [f"{finding.line}:{finding.column}" for finding in found] == [place]
    assert [finding for finding in lint(write({"001_a": good})) if finding.rule == rule] == []


def test_our_own_files_pass() -> None:
    assert lint(packaged()) == ()


def test_a_finding_reads_as_editors_expect(write: Write) -> None:
    (finding,) = lint(write({"001_a": "select 1;\nupdate t set a = 1;"}))
    assert str(finding).startswith(f"{finding.source}:2:8: where-missing: UPDATE without WHERE")


def test_one_bad_statement_hides_no_other(write: Write) -> None:
    catalog = write({"001_a": "selec 1;\nset a = 1;\ndelete from t;", "002_b": "begin;"})
    assert [finding.rule for finding in lint(catalog)] == [
        "syntax-error",
        "plain-set",
        "where-missing",
        "transaction-control",
    ]


def test_a_silenced_rule_is_silent_for_its_statement_only(write: Write) -> None:
    text = (
        "-- pulsebase: ignore where-missing: every row gets its number\n"
        "update t\nset a = 1;\nupdate t set a = 2;\n"
        "delete from t; -- pulsebase: ignore where-missing: it is a cache\ndelete from t;"
    )
    assert [finding.line for finding in lint(write({"001_a": text}))] == [4, 6]
