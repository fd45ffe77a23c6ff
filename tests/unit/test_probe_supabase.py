"""The kind `supabase` on the real PostgREST, on `@supabase/lite`, and on answers as documented.

Neither of the two has Storage or Realtime: a small server of the tests' own answers for them as the
documentation says that they do, and Realtime's WebSocket is served by the library `websockets`.
"""

from __future__ import annotations

import json
import ssl
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trustme
from websockets.asyncio.server import serve

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError
from pulsebase.probes import supabase as kind
from pulsebase.probes.supabase import SupabaseProbe
from tests.support.looking import look_once
from tests.support.lying_server import LyingServer, answers, repeats, resets, says, stalls
from tests.support.raw_server import RawServer, endless, silent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from websockets.asyncio.server import ServerConnection

    from tests.support.lite_server import LiteServer
    from tests.support.lying_server import Behaviour
    from tests.support.postgrest_server import PostgrestServer

SECRET = "sb_secret_made_up_for_tests"  # noqa: S105 -- opens nothing
HEALTH = b'{"version": "v2.180.0", "name": "GoTrue", "description": "registration"}'
JSON_TYPE = "Content-Type: application/json\r\n"

# A row for everybody, one behind row level security, and one that nobody was granted.
TABLES = """
create table if not exists probe_known (id int primary key, word text);
create table if not exists probe_hidden (id int primary key, word text);
create table if not exists probe_denied (id int primary key, word text);
insert into probe_known values (1, 'a, "b" & (c)') on conflict do nothing;
insert into probe_hidden values (1, 'a') on conflict do nothing;
alter table probe_hidden enable row level security;
grant select on probe_known, probe_hidden to anon, service_role;
"""


