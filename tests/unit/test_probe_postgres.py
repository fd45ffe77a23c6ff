"""The kind `postgres` judges real servers by their answer, their followers and their room."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError
from pulsebase.probes import UnknownHealthError
from pulsebase.probes.postgres import PostgresProbe
from pulsebase.probes.support.expected_value import ExpectedValue
from tests.support.looking import look_once
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.postgres_standby import PostgresStandby
from tests.support.requirement import require
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.pgbouncer import PgBouncer

SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
PASSWORD = "correct-horse-battery"  # noqa: S105 -- opens only what this test makes


def expecting(**expectation: Any) -> ExpectedValue:
    return ExpectedValue(**expectation)


async def test_a_server_that_answers_is_healthy_and_says_what_it_is(
    postgres: PostgresServer,
) -> None:
    outcome = await look_once(PostgresProbe(url=postgres.url()))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["in_recovery"] is False
    assert int(outcome.details["server_version"].split(".")[0]) >= 15
    assert outcome.details["phases_ms"].keys() == {"connect", "query", "total"}


@pytest.mark.parametrize("major", [15, 16, 17, 18])
async def test_every_supported_major(
    postgres_of_major: Callable[[int], PostgresServer], major: int
) -> None:
    probe = PostgresProbe(
        url=postgres_of_major(major).url(),
        query="select current_setting('server_version_num')::int / 10000",
        expect=expecting(value=str(major)),
        down_connections_left=10,
    )
    outcome = await look_once(probe)
    assert outcome.status == "healthy"
    assert outcome.details["connections"]["max"] == 200


@pytest.mark.parametrize(
    ("query", "expect", "status"),
    [
        ("select 7", {"value": "7"}, "healthy"),
        ("select 7", {"value": "8"}, "down"),
        ("select 7, 'more'", {"value": "7"}, "healthy"),
        ("select 1 = 1", {"value": "true"}, "healthy"),
        ("values ('grün')", {"value": "grün"}, "healthy"),
        ("select 7 -- with a comment", {"at_least": 7, "at_most": 7}, "healthy"),
        ("select 7;\n", {"at_least": 7.5}, "down"),
        ("select 1e400::numeric", {"at_most": 10}, "down"),
        ("select 'NaN'::float", {"at_least": 0}, "down"),
        ("select 'seven'", {"at_most": 10}, "down"),
        ("select 7 where false", {"value": "7"}, "down"),
        ("select null", {"value": "7"}, "down"),
        ("select null", None, "healthy"),
        ("with a as (values (5), (6)) table a order by 1 desc", {"value": "6"}, "healthy"),
    ],
)  # fmt: skip
async def test_the_first_value_must_be_as_expected(
    postgres: PostgresServer, query: str, expect: dict[str, Any] | None, status: str
) -> None:
    wanted = ExpectedValue(**(expect or {}))
    outcome = await look_once(PostgresProbe(url=postgres.url(), query=query, expect=wanted))
    assert outcome.status == status
    if status == "down":
        assert outcome.details["failed"]["expectation"] in {"value", "at_least", "at_most"}
        assert outcome.latency_ms is not None


async def test_what_was_got_is_said(postgres: PostgresServer) -> None:
    probe = PostgresProbe(url=postgres.url(), query="select 41", expect=expecting(value="42"))
    failed = {"expectation": "value", "expected": "42", "got": "41"}
    assert (await look_once(probe)).details["failed"] == failed


@pytest.mark.parametrize(
    "query",
    [
        "select nothing from nowhere",
        "select 1; select 2",
        "select",
        "create table made (n int)",
        "select set_config('a.b', 'c', false) from made_up",
        "select 1)) from pg_class --",
    ],
)
async def test_a_query_that_fails_is_down(postgres: PostgresServer, query: str) -> None:
    outcome = await look_once(PostgresProbe(url=postgres.url(), query=query))
    if query == "select":  # no column at all
        assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "query"
    assert outcome.latency_ms is None


async def test_a_query_cannot_write(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table kept (n int)")
        connection.execute(
            "create function writes() returns int language sql as "
            "'insert into kept values (1) returning n'"
        )
    outcome = await look_once(PostgresProbe(url=database, query="select writes()"))
    assert outcome.details["error"]["kind"] == "query"
    assert "read-only" in outcome.details["error"]["message"]
    with psycopg.connect(database) as connection:
        assert connection.execute("select count(*) from kept").fetchone() == (0,)


async def test_a_query_that_runs_for_ever_ends_with_the_timeout_here_and_there(
    database: str,
) -> None:
    probe = PostgresProbe(url=database, query="select pg_sleep(600)::text")
    outcome = await look_once(probe, timeout_seconds=0.5)
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "timeout"

    def nobody_sleeps() -> bool:
        with psycopg.connect(database, autocommit=True) as connection:
            found = connection.execute(
                "select count(*) from pg_stat_activity "
                "where query ~ 'pg_sleep' and pid <> pg_backend_pid() and state = 'active'"
            ).fetchone()
            return found == (0,)

    await wait_until_async(nobody_sleeps, "the server has given the query up")


async def test_through_a_transaction_pooler_sessions_are_handed_back(
    postgres: PostgresServer, pgbouncer: PgBouncer, database: str
) -> None:
    name = database.rpartition("/")[2]
    for _ in range(30):
        probe = PostgresProbe(
            url=pgbouncer.url(name), query="select 1", expect=expecting(value="1")
        )
        assert (await look_once(probe)).status == "healthy"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        used = connection.execute(
            "select count(*) from pg_stat_activity where datname = %s", [name]
        ).fetchone()
    assert used is not None
    assert 1 <= used[0] <= 2
    with psycopg.connect(pgbouncer.url(name), prepare_threshold=None) as connection:
        assert connection.execute("show statement_timeout").fetchone() == ("0",)


async def test_few_connections_left_is_degraded_and_fewer_is_down(postgres: PostgresServer) -> None:
    limits: dict[str, Any] = {"url": postgres.url()}
    outcome = await look_once(PostgresProbe(**limits, degraded_connections_left=199))
    assert outcome.status == "degraded"
    assert outcome.details["failed"]["expectation"] == "degraded_connections_left"
    left = outcome.details["connections"]["left"]
    assert outcome.details["failed"]["got"] == str(left)
    assert 100 < left < 198
    limits |= {"degraded_connections_left": 200, "down_connections_left": 199}
    outcome = await look_once(PostgresProbe(**limits))
    assert outcome.status == "down"
    assert outcome.details["failed"]["expectation"] == "down_connections_left"


async def test_connections_are_counted_for_a_role_that_may_not_see_others(
    postgres: PostgresServer,
) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("drop role if exists plain")
        connection.execute("create role plain login")
    others = [psycopg.connect(postgres.url()) for _ in range(5)]
    try:
        seen = [
            (await look_once(PostgresProbe(url=url, degraded_connections_left=1))).details[
                "connections"
            ]["used"]
            for url in (postgres.url(), postgres.url(user="plain"))
        ]
    finally:
        for other in others:
            other.close()
    assert seen[0] == seen[1] >= 6


async def test_slow_answers(postgres: PostgresServer) -> None:
    query = "select pg_sleep(0.05)::text"
    tiny, small = timedelta(milliseconds=10), timedelta(milliseconds=20)
    outcome = await look_once(PostgresProbe(url=postgres.url(), query=query, degraded_above=tiny))
    assert outcome.status == "degraded"
    outcome = await look_once(PostgresProbe(url=postgres.url(), query=query, down_above=small))
    assert outcome.status == "down"
    assert outcome.details["failed"]["expectation"] == "down_above"


async def test_down_goes_before_degraded(postgres: PostgresServer) -> None:
    probe = PostgresProbe(
        url=postgres.url(), degraded_connections_left=199, down_above=timedelta(microseconds=1)
    )
    outcome = await look_once(probe)
    assert (outcome.status, outcome.details["failed"]["expectation"]) == ("down", "down_above")


@pytest.fixture(scope="module")
def primary() -> Iterator[PostgresServer]:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    folder = servers[max(servers)]
    require("no pg_basebackup beside the server", (folder / "pg_basebackup").exists())
    with PostgresServer(folder) as server:
        server.execute("create table work (n int); create role plain login")
        yield server


@pytest.fixture(scope="module")
def standby(primary: PostgresServer) -> Iterator[PostgresStandby]:
    servers = available_servers()
    with PostgresStandby(primary, servers[max(servers)]) as standby:
        yield standby


class TestReplication:
    async def test_a_standby_of_an_idle_primary_is_not_behind(
        self, primary: PostgresServer, standby: PostgresStandby
    ) -> None:
        primary.execute("insert into work values (1)")
        standby.catch_up()
        outcome = await look_once(
            PostgresProbe(url=standby.url(), degraded_lag=timedelta(milliseconds=1))
        )
        assert outcome.status == "healthy"
        assert outcome.details["in_recovery"] is True
        assert outcome.details["lag_seconds"] == 0

    async def test_a_standby_that_has_not_replayed_what_it_received_is_behind(
        self, primary: PostgresServer, standby: PostgresStandby
    ) -> None:
        primary.execute("insert into work values (1)")
        standby.catch_up()
        standby.execute("select pg_wal_replay_pause()")
        try:
            await wait_until_async(lambda: _is_paused(standby), "replay is paused")
            primary.execute("insert into work values (2)")
            probe = PostgresProbe(url=standby.url(), degraded_lag=timedelta(milliseconds=1))

            async def is_degraded() -> Any:
                outcome = await look_once(probe)
                return outcome if outcome.status == "degraded" else None

            outcome = await wait_until_async(is_degraded, "the standby is seen to be behind")
            assert outcome.details["failed"]["expectation"] == "degraded_lag"
            assert outcome.details["lag_seconds"] > 0
            hours = PostgresProbe(url=standby.url(), degraded_lag=HOUR, down_lag=2 * HOUR)
            assert (await look_once(hours)).status == "healthy"
            down = PostgresProbe(url=standby.url(), down_lag=timedelta(milliseconds=1))
            assert (await look_once(down)).status == "down"
        finally:
            standby.execute("select pg_wal_replay_resume()")

    async def test_a_primary_knows_how_far_its_standby_is(
        self, primary: PostgresServer, standby: PostgresStandby
    ) -> None:
        primary.execute("insert into work values (3)")
        standby.catch_up()
        outcome = await look_once(PostgresProbe(url=primary.url(), down_lag=HOUR))
        assert outcome.status == "healthy"
        assert outcome.details["in_recovery"] is False
        assert outcome.details["lag_seconds"] >= 0

    @pytest.mark.usefixtures("standby")
    async def test_a_role_that_may_not_see_the_lag_leaves_the_service_unknown(
        self, primary: PostgresServer
    ) -> None:
        probe = PostgresProbe(url=primary.url(user="plain"), down_lag=HOUR)
        with pytest.raises(UnknownHealthError, match="grant pg_monitor"):
            await look_once(probe)
        primary.execute("grant pg_monitor to plain")
        assert (await look_once(probe)).status == "healthy"
        primary.execute("revoke pg_monitor from plain")

    async def test_a_standby_whose_primary_is_gone_falls_behind(
        self, primary: PostgresServer, standby: PostgresStandby
    ) -> None:
        primary.execute("insert into work values (4)")
        standby.catch_up()
        primary.stop()
        try:
            probe = PostgresProbe(url=standby.url(), degraded_lag=timedelta(milliseconds=1))

            async def is_degraded() -> bool:
                return (await look_once(probe)).status == "degraded"

            await wait_until_async(is_degraded, "the standby is seen to be alone", 20)
        finally:
            primary.start()

    async def test_a_primary_that_nobody_follows_is_down(self, postgres: PostgresServer) -> None:
        outcome = await look_once(PostgresProbe(url=postgres.url(), down_lag=SECOND))
        assert outcome.status == "down"
        assert outcome.details["failed"]["got"] == "no standby is connected"


def _is_paused(standby: PostgresStandby) -> bool:
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        found = connection.execute("select pg_get_wal_replay_pause_state()").fetchone()
    return found == ("paused",)


@pytest.fixture(scope="module")
def locked() -> Iterator[PostgresServer]:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)]) as server:
        _ask_for_password(server)
        yield server


class TestPassword:
    async def test_the_right_password_opens(self, locked: PostgresServer) -> None:
        url = locked.url(user=f"guarded:{PASSWORD}")
        assert (await look_once(PostgresProbe(url=url))).status == "healthy"

    @pytest.mark.parametrize("user", ["guarded:wrong-secret-1234", "guarded"])
    async def test_a_wrong_password_is_an_authentication_error_without_it(
        self, locked: PostgresServer, user: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSFILE", "/dev/null")
        outcome = await look_once(PostgresProbe(url=locked.url(user=user)))
        assert outcome.status == "down"
        assert outcome.details["error"]["kind"] == "authentication"
        assert "wrong-secret-1234" not in json.dumps(outcome.details)

    async def test_a_password_that_a_server_repeats_is_hidden(self, locked: PostgresServer) -> None:
        url = locked.url(user=f"guarded:{PASSWORD}")
        # What the server says of it repeats the text that is no number.
        query = f"values ('{PASSWORD}'::int)"
        outcome = await look_once(PostgresProbe(url=url, query=query))
        assert outcome.details["error"]["kind"] == "query"
        assert PASSWORD not in json.dumps(outcome.details)
        assert "***" in outcome.details["error"]["message"]
        shown = PostgresProbe(
            url=url, query=f"select '{PASSWORD}'", expect=expecting(value="another")
        )
        assert PASSWORD not in json.dumps((await look_once(shown)).details)

    async def test_an_unknown_role_and_an_unknown_database_are_told_apart(
        self, postgres: PostgresServer
    ) -> None:
        nobody = await look_once(PostgresProbe(url=postgres.url(user="no_such_role")))
        assert nobody.details["error"]["kind"] == "authentication"
        nothing = await look_once(PostgresProbe(url=postgres.url("no_such_database")))
        assert nothing.details["error"]["kind"] == "query"


def _ask_for_password(server: PostgresServer) -> None:
    rule = "host all guarded 127.0.0.1/32 scram-sha-256"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"create role guarded login password '{PASSWORD}'".encode())
        connection.execute(
            "create table rules (line text, place serial);"  # noqa: S608 -- nothing from outside
            f"insert into rules (line) values ('{rule}');"
            "insert into rules (line) select * from"
            " regexp_split_to_table(pg_read_file(current_setting('hba_file')), '\\n');"
            "do $$ begin execute format('copy (select line from rules order by place) to %L',"
            " current_setting('hba_file')); end $$;"
            "select pg_reload_conf()".encode()
        )
        wait_until(
            lambda: (
                connection.execute(
                    "select count(*) from pg_hba_file_rules where user_name = '{guarded}'"
                ).fetchone()
                == (1,)
            ),
            "the rules are read",
        )


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"url": "mysql://a/b"}, "url"),
        ({"url": "postgresql:///only_a_database"}, "url"),
        ({"url": "postgresql://a:port/b"}, "url"),
        ({"url": "postgresql://a:70000/b"}, "url"),
        ({"url": "postgresql://a:1,b:2,c/d?port=1,2"}, "url"),
        ({"url": "postgresql://a/b?no_such_setting=1"}, "url"),
        ({"url": "postgresql://a/b?sslrootcert=/no/such/file"}, "url"),
        ({"url": "postgresql://a/b\x00"}, "url"),
        ({"query": " ; "}, "query"),
        ({"query": "select '\udc80'"}, "query"),
        ({"query": "select '\x00'"}, "query"),
        ({"expect": ExpectedValue(value="1")}, "query"),
        ({"degraded_lag": timedelta(0)}, "degraded_lag"),
        ({"degraded_lag": HOUR, "down_lag": SECOND}, "degraded_lag"),
        ({"down_connections_left": 0}, "down_connections_left"),
        ({"degraded_connections_left": 5, "down_connections_left": 5}, "degraded_connections_left"),
        ({"degraded_above": HOUR, "down_above": SECOND}, "degraded_above"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    smallest: dict[str, Any] = {"url": "postgresql://a/b"}
    with pytest.raises(InvalidValueError) as refused:
        PostgresProbe(**(smallest | keys))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "keys",
    [{"at_least": 2, "at_most": 1}, {"value": "x" * 1001}, {"at_least": 1, "at_most": -1}],
)
def test_an_expectation_that_nothing_fulfils_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises((InvalidValueError, InvalidFieldsError)):
        ExpectedValue(**keys)


def test_a_refused_url_is_shown_without_its_password() -> None:
    for url in ("postgresql://u:hidden-1234@a:port/b", "postgresql://u:hidden-1234@a/b?x=1"):
        with pytest.raises(InvalidValueError) as refused:
            PostgresProbe(url=url)
        assert "hidden-1234" not in str(refused.value)
    assert "hidden-1234" not in repr(PostgresProbe(url="postgresql://u:hidden-1234@a/b"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://db.example/app", "db.example"),
        ("postgres://u:p@[::1]:5432/app", "::1"),
        ("postgresql://one:1,two:2/app?target_session_attrs=primary", "one"),
        ("postgresql:///app?host=/run/postgresql", "/run/postgresql"),
    ],
)
def test_the_host_is_the_first_that_is_asked(url: str, host: str) -> None:
    assert PostgresProbe(url=url).host == host
