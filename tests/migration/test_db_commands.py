"""The commands `pulsebase db …` as a user types them, in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.migrations import packaged
from pulsebase.migrations.bootstrap import drop_text, install_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pulsebase.migrations import Catalog
    from tests.migration.conftest import Project

    Write = Callable[[dict[str, str | bytes]], Catalog]
    Sql = Callable[[str], list[tuple[Any, ...]]]

IDS = [file.id for file in packaged().files]


def pulsebase(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from pulsebase.cli import main; main()", "db", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_migrate_twice(empty_database: str) -> None:
    first = pulsebase("migrate", "--url", empty_database)
    assert (first.returncode, first.stderr) == (0, "")
    assert [line.split()[:2] for line in first.stdout.splitlines()] == [
        ["applied", id_] for id_ in IDS
    ]
    second = pulsebase("migrate", "--url", empty_database)
    assert (second.returncode, second.stdout, second.stderr) == (0, "nothing to do\n", "")


def test_migrate_prints_one_json_document(empty_database: str) -> None:
    document = json.loads(pulsebase("migrate", "--url", empty_database, "--json").stdout)
    assert [(file["id"], file["outcome"]) for file in document["files"]] == [
        (id_, "applied") for id_ in IDS
    ]
    assert json.loads(pulsebase("migrate", "--url", empty_database, "--json").stdout) == {
        "files": [],
        "advice": None,
    }


def test_a_failing_file_ends_with_1_and_shows_its_line(
    empty_database: str, folder: Path, write: Write
) -> None:
    write({"001_a": "select 1", "002_b": "select 1;\n\tselect nope;"})
    answer = pulsebase("migrate", "--url", empty_database, "--dir", str(folder))
    lines = answer.stderr.splitlines()
    assert answer.returncode == 1
    assert lines[0] == "    2 |         select nope;"
    assert lines[1].index("^") == lines[0].index("nope")
    assert lines[2] == "1 file before it applied"
    assert lines[3].startswith(f"error: {folder}/002_b.sql:2:9: column")
    assert len(lines) == 4


def test_status_shows_what_is_applied_pending_changed_and_missing(
    empty_database: str, folder: Path, write: Write
) -> None:
    write({"001_a": "select 1", "002_b": "select 2", "003_c": "select 3"})
    pulsebase("migrate", "--url", empty_database, "--dir", str(folder))
    write({"001_a": "select 1", "002_b": "select 4"})
    arguments = ("status", "--url", empty_database, "--dir", str(folder))
    answer = pulsebase(*arguments)
    assert [line.split()[:2] for line in answer.stdout.splitlines()] == [
        ["MIGRATION", "STATE"],
        ["001_a", "applied"],
        ["002_b", "changed"],
        ["003_c", "missing"],
    ]
    assert answer.stdout.splitlines()[1].endswith("ms")
    assert answer.stderr.count("problem: ") == 2
    document = json.loads(pulsebase(*arguments, "--json").stdout)
    assert [entry["state"] for entry in document["migrations"]] == ["applied", "changed", "missing"]
    assert len(document["problems"]) == 2


def test_new_lint_and_migrate_an_applications_own_folder(empty_database: str, folder: Path) -> None:
    made = pulsebase("new", "--dir", str(folder), "create", "users")
    assert made.stdout == f"{folder}/001_create_users.sql\n"
    (folder / "001_create_users.sql").write_text("create table users (id bigint primary key);\n")
    found = pulsebase("lint", "--dir", str(folder))
    assert found.returncode == 1
    assert [line.split(" ")[1] for line in found.stdout.splitlines()] == [
        "grant-missing:",
        "rls-missing:",
    ]
    document = json.loads(pulsebase("lint", "--dir", str(folder), "--json").stdout)
    assert [finding["line"] for finding in document["findings"]] == [1, 1]
    applied = pulsebase("migrate", "--dir", str(folder), "--url", empty_database)
    assert applied.stdout.startswith("applied 001_create_users in ")


def test_lint_finds_nothing_in_our_files() -> None:
    answer = pulsebase("lint")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_export_prints_where_the_files_are(folder: Path, write: Write) -> None:
    write({f"{number:03d}_step": "select 1" for number in range(1, 12)})
    assert pulsebase("export", "--dir", str(folder)).stdout.splitlines() == [
        f"{folder}/{id_}.sql" for id_ in IDS
    ]
    again = pulsebase("export", "--dir", str(folder), "--json")
    assert not any(file["written"] for file in json.loads(again.stdout)["files"])


def test_baseline_records_up_to_an_id(empty_database: str) -> None:
    answer = pulsebase("baseline", "--url", empty_database, "--up-to", IDS[0])
    assert answer.stdout == f"recorded {IDS[0]}\n"
    assert pulsebase("baseline", "--url", empty_database).returncode == 2


def test_bootstrap_prints_and_with_a_direct_url_installs_and_drops(
    empty_database: str, sql: Sql
) -> None:
    there = "select to_regprocedure('public.exec_sql(text)') is not null"
    assert pulsebase("bootstrap").stdout == install_text()
    assert pulsebase("bootstrap", "--drop").stdout == drop_text()
    assert sql(there) == [(False,)]
    for _ in range(2):
        assert pulsebase("bootstrap", "--url", empty_database).returncode == 0
        assert sql(there) == [(True,)]
    for _ in range(2):
        assert pulsebase("bootstrap", "--drop", "--url", empty_database).returncode == 0
        assert sql(there) == [(False,)]


@pytest.mark.parametrize(
    "flavour", ["", "alter default privileges grant all on functions to anon;"]
)
def test_only_the_service_role_may_execute_exec_sql(
    empty_database: str, sql: Sql, flavour: str
) -> None:
    sql(f"{flavour} create function public.exec_sql(q text) returns void language sql as ''")
    pulsebase("bootstrap", "--url", empty_database)
    assert sql(
        "select rolname from pg_roles where rolname in ('anon', 'authenticated', 'service_role')"
        " and has_function_privilege(oid, 'public.exec_sql(text)', 'execute')"
    ) == [("service_role",)]


def test_migrate_with_nothing_but_a_url_and_a_key(project: Project) -> None:
    address = ("--url", project.url, "--key", project.key)
    first = pulsebase("migrate", *address)
    assert (first.returncode, first.stdout.count("applied ")) == (0, len(IDS))
    assert pulsebase("migrate", *address).stdout == "nothing to do\n"


def test_without_exec_sql_the_error_is_one_line(bare_project: Project) -> None:
    answer = pulsebase("migrate", "--url", bare_project.url, "--key", bare_project.key)
    assert answer.returncode == 1
    assert len(answer.stderr.splitlines()) == 1
    assert "pulsebase db bootstrap" in answer.stderr
    assert bare_project.key not in answer.stderr


def test_no_password_is_shown_when_the_server_is_away() -> None:
    answer = pulsebase("migrate", "--url", "postgresql://user:canary@127.0.0.1:1/db")
    assert answer.returncode == 1
    assert "127.0.0.1:1" in answer.stderr
    assert "canary" not in answer.stderr


def test_the_installed_function_runs_a_script_in_one_transaction(
    empty_database: str, sql: Sql
) -> None:
    sql(install_text())
    with psycopg.connect(empty_database, autocommit=True) as connection:
        call = "select public.exec_sql(%s)"
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute(call, ("create table a (i int); select 1 / 0",))
        answer = connection.execute(
            call, ("select set_config('pulsebase.answer', '{\"a\": 1}', true)",)
        ).fetchone()
        nothing = connection.execute(call, ("create table b (i int)",)).fetchone()
    assert (answer, nothing) == (({"a": 1},), (None,))
    assert sql("select to_regclass('a'), to_regclass('b') is null") == [(None, False)]