def prepare(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(TABLES)


@pytest.fixture(scope="module")
def rest(postgrest: PostgrestServer, http_database: str) -> Iterator[PostgrestServer]:
    prepare(http_database)
    postgrest.reload_schema("/probe_known")
    yield postgrest
    with psycopg.connect(http_database, autocommit=True) as connection:
        connection.execute("drop table probe_known, probe_hidden, probe_denied")
    # What is gone stays in the cache until the next reload, which every test asks for itself.


def at_rest(server: PostgrestServer, key: str, **keys: Any) -> SupabaseProbe:
    """A probe of the bare PostgREST, whose root is what a project has under `/rest/v1`."""
    return SupabaseProbe(url=server.url, key=key, checks=("rest",), rest_path="/", **keys)


def known_row(table: str = "probe_known", value: str = "1") -> dict[str, Any]:
    return {"table": table, "column": "id", "value": value}


class TestPostgrest:
    async def test_a_row_that_is_there_is_healthy(self, rest: PostgrestServer) -> None:
        outcome = await look_once(at_rest(rest, rest.service_key, **known_row()))
        assert outcome.status == "healthy"
        part = outcome.details["parts"]["rest"]
        assert part.keys() == {"status", "http_status", "latency_ms"}
        assert (part["status"], part["http_status"]) == ("healthy", 200)

    async def test_any_text_can_be_the_value(self, rest: PostgrestServer) -> None:
        keys = {"table": "probe_known", "column": "word", "value": 'a, "b" & (c)'}
        assert (await look_once(at_rest(rest, rest.anon_key, **keys))).status == "healthy"

    async def test_any_row_will_do_where_none_is_named(self, rest: PostgrestServer) -> None:
        outcome = await look_once(at_rest(rest, rest.anon_key, table="probe_known"))
        assert outcome.status == "healthy"

    async def test_a_row_that_row_level_security_hides_is_down_although_the_answer_is_200(
        self, rest: PostgrestServer
    ) -> None:
        seen = await look_once(at_rest(rest, rest.service_key, **known_row("probe_hidden")))
        assert seen.status == "healthy"
        hidden = await look_once(at_rest(rest, rest.anon_key, **known_row("probe_hidden")))
        assert hidden.status == "down"
        assert hidden.details["parts"]["rest"]["http_status"] == 200
        assert hidden.details["failed"]["expectation"] == "known_row"
        assert hidden.details["failed"]["expected"] == "a row of probe_hidden with id = 1"
        assert "row level security" in hidden.details["failed"]["got"]

    async def test_a_row_that_is_gone_is_down(self, rest: PostgrestServer) -> None:
        outcome = await look_once(at_rest(rest, rest.service_key, **known_row(value="2")))
        assert outcome.details["failed"]["expectation"] == "known_row"

    async def test_a_missing_grant_is_a_query_error(self, rest: PostgrestServer) -> None:
        outcome = await look_once(at_rest(rest, rest.anon_key, **known_row("probe_denied")))
        assert outcome.details["error"]["kind"] == "query"
        assert "permission denied" in outcome.details["error"]["message"]

    async def test_a_table_that_does_not_exist_is_down(self, rest: PostgrestServer) -> None:
        outcome = await look_once(at_rest(rest, rest.service_key, **known_row("probe_nothing")))
        assert outcome.status == "down"
        assert outcome.details["failed"]["expectation"] == "rest.status"
        assert outcome.details["failed"]["got"].startswith("404")

    @pytest.mark.parametrize("keys", [{}, known_row()])
    async def test_a_key_that_has_ended_is_an_authentication_error(
        self, rest: PostgrestServer, keys: dict[str, Any]
    ) -> None:
        outcome = await look_once(at_rest(rest, rest.expired_key, **keys))
        assert outcome.status == "down"
        assert outcome.details["error"]["kind"] == "authentication"
        assert "JWT expired" in outcome.details["error"]["message"]
        assert outcome.latency_ms is None
        assert rest.expired_key[:12] not in json.dumps(outcome.details)

    async def test_without_a_table_the_description_is_enough(self, rest: PostgrestServer) -> None:
        assert (await look_once(at_rest(rest, rest.service_key))).status == "healthy"


class TestLite:
    async def test_rest_and_auth_of_a_project_with_new_keys(
        self, lite: LiteServer, lite_database: str
    ) -> None:
        prepare(lite_database)
        lite.restart()
        probe = SupabaseProbe(url=lite.url, key=lite.service_key, **known_row())
        outcome = await look_once(probe)
        assert outcome.status == "healthy", outcome.details
        assert outcome.details["parts"].keys() == {"rest", "auth"}
        assert (await look_once(SupabaseProbe(url=lite.url, key=lite.service_key))).latency_ms
        hidden = SupabaseProbe(url=lite.url, key=lite.anon_key, **known_row("probe_hidden"))
        outcome = await look_once(hidden)
        assert outcome.details["failed"]["expectation"] == "known_row"
        assert outcome.details["parts"]["auth"]["status"] == "healthy"

    async def test_a_wrong_key_is_an_authentication_error_of_every_part(
        self, lite: LiteServer
    ) -> None:
        outcome = await look_once(SupabaseProbe(url=lite.url, key=SECRET))
        assert outcome.details["error"]["kind"] == "authentication"
        for part in ("rest", "auth"):
            assert outcome.details["parts"][part]["error"]["kind"] == "authentication"
        assert SECRET not in json.dumps(outcome.details)

    async def test_a_project_without_storage_is_down_and_says_which_part(
        self, lite: LiteServer
    ) -> None:
        probe = SupabaseProbe(url=lite.url, key=lite.service_key, checks=("auth", "storage"))
        outcome = await look_once(probe)
        assert outcome.status == "down"
        assert outcome.details["failed"]["expectation"] == "storage.status"
        assert outcome.details["parts"]["auth"]["status"] == "healthy"
        assert outcome.details["parts"]["storage"]["status"] == "down"


def by_path(**bodies: bytes) -> Behaviour:
    """Answer for each part as documented, and 404 for what is not given."""
    paths = {"rest": b"/rest/v1/", "auth": b"/auth/v1/health", "storage": b"/storage/v1/status"}

    async def behave(reader: Any, writer: Any, request: bytes) -> None:
        for part, path in paths.items():
            if path in request and part in bodies:
                await answers(bodies[part], headers=JSON_TYPE)(reader, writer, request)
                return
        await answers(b"", status="404 Not Found")(reader, writer, request)

    return behave


async def test_auth_and_storage_answer_as_documented() -> None:
    async with LyingServer(by_path(auth=HEALTH, storage=b"")) as server:
        probe = SupabaseProbe(url=server.url, key=SECRET, checks=("auth", "storage"))
        outcome = await look_once(probe)
    assert outcome.status == "healthy", outcome.details


@pytest.mark.parametrize(
    ("key", "bearer"),
    [(SECRET, None), ("sb_publishable_a", None), ("eyJhbGciOi.eyJyb2xlIjoi.c2ln", "same")],
)
async def test_a_jwt_goes_into_both_headers_and_a_new_key_into_one(
    key: str, bearer: str | None
) -> None:
    async with LyingServer(by_path(auth=HEALTH)) as server:
        await look_once(SupabaseProbe(url=server.url, key=key, checks=("auth",)))
    head = server.requests[0].decode()
    assert f"apikey: {key}\r\n" in head
    assert (f"Authorization: Bearer {key}\r\n" in head) == (bearer == "same")
    assert "User-Agent: pulsebase" in head


@pytest.mark.parametrize(
    ("behaviour", "expectation"),
    [
        (answers(b"<html>", headers="Content-Type: text/html\r\n"), "auth.answer"),
        (answers(b"[]"), "auth.answer"),
        (answers(b"[" * 100_000), "auth.answer"),
        (answers(b'{"message": "upstream"}', status="503 Service Unavailable"), "auth.status"),
        (answers(b"", status="301 Moved", headers="Location: /elsewhere\r\n"), "auth.status"),
    ],
)
async def test_an_answer_that_is_not_as_documented_is_down(
    behaviour: Behaviour, expectation: str
) -> None:
    async with LyingServer(behaviour) as server:
        outcome = await look_once(SupabaseProbe(url=server.url, key=SECRET, checks=("auth",)))
    assert outcome.status == "down"
    assert outcome.details["failed"]["expectation"] == expectation


@pytest.mark.parametrize("rows", [b"{}", b"[1]", b"null", b"not json", b'[{"id": 1}'])
async def test_what_is_no_list_of_rows_is_no_known_row(rows: bytes) -> None:
    async with LyingServer(by_path(rest=rows)) as server:
        probe = SupabaseProbe(url=server.url, key=SECRET, checks=("rest",), **known_row())
        outcome = await look_once(probe)
    assert outcome.details["failed"]["expectation"] == "known_row"


async def test_a_web_page_is_no_storage() -> None:
    page = answers(b"<html>", headers="Content-Type: text/html\r\n")
    async with LyingServer(page) as server:
        outcome = await look_once(SupabaseProbe(url=server.url, key=SECRET, checks=("storage",)))
    assert outcome.details["failed"]["expectation"] == "storage.answer"


async def test_a_paused_project_says_so() -> None:
    async with LyingServer(answers(b"", status="540 Paused")) as server:
        outcome = await look_once(SupabaseProbe(url=server.url, key=SECRET))
    assert "paused" in outcome.details["error"]["message"]


@pytest.mark.parametrize(
    ("behaviour", "error_kind"),
    [
        (stalls(), "timeout"),
        (resets(), "reset"),
        (says(b"SSH-2.0-OpenSSH\r\n"), "protocol"),
        (repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65_536), "body_too_large"),
        (answers(b'{"message": "%s"}' % SECRET.encode(), status="401 No"), "authentication"),
    ],
)
async def test_a_hostile_server_is_down_with_the_right_kind(
    behaviour: Behaviour, error_kind: str
) -> None:
    started = time.monotonic()
    async with LyingServer(behaviour) as server:
        probe = SupabaseProbe(url=server.url, key=SECRET, **known_row())
        outcome = await look_once(probe, timeout_seconds=1)
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == error_kind
    assert outcome.details["error"]["message"].startswith("rest: ")
    assert SECRET not in json.dumps(outcome.details)


