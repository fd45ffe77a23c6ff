"""What happens to a database when files are applied over a direct connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.connection import Connection, connect
from pulsebase.errors import MigrationError
from pulsebase.migrations import Migrator, packaged
from pulsebase.transports.borrowed import borrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pulsebase.migrations import Applied, Catalog

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture
def connection(empty_database: str) -> Iterator[Connection]:
    with connect(empty_database) as opened:
        yield opened


def apply(connection: Connection, catalog: Catalog) -> Applied:
    return Migrator(connection, catalog).apply()


def test_our_files_are_applied_once(connection: Connection, sql: Sql) -> None:
    first = apply(connection, packaged())
    assert [file.id for file in first.files] == [file.id for file in packaged().files]
    assert first.count == len(packaged().files)
    assert apply(connection, packaged()).files == ()
    assert Migrator(connection, packaged()).verify().ok
    recorded = sql("select id, checksum, duration_ms >= 0, executed_at <= now() from migrations")
    assert recorded == [(file.id, file.checksum, True, True) for file in packaged().files]


def test_the_table_of_migrations_is_closed_to_browsers(connection: Connection, sql: Sql) -> None:
    apply(connection, packaged())
    assert sql("select relrowsecurity from pg_class where oid = 'migrations'::regclass") == [
        (True,)
    ]
    rights = sql(
        "select r.rolname from pg_roles r where rolname in ('anon', 'authenticated') and ("
        "has_table_privilege(r.oid, 'migrations', 'select') "
        "or has_table_privilege(r.oid, 'migrations', 'insert'))"
    )
    assert rights == []


def test_a_plan_changes_nothing(connection: Connection, sql: Sql) -> None:
    plan = Migrator(connection, packaged()).plan()
    assert plan.pending == packaged().files
    assert not Migrator(connection, packaged()).verify().ok
    assert sql("select to_regclass('public.migrations')") == [(None,)]


def test_a_failing_file_leaves_nothing_and_no_row(
    connection: Connection, write: Write, sql: Sql
) -> None:
    catalog = write(
        {
            "001_a": "create table a (i int);",
            "002_b": "create table b (i int); insert into b values (1); select 1 / 0;",
            "003_c": "create table c (i int);",
        }
    )
    with pytest.raises(MigrationError, match="division by zero"):
        apply(connection, catalog)
    assert sql("select to_regclass('a') is null, to_regclass('b'), to_regclass('c')") == [
        (False, None, None)
    ]
    assert sql("select id from migrations") == [("001_a",)]


ERRORS = {
    "a word": ("select 1;\ncreate tabel b (i int);", "2:8", "create tabel b (i int);"),
    "a column's type": ("create table b (\n\ti int,\n\tc foo\n);", "3:4", "\tc foo"),
    "a table that is not there": ("select 1;\nselect *\n from nix;", "3:7", " from nix;"),
    "no position of its own": ("create table a (i int);\n\n  create table a ();", "3:3", ""),
    "after a long string": ("select 'ü😀\n', 1;\n select nope;", "3:9", " select nope;"),
    "in a function": (
        "create function f() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;",
        "3:3",
        "  retrun 1;",
    ),
    "in a function that is there twice": (
        (
            "create function f() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;\n"
            "create function g() returns int language plpgsql as $$\nbegin\n  retrun 1;\nend $$;"
        ),
        "3:3",
        "  retrun 1;",
    ),
    "in a function after a long statement": (
        (
            f"select '{'x' * 5000}';\ncreate function f() returns int language plpgsql as $$\n"
            "begin\n  retrun 1;\nend $$;"
        ),
        "4:3",
        "  retrun 1;",
    ),
    "in a long function": (
        "create function f() returns int language plpgsql as $$\nbegin\n"
        + "  perform 1;\n" * 500
        + "  retrun 1;\nend $$;",
        "503:3",
        "  retrun 1;",
    ),
    "in a function of SQL": (
        "select 1;\ncreate function f() returns int language sql as $$\n select x from nix\n$$;",
        "3:16",
        " select x from nix",
    ),
    "in a block": ("select 1;\ndo $$\nbegin\n  perfrom 1;\nend $$;", "4:3", "  perfrom 1;"),
    "at run time in a function": (
        "create function f() returns int language sql volatile as 'select 1 / 0';\n select f();",
        "2:2",
        " select f();",
    ),
}


@pytest.mark.parametrize(("text", "place", "line"), ERRORS.values(), ids=ERRORS)
def test_an_error_shows_its_line(  # noqa: PLR0917 -- fixtures and the parts of a case
    connection: Connection, write: Write, folder: Path, text: str, place: str, line: str
) -> None:
    with pytest.raises(MigrationError) as caught:
        apply(connection, write({"001_a": text}))
    shown = str(caught.value).split("\n")
    assert shown[0].startswith(f"{folder}/001_a.sql:{place}: ")
    if line:
        assert shown[1].endswith(f" | {line}")
    if len(shown) > 2 and shown[2].endswith("^"):
        assert shown[2].index("^") - shown[1].index("|") == int(place.split(":")[1]) + 1


def test_a_long_line_is_cut_around_its_error(connection: Connection, write: Write) -> None:
    text = f"select {'1, ' * 300}nope{', 1' * 300};"
    with pytest.raises(MigrationError) as caught:
        apply(connection, write({"001_a": text}))
    _, line, mark, *_ = str(caught.value).split("\n")
    assert len(line) < 120
    assert line[mark.index("^") :].startswith("nope")


HOSTILE = {
    "dollar tags": "select $pulsebase$ $p$ $p0000$ $pulsebase$, $outer$ end $outer$;",
    "per cent signs": "select '%s %% %(a)s %I %L', 10 % 3;",
    "braces": "select '--{id} --{statements} {}';",
    "backslashes": r"select 'a\b', e'\\', '\1 \g<0>';",
    "a text that ends with a dollar sign": "select 1 as a$",
    "unicode": 'create table "täble😀" (i int); comment on table "täble😀" is \'\u202e\ufeff\';',
    "select into": "select 1 as i into made; insert into made select 2; table made",
    "a select into at the end": "select 1 as i into made",
    "nothing": "",
    "only a comment": "/* nothing */ -- at all",
    "a comment at the end": "select 1; -- that is all",
    "answers": "select set_config('pulsebase.answer', 'not json', true);",
    "another path": "set local search_path = ''; select 1;",
    "a setting of its own": "set local lock_timeout = '1ms'; set local statement_timeout = '1s';",
    "names like ours": "create table began (statement int, recorded int); select * from began;",
    "notices": "do $$ begin raise notice 'pulsebase answer: {}'; end $$;",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_file_holds_is_executed_as_it_is(
    connection: Connection, write: Write, sql: Sql, text: str
) -> None:
    catalog = write({"001_a": text, "002_b": "create table after (i int);"})
    assert apply(connection, catalog).count == 2
    assert apply(connection, catalog).files == ()
    assert sql("select count(*) from migrations") == [(2,)]


def test_a_file_of_megabytes_is_applied(connection: Connection, write: Write, sql: Sql) -> None:
    row = f"insert into big values ('{'x' * 900}');\n"  # noqa: S608 -- a test's
    apply(connection, write({"001_big": f"create table big (t text);\n{row * 5000}"}))
    assert sql("select count(*) from big") == [(5000,)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("begin; create table a (i int); commit;", "BEGIN has no place"),
        ("create table a (i int);\ncommit;", "001_a.sql:2: COMMIT has no place"),
        ("rollback", "ROLLBACK has no place"),
        ("savepoint a", "SAVEPOINT has no place"),
        ("vacuum", "VACUUM cannot run in a transaction"),
        ("create unique index concurrently i on t (a)", "CREATE UNIQUE INDEX CONCURRENTLY"),
        ("drop index concurrently i", "DROP INDEX CONCURRENTLY"),
        ("create database x", "CREATE DATABASE cannot"),
        ("alter system set a = 1", "ALTER SYSTEM cannot"),
        ("copy a from stdin;\n1\n\\.\n", "COPY FROM STDIN needs psql"),
        ("\\i other.sql", "a command of psql"),
    ],
)
def test_what_no_transaction_takes_is_refused_before_anything_is_applied(
    connection: Connection, write: Write, sql: Sql, text: str, reason: str
) -> None:
    catalog = write({"001_a": text, "002_b": "select 1"})
    with pytest.raises(MigrationError, match=reason):
        apply(connection, catalog)
    assert sql("select to_regclass('public.migrations')") == [(None,)]


def test_an_edited_file_is_refused_before_anything_is_applied(
    connection: Connection, write: Write, sql: Sql
) -> None:
    apply(connection, write({"001_a": "select 1"}))
    with pytest.raises(MigrationError, match=r"001_a\.sql was edited after it was applied"):
        apply(connection, write({"001_a": "select 2", "002_b": "create table b (i int)"}))
    assert sql("select to_regclass('b')") == [(None,)]
    assert apply(connection, write({"001_a": "select 1\r\n".replace("\r\n", "")})).files == ()


def test_a_missing_file_is_refused(connection: Connection, write: Write) -> None:
    apply(connection, write({"001_a": "select 1", "002_b": "select 2"}))
    with pytest.raises(MigrationError, match=r"002_b was applied, but .* has no such file"):
        apply(connection, write({"001_a": "select 1"}))


def test_a_renamed_file_is_asked_for_its_old_name(connection: Connection, write: Write) -> None:
    apply(connection, write({"001_a": "select 1", "002_b": "select 2"}))
    with pytest.raises(MigrationError, match=r"002_c\.sql was applied as 002_b\.sql"):
        apply(connection, write({"001_a": "select 1", "002_c": "select 2"}))


def test_a_file_before_an_applied_one_is_refused(connection: Connection, write: Write) -> None:
    apply(connection, write({"002_b": "select 2"}))
    with pytest.raises(MigrationError, match=r"001_a\.sql sorts before 002_b"):
        apply(connection, write({"001_a": "select 1", "002_b": "select 2"}))


def test_a_baseline_records_without_running(connection: Connection, write: Write, sql: Sql) -> None:
    catalog = write({"001_a": "select 1 / 0", "002_b": "select 2 / 0", "003_c": "select 3"})
    recorded = Migrator(connection, catalog).baseline("002")
    assert [(file.id, file.outcome) for file in recorded.files] == [
        ("001_a", "recorded"),
        ("002_b", "recorded"),
    ]
    assert [file.id for file in apply(connection, catalog).files] == ["003_c"]
    assert sql("select id, duration_ms is null from migrations order by id")[:2] == [
        ("001_a", True),
        ("002_b", True),
    ]
    with pytest.raises(MigrationError, match="there is no migration 009"):
        Migrator(connection, catalog).baseline("009")


def test_a_waiting_lock_is_given_up_and_tried_again(
    empty_database: str, write: Write, sql: Sql
) -> None:
    """A statement that queues for a table stops everybody behind it; so it does not queue long."""
    sql("create table busy (i int)")
    catalog = write({"001_a": "alter table busy add column j int"})
    with (
        psycopg.connect(empty_database) as holder,
        connect(empty_database) as connection,
    ):
        holder.execute("lock table busy in access share mode")
        migrator = Migrator(connection, catalog, lock_timeout_seconds=0.05)
        with pytest.raises(MigrationError, match="lock timeout"):
            migrator.apply()
        holder.rollback()
        assert migrator.apply().count == 1


def test_the_statement_timeout_of_the_connection_does_not_count(
    empty_database: str, write: Write
) -> None:
    catalog = write({"001_slow": "select pg_sleep(0.5)"})
    with connect(empty_database, statement_timeout_seconds=0.2) as connection:
        assert apply(connection, catalog).count == 1


def test_a_database_in_another_isolation_level_is_migrated(
    empty_database: str, write: Write, sql: Sql
) -> None:
    sql(
        "do $$ begin execute format('alter database %I set default_transaction_isolation = "
        "serializable', current_database()); end $$"
    )
    with connect(empty_database) as connection:
        assert apply(connection, write({"001_a": "create table a (i int)"})).count == 1


def test_an_applications_own_connection_is_refused(empty_database: str) -> None:
    with psycopg.connect(empty_database) as own:
        borrowed: Any = borrow(own)
        with pytest.raises(MigrationError, match="a connection of their own"):
            Migrator(Connection(borrowed), packaged()).apply()


def test_progress_names_each_file_before_it_is_applied(
    connection: Connection, write: Write
) -> None:
    seen: list[tuple[str, int, int]] = []
    catalog = write({"001_a": "select 1", "002_b": "select 2"})
    Migrator(connection, catalog).apply(
        lambda step: seen.append((step.file.id, step.number, step.total))
    )
    assert seen == [("001_a", 1, 2), ("002_b", 2, 2)]


def test_ten_thousand_records_are_read(connection: Connection, write: Write, sql: Sql) -> None:
    apply(connection, write({"001_a": "select 1"}))
    sql(
        "insert into migrations (id, name) select 'old-' || n, 'x' from generate_series(1, 10000) n"
    )
    plan = Migrator(connection, write({"001_a": "select 1", "002_b": "select 2"})).plan()
    assert len(plan.entries) == 10_002
    assert [file.id for file in plan.pending] == ["002_b"]
