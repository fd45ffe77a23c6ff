"""Real servers that refuse, are away, are slow or come back: each its typed error and sentence."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from pulsebase import HealthCheckModel, NewHealthCheck, errors
from pulsebase.connection import Call
from pulsebase.transports.request import Request
from pulsebase.verbs import operation
from tests.contract.callers import AsyncCaller, Caller, Door, SyncCaller
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.supabase_roles import create_roles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.lite_server import LiteServer
    from tests.support.pgbouncer import PgBouncer
    from tests.support.postgrest_server import PostgrestServer

PASSWORD = "right-password"  # noqa: S105 -- of a throw-away server


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
def open_caller(request: pytest.FixtureRequest) -> Iterator[Callable[..., Caller]]:
    """A function that opens a caller over a URL, in both colours."""
    opened: list[Caller] = []

    def open_one(url: str, key: str | None = None, **options: Any) -> Caller:
        caller: Caller = request.param(Door(url, url, key), **options)
        opened.append(caller)
        return caller

    yield open_one
    for caller in opened:
        caller.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """A server of this module's own, which tests may kill, and which asks `app` for a password."""
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        server.execute(f"create role app login password '{PASSWORD}'")
        rules = server.process.log_path.parent / "data" / "pg_hba.conf"
        rules.write_text("host all app 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        server.execute("select pg_reload_conf()")
        create_roles(server.url())
        yield server


@pytest.fixture
def own_database(own_server: PostgresServer) -> str:
    """A migrated database on the server that may be killed."""
    from tests.support.migrating import migrate

    url = own_server.url(own_server.create_database())
    migrate(url)
    return url


def _record(call: Caller) -> None:
    call(HealthCheckModel.create, service_name=f"live-{uuid4()}", status="healthy")


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@operation
def sleep(seconds: float) -> Call[Any]:
    """A call that takes long."""
    return Call(Request("wait_for", {"seconds": str(seconds)}), lambda answer: answer)


WAIT_FOR = """
create function public.wait_for(seconds double precision) returns jsonb language sql
as $$ select to_jsonb(pg_sleep(seconds)::text) $$
"""


def test_a_refused_connection_names_host_and_port(open_caller: Any) -> None:
    port = free_port()
    call = open_caller(
        f"postgresql://app:{PASSWORD}@127.0.0.1:{port}/app", connect_timeout_seconds=2
    )
    with (
        _within(4),
        pytest.raises(errors.UnavailableError, match=rf"127\.0\.0\.1:{port}") as caught,
    ):
        _record(call)
    assert "\n" not in str(caught.value)
    call = open_caller(f"http://127.0.0.1:{port}", "a.b.c", connect_timeout_seconds=2)
    with _within(4), pytest.raises(errors.UnavailableError, match=rf"127\.0\.0\.1:{port}"):
        _record(call)


def test_a_host_that_does_not_exist_is_named(open_caller: Any) -> None:
    for url in ("postgresql://a@host.invalid:5432/x", "https://host.invalid"):
        with pytest.raises(errors.UnavailableError, match=r"host\.invalid"):
            _record(open_caller(url, "a.b.c", connect_timeout_seconds=2))


@contextmanager
def _silent_port(*, accepting: bool) -> Iterator[int]:
    """A port that takes connections and says nothing, or that does not even take them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100 if accepting else 0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(0 if accepting else 3):  # the backlog is full then; the kernel drops more
            waiting.append(socket.socket())
            waiting[-1].settimeout(0)
            waiting[-1].connect_ex(("127.0.0.1", port))
        yield port
        for one in waiting:
            one.close()


@pytest.mark.parametrize("accepting", [True, False], ids=["silent", "unreachable"])
def test_a_direct_connection_is_given_up_within_the_timeout(
    open_caller: Any, accepting: bool
) -> None:
    with _silent_port(accepting=accepting) as port:
        call = open_caller(f"postgresql://app@127.0.0.1:{port}/app", connect_timeout_seconds=2)
        with _within(3.5), pytest.raises(errors.ConnectTimeoutError, match=str(port)):
            _record(call)


@pytest.mark.parametrize("accepting", [True, False], ids=["silent", "unreachable"])
def test_an_http_connection_is_given_up_within_the_timeout(
    open_caller: Any, accepting: bool
) -> None:
    with _silent_port(accepting=accepting) as port:
        call = open_caller(f"http://127.0.0.1:{port}", "a.b.c", connect_timeout_seconds=1)
        with _within(2.5), pytest.raises(errors.DatabaseError, match=str(port)):
            _record(call)


def test_a_wrong_password_is_told_at_once(open_caller: Any, own_server: PostgresServer) -> None:
    for password in ("wrong", ""):
        url = own_server.url(user=f"app:{password}")
        with (
            _within(3),
            pytest.raises(errors.AuthenticationError, match="check the key or password"),
        ):
            _record(open_caller(url))


def test_a_database_that_is_not_there_is_named(
    open_caller: Any, own_server: PostgresServer
) -> None:
    with _within(1), pytest.raises(errors.DatabaseError, match='database "nowhere" does not exist'):
        _record(open_caller(own_server.url("nowhere")))
    with (
        _within(1),
        pytest.raises(errors.AuthenticationError, match='role "nobody" does not exist'),
    ):
        _record(open_caller(own_server.url(user="nobody")))


@pytest.mark.parametrize(
    "parameter", ["nonsense=1", "sslmode=maybe", "port=x", "options=-c%20nonsense%3D1"]
)
def test_a_url_that_libpq_refuses_is_a_configuration_error(
    open_caller: Any, own_server: PostgresServer, parameter: str
) -> None:
    with _within(1), pytest.raises(errors.ConfigurationError, match=r"parameter .* refuse"):
        _record(open_caller(f"{own_server.url()}?{parameter}"))


def test_options_in_the_url_reach_the_server(open_caller: Any, own_database: str) -> None:
    url = f"{own_database}?options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(errors.DatabaseError, match="read-only"):
        _record(open_caller(url))


def test_missing_tables_say_to_migrate(open_caller: Any, empty_database: str) -> None:
    with pytest.raises(errors.NotMigratedError, match="pulsebase db migrate"):
        _record(open_caller(empty_database))


def test_missing_tables_say_to_migrate_over_http(
    open_caller: Any,
    empty_database: str,
    start_postgrest: Callable[[str], PostgrestServer],
    start_lite: Callable[[str], LiteServer],
) -> None:
    for start in (start_postgrest, start_lite):
        server = start(empty_database)
        with pytest.raises(errors.StaleSchemaCacheError, match="pulsebase db migrate"):
            _record(open_caller(server.url, server.service_key))


def test_wrong_keys_are_told(
    open_caller: Any, postgrest: PostgrestServer, lite: LiteServer
) -> None:
    wrong = [
        (postgrest.url, "a.b.c"),
        (postgrest.url, f"{postgrest.service_key[:-6]}AAAAAA"),
        (postgrest.url, postgrest.expired_key),
        (lite.url, "sb_secret_of_another_project"),
    ]
    for url, key in wrong:
        with pytest.raises(errors.AuthenticationError) as caught:
            _record(open_caller(url, key))
        assert key not in str(caught.value)


def test_the_public_keys_may_do_nothing(
    open_caller: Any, postgrest: PostgrestServer, lite: LiteServer
) -> None:
    public = [
        (postgrest.url, postgrest.anon_key),
        (postgrest.url, postgrest.authenticated_key),
        (lite.url, lite.anon_key),
    ]
    for url, key in public:
        with pytest.raises(errors.PermissionDeniedError, match="use the service key"):
            _record(open_caller(url, key))


def test_a_missing_grant_is_told(open_caller: Any, database: str) -> None:
    url = database.replace("postgres@", "authenticator@")
    with pytest.raises(errors.PermissionDeniedError, match="grant it access"):
        _record(open_caller(url))


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooler"])
def test_a_statement_is_ended_by_the_timeout(
    open_caller: Any, database: str, pgbouncer: PgBouncer, pooled: bool
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(WAIT_FOR)
    name = database.rpartition("/")[2]
    url = f"{pgbouncer.url(name)}?pgbouncer=true" if pooled else database
    call = open_caller(url, statement_timeout_seconds=0.3)
    with _within(3), pytest.raises(errors.StatementTimeoutError):
        call(sleep, 30)
    assert call(sleep, 0) == ""
    with psycopg.connect(url.partition("?")[0], autocommit=True) as other:
        row = other.execute("show statement_timeout").fetchone()
    assert row == ("0",), "the timeout leaked into a pooled session"


def test_a_lock_that_is_not_had_in_time_is_a_lock_timeout(open_caller: Any, database: str) -> None:
    call = open_caller(f"{database}?options=-c%20lock_timeout%3D100")
    with psycopg.connect(database) as other:
        other.execute("lock table service_health_checks in access exclusive mode")
        with _within(6), pytest.raises(errors.LockTimeoutError):
            _record(call)
        other.rollback()
    _record(call)


def test_a_lock_that_is_given_back_is_waited_for(open_caller: Any, database: str) -> None:
    call = open_caller(f"{database}?options=-c%20lock_timeout%3D300")
    with ThreadPoolExecutor() as threads, psycopg.connect(database) as other:
        other.execute("lock table service_health_checks in access exclusive mode")
        waiting = threads.submit(_record, call)
        other.execute("select pg_sleep(0.5)")  # longer than one attempt waits
        other.rollback()
        waiting.result(10)


def test_the_next_call_works_after_a_crash_and_restart(
    open_caller: Any, own_server: PostgresServer, own_database: str
) -> None:
    call = open_caller(own_database, connect_timeout_seconds=2)
    checks = [NewHealthCheck(service_name="crash", status="healthy") for _ in range(1500)]
    _record(call)
    for recover in (
        lambda: _record(call),
        lambda: call(HealthCheckModel.create_many, checks=checks),
    ):
        own_server.kill()
        own_server.start()
        recover()
    assert call(HealthCheckModel.count_by_status, service_name="crash").total == 1500


def test_sessions_that_are_ended_are_replaced(open_caller: Any, database: str) -> None:
    call = open_caller(database)
    _record(call)
    with psycopg.connect(database, autocommit=True) as other:
        other.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    with _within(3):
        _record(call)


def test_a_server_that_stays_away_is_told_soon(
    open_caller: Any, own_server: PostgresServer, own_database: str
) -> None:
    """Also when a pool is open already, whose own habit is to wait and to hide the reason."""
    call = open_caller(own_database, connect_timeout_seconds=2)
    _record(call)
    own_server.stop()
    try:
        with _within(4), pytest.raises(errors.UnavailableError, match=str(own_server.port)):
            _record(call)
    finally:
        own_server.start()
    _record(call)


def test_many_calls_at_once_share_the_pool(open_caller: Any, database: str) -> None:
    import asyncio

    call = open_caller(database)
    if isinstance(call, AsyncCaller):

        async def gather(connection: Any) -> None:
            create = HealthCheckModel.create
            await asyncio.gather(
                *(create(connection, service_name="many", status="healthy") for _ in range(60))
            )

        call(gather)
    else:
        with ThreadPoolExecutor(20) as threads:
            create = HealthCheckModel.create
            list(
                threads.map(
                    lambda _: call(create, service_name="many", status="healthy"), range(60)
                )
            )
    assert call(HealthCheckModel.count_by_status, service_name="many").total == 60
