"""Any number of runners at once: each file is applied exactly once, and nobody fails."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.connection import connect
from pulsebase.migrations import Migrator, read_folder
from tests.migration.runners import Runners
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pulsebase.migrations import Catalog
    from tests.migration.conftest import Project
    from tests.support.pgbouncer import PgBouncer
    from tests.support.postgres_server import PostgresServer

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]

# More for the acceptance: PULSEBASE_SOAK_ROUNDS=50 python -m pytest tests/migration -k at_once
ROUNDS = int(os.environ.get("PULSEBASE_SOAK_ROUNDS", "4"))

# Each of these fails, or leaves a second row, when it is applied twice.
FILES: dict[str, str | bytes] = {
    "001_first": "create table first (i int); insert into first values (1);",
    "002_second": "create table second (i int); select pg_sleep(0.02);",
    "003_third": "insert into first values (3); create function third() returns int return 3;",
    "004_fourth": "insert into second values (4);",
}
CLEAN = """
drop table if exists public.migrations, public.first, public.second;
drop function if exists public.third();
"""


@pytest.fixture(scope="module")
def eight() -> Iterator[Runners]:
    with Runners(8) as runners:
        yield runners


def assert_applied_once(answers: list[dict[str, Any]], url: str, ids: list[str]) -> None:
    assert [answer["error"] for answer in answers if "error" in answer] == []
    appliers = [
        id_
        for answer in answers
        for id_, outcome in answer["outcomes"].items()
        if outcome == "applied"
    ]
    assert sorted(appliers) == ids
    with psycopg.connect(url) as connection:
        recorded = connection.execute("select id from public.migrations order by id").fetchall()
    assert [id_ for (id_,) in recorded] == ids


@pytest.mark.timeout(600)
def test_eight_at_once_over_direct_connections(
    postgres: PostgresServer, eight: Runners, write: Write, folder: Path
) -> None:
    write(FILES)
    for _ in range(ROUNDS):
        name = postgres.create_database()
        answers = eight.migrate(folder, postgres.url(name))
        assert_applied_once(answers, postgres.url(name), list(FILES))
        postgres.drop_database(name)


@pytest.mark.timeout(600)
def test_eight_at_once_through_a_transaction_pooler(
    postgres: PostgresServer, pgbouncer: PgBouncer, eight: Runners, write: Write, folder: Path
) -> None:
    write(FILES)
    for _ in range(ROUNDS):
        name = postgres.create_database()
        answers = eight.migrate(folder, f"{pgbouncer.url(name)}?pgbouncer=true")
        assert_applied_once(answers, postgres.url(name), list(FILES))
        postgres.drop_database(name)


@pytest.mark.timeout(600)
def test_eight_at_once_over_http(
    project: Project, eight: Runners, write: Write, folder: Path, sql: Sql
) -> None:
    write(FILES)
    for _ in range(ROUNDS):
        sql(CLEAN)
        answers = eight.migrate(folder, project.url, project.key)
        assert_applied_once(answers, project.server.database_url, list(FILES))


def test_direct_and_http_at_once(
    project: Project, eight: Runners, write: Write, folder: Path
) -> None:
    write(FILES)
    eight.begin(folder, project.url, project.key)
    with connect(project.server.database_url) as connection:
        own = Migrator(connection, read_folder(folder)).apply()
    answers = [*eight.answers(), {"outcomes": {file.id: file.outcome for file in own.files}}]
    assert_applied_once(answers, project.server.database_url, list(FILES))


@pytest.mark.timeout(300)
def test_files_without_a_transaction_are_applied_once(
    postgres: PostgresServer, eight: Runners, write: Write, folder: Path
) -> None:
    files: dict[str, str | bytes] = {
        "001_table": "create table t (i int); insert into t select generate_series(1, 20000);",
        "002_index": "-- pulsebase: no transaction\n"
        "create index concurrently t_i on t (i);\ninsert into t values (0);",
        "003_more": "insert into t values (-1);",
        "004_index": "-- pulsebase: no transaction\ndrop index concurrently t_i;",
    }
    write(files)
    for _ in range(ROUNDS):
        name = postgres.create_database()
        answers = eight.migrate(folder, postgres.url(name))
        assert_applied_once(answers, postgres.url(name), list(files))
        with psycopg.connect(postgres.url(name)) as connection:
            rows = connection.execute("select count(*) from t where i < 1").fetchone()
            invalid = connection.execute("select 1 from pg_index where not indisvalid").fetchall()
        assert (rows, invalid) == ((2,), [])
        postgres.drop_database(name)


@pytest.mark.parametrize("options", ["", "-- pulsebase: no transaction\n"])
def test_the_next_run_finishes_what_a_killed_one_began(
    empty_database: str, write: Write, folder: Path, sql: Sql, options: str
) -> None:
    slow = f"{options}create table if not exists slow (i int);\nselect pg_sleep(600);"
    write({"001_a": "create table a (i int)", "002_slow": slow})
    with Runners(1) as runners:
        runners.begin(folder, empty_database)
        sleeping = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
        wait_until(lambda: sql(sleeping), "the slow file is at work")
        runners.processes[0].kill()
        wait_until(lambda: not sql(sleeping), "the server has noticed", timeout_seconds=30)
    assert sql("select id from migrations") == [("001_a",)]
    assert sql("select to_regclass('slow') is null") == [(not options,)]
    write({"001_a": "create table a (i int)", "002_slow": slow.replace("600", "0")})
    with connect(empty_database) as connection:
        assert [file.id for file in Migrator(connection, read_folder(folder)).apply().files] == [
            "002_slow"
        ]


def test_another_runner_waits_for_a_slow_file(
    empty_database: str, write: Write, folder: Path
) -> None:
    write({"001_slow": "select pg_sleep(1)", "002_b": "select 2"})
    with Runners(2) as runners:
        answers = runners.migrate(folder, empty_database)
    assert_applied_once(answers, empty_database, ["001_slow", "002_b"])


def test_a_runner_that_waits_too_long_says_where_to_look(
    empty_database: str, write: Write, folder: Path, sql: Sql
) -> None:
    catalog = write({"001_slow": "select pg_sleep(600)"})
    with Runners(1) as runners:
        runners.begin(folder, empty_database)
        sleeping = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
        wait_until(lambda: sql(sleeping), "the slow file is at work")
        with (
            connect(empty_database) as connection,
            pytest.raises(Exception, match="pg_stat_activity"),
        ):
            Migrator(connection, catalog, wait_seconds=0.1).apply()


def test_a_file_without_a_transaction_is_refused_behind_a_transaction_pooler(
    postgres: PostgresServer, pgbouncer: PgBouncer, write: Write
) -> None:
    """Told by what the pooler does, not by the URL; and before anything is applied."""
    catalog = write({"001_a": "select 1", "002_v": "-- pulsebase: no transaction\nvacuum;"})
    name = postgres.create_database()
    with (
        connect(pgbouncer.url(name)) as connection,
        pytest.raises(Exception, match=r"002_v\.sql asks for no transaction, and behind a"),
    ):
        Migrator(connection, catalog).apply()
    with connect(postgres.url(name)) as connection:
        assert Migrator(connection, catalog).apply().count == 2


def test_a_statement_without_a_transaction_that_fails_says_what_is_done(
    empty_database: str, write: Write, folder: Path
) -> None:
    text = "-- pulsebase: no transaction\nvacuum;\n create index concurrently i on nix (a);"
    with (
        connect(empty_database) as connection,
        pytest.raises(Exception, match="This was statement 2 of 2") as caught,
    ):
        Migrator(connection, write({"001_v": text})).apply()
    assert str(caught.value).startswith(f'{folder}/001_v.sql:3:2: relation "nix" does not exist')


def test_two_command_lines_at_once_both_end_well(
    empty_database: str, folder: Path, write: Write
) -> None:
    write(FILES)
    command = [sys.executable, "-c", "from pulsebase.cli import main; main()", "db", "migrate"]
    both = [
        subprocess.Popen(
            [*command, "--dir", str(folder), "--url", empty_database],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    printed = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for id_ in FILES:
        assert sum(f"applied {id_}" in text for text in printed) == 1