async def test_a_description_that_is_larger_than_the_bound_is_an_answer() -> None:
    large = repeats(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" " * 65_536)
    async with LyingServer(large) as server:
        outcome = await look_once(SupabaseProbe(url=server.url, key=SECRET, checks=("rest",)))
    assert outcome.status == "healthy"


async def test_slow_answers() -> None:
    tiny, small = timedelta(microseconds=1), timedelta(microseconds=2)
    async with LyingServer(by_path(auth=HEALTH)) as server:
        keys: dict[str, Any] = {"url": server.url, "key": SECRET, "checks": ("auth",)}
        outcome = await look_once(SupabaseProbe(**keys, degraded_above=tiny))
        assert outcome.status == "degraded"
        outcome = await look_once(SupabaseProbe(**keys, down_above=small))
        assert outcome.status == "down"


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(ca_file)
    async with LyingServer(by_path(auth=HEALTH), tls=context) as server:
        keys: dict[str, Any] = {"url": server.url, "key": SECRET, "checks": ("auth",)}
        assert (await look_once(SupabaseProbe(**keys, ca_file=ca_file))).status == "healthy"
        stranger = await look_once(SupabaseProbe(**keys))
    assert stranger.details["error"]["kind"] == "tls"


@asynccontextmanager
async def realtime(
    reply: Any, *, before: tuple[Any, ...] = ()
) -> AsyncIterator[tuple[str, list[Any]]]:
    """Realtime's WebSocket: its URL, and what it was asked. It repeats the `ref` of a heartbeat."""
    asked: list[Any] = []

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        asked.append(connection.request.path)
        async for message in connection:
            asked.append(json.loads(message))
            for other in before:
                await connection.send(other if isinstance(other, str) else json.dumps(other))
            payload = {"status": reply, "response": {}}
            answer = {"topic": "phoenix", "event": "phx_reply", "payload": payload}
            await connection.send(json.dumps(answer | {"ref": asked[-1]["ref"]}))

    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", asked


