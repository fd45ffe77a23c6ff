"""The servers that the tests lean on start, answer as the real thing does, and are gone after."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.support.node_parts import DBMATE
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.requirement import require
from tests.support.server_process import ServerProcess, scratch_folder
from tests.support.supabase_roles import create_roles, set_default_privileges
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.lite_server import LiteServer
    from tests.support.pgbouncer import PgBouncer
    from tests.support.postgrest_server import PostgrestServer
    from tests.support.supabase_roles import DefaultPrivileges


def _one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def _is_alive(process_id: int) -> bool:
    return Path(f"/proc/{process_id}").exists()


@pytest.mark.parametrize("major", [15, 16, 17, 18])
def test_each_supported_postgresql_starts(
    major: int, postgres_of_major: Callable[[int], PostgresServer]
) -> None:
    server = postgres_of_major(major)
    assert str(_one(server.url(), "show server_version")).startswith(str(major))


def test_a_server_is_gone_afterwards_and_leaves_no_files() -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        assert _one(server.url(), "show fsync") == "on"
        process_id = server.process.process_id
        folder = server.process.log_path.parent
    assert not _is_alive(process_id)
    assert not folder.exists()


def test_a_killed_server_comes_back_on_the_same_port() -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)]) as server:
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.url(), connect_timeout=2)
        server.start()
        assert _one(server.url(), "select 1") == 1


def test_binaries_that_the_servers_user_cannot_reach_are_copied(tmp_path: Path) -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    installation = servers[max(servers)].parent
    package = installation.parent
    locked = tmp_path / "locked"
    (locked / package.name).mkdir(parents=True)
    (locked / package.name / installation.name).symlink_to(installation)
    (locked / f"{package.name}.libs").symlink_to(package.with_name(f"{package.name}.libs"))
    locked.chmod(stat.S_IRWXU)
    with PostgresServer(locked / package.name / installation.name / "bin") as server:
        assert _one(server.url(), "select 1") == 1


def test_each_test_gets_a_migrated_database_of_its_own(database: str) -> None:
    assert _one(database, "select count(*) from service_health_checks") == 0


def test_an_empty_database_has_no_tables(empty_database: str) -> None:
    query = "select count(*) from pg_tables where schemaname = 'public'"
    assert _one(empty_database, query) == 0


@pytest.mark.parametrize(("flavour", "granted"), [("old", True), ("new", False)])
def test_default_privileges_are_those_of_old_and_new_projects(
    flavour: DefaultPrivileges, granted: bool, empty_database: str
) -> None:
    create_roles(empty_database)
    set_default_privileges(empty_database, flavour)
    with psycopg.connect(empty_database) as connection:
        connection.execute("create table notes (id int)")
    assert _one(empty_database, "select has_table_privilege('anon', 'notes', 'select')") is granted


def test_postgrest_answers_the_service_key_and_nobody_else(postgrest: PostgrestServer) -> None:
    def status_code(key: str) -> int:
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        return httpx.get(f"{postgrest.url}/alert_events", headers=headers).status_code

    assert status_code(postgrest.service_key) == httpx.codes.OK
    assert status_code(postgrest.anon_key) == httpx.codes.UNAUTHORIZED
    assert status_code(postgrest.expired_key) == httpx.codes.UNAUTHORIZED
    assert "/rpc/create_health_check" in postgrest.paths()


def test_postgrest_cuts_answers_at_the_row_cap(postgrest: PostgrestServer) -> None:
    with psycopg.connect(postgrest.database_url) as connection:
        connection.execute(
            "insert into service_health_checks (service_name, status)"
            " select 'cut at the cap', 'healthy' from generate_series(1, 1200)"
        )
    answer = httpx.get(
        f"{postgrest.url}/service_health_checks",
        params={"service_name": "eq.cut at the cap"},
        headers={"Authorization": f"Bearer {postgrest.service_key}"},
    )
    assert (answer.status_code, len(answer.json())) == (httpx.codes.OK, 1000)


def test_postgrest_sees_a_new_function_after_a_reload(
    empty_database: str, start_postgrest: Callable[[str], PostgrestServer]
) -> None:
    set_default_privileges(empty_database, "old")
    server = start_postgrest(empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("create function public.greet() returns text return 'hello'")
    server.reload_schema("/rpc/greet")
    assert "/rpc/greet" in server.paths()


def test_lite_answers_the_secret_key_and_nobody_else(lite: LiteServer) -> None:
    def status_code(key: str) -> int:
        url = f"{lite.url}/rest/v1/rpc/count_health_checks_by_status"
        return httpx.post(url, json={}, headers={"apikey": key}).status_code

    assert status_code(lite.service_key) == httpx.codes.OK
    assert status_code(lite.anon_key) in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
    assert status_code("sb_secret_wrong") == httpx.codes.UNAUTHORIZED


def test_lite_sees_a_new_table_after_a_restart(
    empty_database: str, start_lite: Callable[[str], LiteServer]
) -> None:
    set_default_privileges(empty_database, "old")
    server = start_lite(empty_database)

    def notes() -> httpx.Response:
        return httpx.get(f"{server.url}/rest/v1/notes", headers={"apikey": server.service_key})

    assert notes().status_code == httpx.codes.NOT_FOUND
    with psycopg.connect(empty_database) as connection:
        connection.execute("create table notes (id int primary key)")
    assert notes().status_code == httpx.codes.NOT_FOUND
    server.restart()
    assert notes().json() == []


def test_pgbouncer_gives_a_session_for_one_transaction_only(
    pgbouncer: PgBouncer, database: str
) -> None:
    url = pgbouncer.url(urlsplit(database).path.removeprefix("/"))
    with psycopg.connect(url, autocommit=True) as first, psycopg.connect(url) as second:
        lent = second.execute("select pg_backend_pid()").fetchone()
        other = first.execute("select pg_backend_pid()").fetchone()
        assert lent != other
        second.rollback()
        assert {first.execute("select pg_backend_pid()").fetchone() for _ in range(5)} <= {
            lent,
            other,
        }
    with psycopg.connect(pgbouncer.url("pgbouncer"), autocommit=True) as console:
        modes = {row[7] for row in console.execute("show databases").fetchall()}
    assert modes


def test_dbmate_is_the_real_program() -> None:
    require("no dbmate for this machine: install Node.js and run make", DBMATE.exists())
    assert os.access(DBMATE, os.X_OK)


def test_a_server_that_ends_at_once_shows_the_end_of_its_log() -> None:
    with scratch_folder("ends") as folder:
        process = ServerProcess(["sh", "-c", "echo out of luck; exit 3"], folder=folder)
        with pytest.raises(RuntimeError, match="out of luck"):
            process.start(lambda: False)


def test_waiting_in_vain_names_what_was_waited_for() -> None:
    with pytest.raises(TimeoutError, match="a pig flies"):
        wait_until(lambda: False, "a pig flies", timeout_seconds=0.05)


async def test_async_waiting_takes_a_coroutine() -> None:
    answers = iter([0, 0, 7])

    async def next_answer() -> int:
        return next(answers)

    assert await wait_until_async(next_answer, "a number comes") == 7
