"""A password or a key never shows: not in errors, reprs, tracebacks or logs, wherever it stood."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

import pulsebase
from pulsebase import HealthCheckModel, PulsebaseError
from pulsebase.settings import resolve
from tests.contract.lying_postgrest import LyingPostgrest, answer
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.postgres_server import PostgresServer
    from tests.support.postgrest_server import PostgrestServer

CANARY = "cAnArY5ecretW0rd"
KEY = f"sb_secret_{CANARY}"
JWT = f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}"


def _postgres_urls(port: int) -> list[str]:
    place = f"127.0.0.1:{port}"
    return [
        f"postgresql://app:{CANARY}@{place}/app",
        f"postgresql://app@{place}/app?password={CANARY}",
        f"postgresql://app:{CANARY}@{place}/app?sslmode={CANARY}",
        f"postgresql://app:{CANARY}@{place}/app?{CANARY}=1",
        f"postgresql://app:{CANARY}@{place}/app?nonsense={CANARY}",
        f"postgresql://app@{place}/app?options=-c%20{CANARY}%3D1",
        f"postgresql://app:{CANARY}%zz@{place}/app",
        f"postgresql://app:{CANARY}@{place}:{CANARY}/app",
        f"postgresql://app:{CANARY}/{CANARY}@{place}/app",
        f"postgresql://app:{CANARY}@[{place}/app",
        f"postgresql://app:{CANARY}#{CANARY}@{place}/app",
        f"postgresql://app:{CANARY}?{CANARY}@{place}/app",
        f"postgresql://app:{CANARY}@{CANARY}@{place}/app",
        f"host=127.0.0.1 port={port} password={CANARY}",
    ]


def _https_urls(port: int) -> list[str]:
    place = f"127.0.0.1:{port}"
    return [
        f"http://{place}/rest/v1",
        f"http://user:{CANARY}@{place}",
        f"http://{CANARY}@{place}",
        f"http://{place}?apikey={CANARY}",
        f"http://{place}/#{CANARY}",
        f"http://{place}:{CANARY}",
        f"http://exa mple{CANARY}/",
        f"http://{'a' * 70}.example/rest/v1",
    ]


def _sync(url: str, key: str) -> list[object]:
    with pulsebase.connect(url, key=key, connect_timeout_seconds=2) as connection:
        seen: list[object] = [connection, connection.transport, vars(connection)]
        try:
            HealthCheckModel.find_by_id(connection, uuid4())
        finally:
            seen.append(vars(connection.transport))
    return seen


def _async(url: str, key: str) -> list[object]:
    async def main() -> list[object]:
        async with pulsebase.connect_async(url, key=key, connect_timeout_seconds=2) as connection:
            await HealthCheckModel.find_by_id(connection, uuid4())
            return [connection, connection.transport]

    return asyncio.run(main())


@pytest.fixture(params=[_sync, _async], ids=["sync", "async"])
def use(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Callable[..., None]:
    """Uses a URL and a key, which must fail; whatever became visible must not hold the canary."""
    caplog.set_level(logging.DEBUG)

    def attempt(url: str, key: str = KEY) -> None:
        with pytest.raises(PulsebaseError) as caught:
            request.param(url, key)
        error = caught.value
        shown = [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
        shown += [repr(value) for value in vars(error).values()]
        for text in (*shown, caplog.text):
            assert CANARY.lower() not in text.lower()

    return attempt


@pytest.mark.parametrize("number", range(len(_postgres_urls(0))))
def test_nothing_shows_when_a_server_is_not_there(use: Any, number: int) -> None:
    use(_postgres_urls(free_port())[number])


@pytest.mark.parametrize("number", range(len(_postgres_urls(0))))
def test_nothing_shows_when_a_server_refuses(
    use: Any, number: int, postgres: PostgresServer
) -> None:
    use(_postgres_urls(postgres.port)[number])


@pytest.mark.parametrize("number", range(len(_https_urls(0))))
@pytest.mark.parametrize("key", [KEY, JWT], ids=["sb", "jwt"])
def test_nothing_shows_when_no_api_is_there(use: Any, number: int, key: str) -> None:
    use(_https_urls(free_port())[number], key)


@pytest.mark.parametrize("key", [KEY, JWT, f"{CANARY}\x7f", f"{CANARY}\n{CANARY}", f"é{CANARY}"])
def test_nothing_shows_when_the_api_refuses(use: Any, key: str, postgrest: PostgrestServer) -> None:
    use(postgrest.url, key)


@pytest.mark.parametrize(
    "said",
    [
        answer(502, "<html>"),
        answer(401, '{"message": "Invalid API key"}'),
        answer(200, "{"),
        answer(302, Location="https://h.example/"),
        b"nonsense\r\n\r\n",
    ],
    ids=["502", "401", "half", "redirect", "nonsense"],
)
def test_nothing_shows_when_the_api_lies(use: Any, said: bytes) -> None:
    with LyingPostgrest([said]) as server:
        use(server.url)


def test_nothing_shows_when_all_is_well(
    postgrest: PostgrestServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    seen = _sync(postgrest.url, postgrest.service_key)
    secret = postgrest.service_key[10:]
    for text in (*map(repr, seen), caplog.text):
        assert secret not in text


@pytest.mark.parametrize("url", [*_postgres_urls(1)[:3], "https://h.example"])
def test_a_target_shows_neither_password_nor_key(url: str) -> None:
    target = resolve(url, KEY)
    connection = pulsebase.connect(url, key=KEY)
    for text in (repr(target), str(target), repr(connection), repr(connection.transport)):
        assert CANARY not in text
    connection.close()


def test_a_supabase_client_with_a_broken_key_is_not_quoted() -> None:
    import httpx

    from pulsebase.settings import Target
    from pulsebase.transports.postgrest import PostgrestTransport
    from pulsebase.transports.request import Request

    with httpx.Client(headers={"apikey": f"{CANARY}\n{CANARY}"}) as client:
        transport = PostgrestTransport(Target(url="http://127.0.0.1:9/rest/v1", key=KEY), client)
        with pytest.raises(PulsebaseError) as caught:
            transport.send(Request("f"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))