async def test_realtime_answers_a_heartbeat() -> None:
    others: tuple[Any, ...] = (
        "no json",
        [],
        {"event": "phx_reply", "ref": "7", "payload": {"status": "error"}},
    )
    async with realtime("ok", before=others) as (url, asked):
        outcome = await look_once(SupabaseProbe(url=url, key=SECRET, checks=("realtime",)))
    assert outcome.status == "healthy", outcome.details
    assert outcome.details["parts"]["realtime"]["latency_ms"] >= 0
    assert asked[0] == f"/realtime/v1/websocket?apikey={SECRET}&vsn=1.0.0"
    assert asked[1]["topic"] == "phoenix"
    assert asked[1]["event"] == "heartbeat"


async def test_realtime_that_answers_with_an_error_is_down() -> None:
    async with realtime("error") as (url, _):
        outcome = await look_once(SupabaseProbe(url=url, key=SECRET, checks=("realtime",)))
    failed = {"expectation": "realtime.heartbeat", "expected": "ok", "got": "error"}
    assert outcome.details["failed"] == failed


@pytest.mark.parametrize(
    ("status", "shown"),
    [("403 Forbidden", "authentication"), ("503 Service Unavailable", "realtime.status")],
)
async def test_realtime_that_refuses_is_down(status: str, shown: str) -> None:
    async with LyingServer(answers(b"", status=status)) as server:
        outcome = await look_once(SupabaseProbe(url=server.url, key=SECRET, checks=("realtime",)))
    assert outcome.status == "down"
    assert outcome.details["parts"]["realtime"]["http_status"] == int(status[:3])
    assert shown in json.dumps(outcome.details)
    assert SECRET not in json.dumps(outcome.details)


async def test_realtime_that_is_silent_is_a_timeout() -> None:
    for behaviour in (silent, endless(chunk=b"HTTP/1.1 101 a\r\n")):
        async with RawServer(behaviour) as server:
            url = f"http://127.0.0.1:{server.port}"
            probe = SupabaseProbe(url=url, key=SECRET, checks=("realtime",))
            outcome = await look_once(probe, timeout_seconds=0.5)
        assert outcome.details["error"]["message"].startswith("realtime: ")


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"url": "ref.supabase.co"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://a:port"}, "url"),
        ({"url": "https://a:0"}, "url"),
        ({"url": "https://me:secret@a"}, "url"),
        ({"url": "https://a/?b=c"}, "url"),
        ({"url": "https://a[b"}, "url"),
        ({"key": "secret"}, "key"),
        ({"key": "sb_secret_a\r\nb: c"}, "key"),
        ({"checks": ()}, "checks"),
        ({"checks": ("rest", "rest")}, "checks"),
        ({"rest_path": "rest"}, "rest_path"),
        ({"table": "a b"}, "table"),
        ({"table": "a", "column": "b", "value": "\udc80"}, "value"),
        ({"table": "a", "column": "b"}, "column"),
        ({"table": "a", "value": "1"}, "column"),
        ({"column": "a", "value": "1"}, "table"),
        ({"table": "a", "column": "b.c", "value": "1"}, "column"),
        ({"table": "a", "checks": ("auth",)}, "checks"),
        ({"ca_file": "/no/such/file"}, "ca_file"),
        ({"down_above": timedelta(0)}, "down_above"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    smallest: dict[str, Any] = {"url": "https://ref.supabase.co", "key": SECRET}
    with pytest.raises(InvalidValueError) as refused:
        SupabaseProbe(**(smallest | keys))
    assert refused.value.field == field


def test_no_secret_is_shown() -> None:
    with pytest.raises(InvalidValueError) as refused:
        SupabaseProbe(url="https://ref.supabase.co", key="hidden 1234")
    assert "hidden" not in str(refused.value)
    assert SECRET not in repr(SupabaseProbe(url="https://ref.supabase.co", key=SECRET))
    with pytest.raises(InvalidFieldsError):
        SupabaseProbe(url="https://me:hidden@a", key="hidden 1234")


def test_realtime_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind, "find_spec", lambda _: None)
    keys: dict[str, Any] = {"url": "https://ref.supabase.co", "key": SECRET}
    with pytest.raises(InvalidValueError, match=r"pulsebase\[websocket\]"):
        SupabaseProbe(**keys, checks=("realtime",))
    assert SupabaseProbe(**keys).checks == ("rest", "auth")
