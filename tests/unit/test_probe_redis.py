"""The kind `redis` on Debian's real Redis, and on whatever else may stand in its place."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from pulsebase.errors import InvalidValueError
from pulsebase.probes.redis import RedisProbe
from pulsebase.probes.support.expected_value import ExpectedValue
from tests.support.looking import look_once
from tests.support.raw_server import RawServer, endless, resets_at_once, silent, speaks
from tests.support.redis_server import RedisServer
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.raw_server import RawBehaviour

PASSWORD = "correct-horse-battery"  # noqa: S105 -- opens only what this test makes
HAS_IPV6 = Path("/proc/net/if_inet6").exists()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[RedisServer]:
    with RedisServer(authority=authority) as running:
        with running.client() as client:
            client.set("queue", "12")
            client.set("word", "grün")
            client.set("large", "x" * 5_000_000)
            client.lpush("list", "a")
        yield running


@pytest.fixture(scope="module")
def locked() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", PASSWORD) as running:
        yield running


async def test_a_server_that_answers_is_healthy(server: RedisServer) -> None:
    outcome = await look_once(RedisProbe(url=server.url))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() >= {"connect", "total"}


@pytest.mark.parametrize(
    ("key", "expect", "unmet"),
    [
        ("queue", {}, None),
        ("queue", {"at_most": 12}, None),
        ("queue", {"at_most": 11}, "at_most"),
        ("queue", {"value": "12"}, None),
        ("word", {"value": "grün"}, None),
        ("word", {"at_least": 1}, "at_least"),
        ("missing", {"value": "12"}, "value"),
        ("missing", {}, None),
        ("large", {"value": "x"}, "value"),
    ],
)
async def test_the_value_of_a_key_must_be_as_expected(
    server: RedisServer, key: str, expect: dict[str, Any], unmet: str | None
) -> None:
    probe = RedisProbe(url=server.url, key=key, expect=ExpectedValue(**expect))
    outcome = await look_once(probe)
    assert outcome.details.get("failed", {}).get("expectation") == unmet
    assert outcome.status == ("down" if unmet else "healthy")


async def test_a_key_that_is_no_text_is_a_query_error(server: RedisServer) -> None:
    outcome = await look_once(RedisProbe(url=server.url, key="list"))
    assert outcome.details["error"]["kind"] == "query"
    assert "WRONGTYPE" in outcome.details["error"]["message"]


async def test_a_database_that_does_not_exist_is_a_query_error(server: RedisServer) -> None:
    outcome = await look_once(RedisProbe(url=f"{server.url}/99"))
    assert outcome.details["error"]["kind"] == "query"


async def test_the_database_of_the_url_is_asked(server: RedisServer) -> None:
    probe = RedisProbe(url=f"{server.url}/3", key="queue", expect=ExpectedValue(value=""))
    assert (await look_once(probe)).status == "healthy"


async def test_in_the_file_system(server: RedisServer) -> None:
    probe = RedisProbe(url=f"unix://{server.socket_path}")
    assert probe.host is None
    assert (await look_once(probe)).status == "healthy"
    nowhere = await look_once(RedisProbe(url=f"unix://{server.socket_path}.not"))
    assert nowhere.status == "down"


async def test_over_ipv6(server: RedisServer) -> None:
    require("no IPv6 on the loopback interface", HAS_IPV6)
    outcome = await look_once(RedisProbe(url=f"redis://[::1]:{server.port}"))
    assert outcome.status == "healthy"
    assert outcome.details["remote_ip"] == "::1"


async def test_slow_answers(server: RedisServer) -> None:
    tiny, small = timedelta(microseconds=1), timedelta(microseconds=2)
    outcome = await look_once(RedisProbe(url=server.url, degraded_above=tiny))
    assert outcome.status == "degraded"
    outcome = await look_once(RedisProbe(url=server.url, degraded_above=tiny, down_above=small))
    assert outcome.status == "down"


@pytest.mark.parametrize("user", [f":{PASSWORD}", f"default:{PASSWORD}"])
async def test_the_right_password_opens(locked: RedisServer, user: str) -> None:
    url = locked.url.replace("//", f"//{user}@")
    assert (await look_once(RedisProbe(url=url))).status == "healthy"


@pytest.mark.parametrize("user", ["", ":wrong-secret-1234@", f"nobody:{PASSWORD}@"])
async def test_a_wrong_password_is_an_authentication_error_without_it(
    locked: RedisServer, user: str
) -> None:
    outcome = await look_once(RedisProbe(url=locked.url.replace("//", f"//{user}")))
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "authentication"
    assert outcome.latency_ms is None
    assert not any(secret in json.dumps(outcome.details) for secret in ("wrong-secret", PASSWORD))


async def test_a_replica_and_its_link_to_the_primary(server: RedisServer) -> None:
    with RedisServer("--replicaof", "127.0.0.1", str(server.port)) as replica:
        probe = RedisProbe(url=replica.url, role="replica")

        async def is_linked() -> bool:
            return (await look_once(probe)).status == "healthy"

        await wait_until_async(is_linked, "the replica is linked")
        outcome = await look_once(RedisProbe(url=replica.url, role="primary"))
        failed = {"expectation": "role", "expected": "primary", "got": "replica"}
        assert outcome.details["failed"] == failed
        assert (await look_once(RedisProbe(url=server.url, role="primary"))).status == "healthy"
        with replica.client() as client:
            client.replicaof("127.0.0.1", str(free_port()))
        outcome = await look_once(probe)
        failed = {"expectation": "primary_link", "expected": "up", "got": "down"}
        assert outcome.details["failed"] == failed


async def test_tls_is_verified(server: RedisServer, authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    trusting = await look_once(RedisProbe(url=server.tls_url, ca_file=str(ca_file)))
    assert trusting.status == "healthy"
    assert trusting.details["phases_ms"]["tls"] > 0
    stranger = await look_once(RedisProbe(url=server.tls_url))
    assert stranger.details["error"]["kind"] == "tls"
    careless = await look_once(RedisProbe(url=server.tls_url, verify_tls=False))
    assert careless.status == "healthy"
    other_name = server.tls_url.replace("127.0.0.1", "localhost")
    named = await look_once(RedisProbe(url=other_name, ca_file=str(ca_file)))
    assert named.details["error"]["kind"] == "tls"


async def test_tls_on_a_port_without_it(server: RedisServer) -> None:
    # Redis waits for the end of what it takes for a line.
    probe = RedisProbe(url=server.url.replace("redis:", "rediss:"))
    outcome = await look_once(probe, timeout_seconds=0.5)
    assert outcome.details["error"]["kind"] in {"tls", "timeout"}


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (silent, "timeout"),
        (resets_at_once, "reset"),
        (speaks(b""), "reset"),
        (speaks(b"+PO"), "reset"),
        (speaks(b"+NOT PONG\r\n"), "protocol"),
        (speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol"),
        (speaks(b"\x00\xfe\xff\r\n"), "protocol"),
        (speaks(b"$nought\r\n"), "protocol"),
        (speaks(b"$-7\r\n"), "protocol"),
        (speaks(b"*-7\r\n"), "protocol"),
        (speaks(b"$10\r\nshort"), "incomplete"),
        (speaks(b"-LOADING Redis is loading the dataset in memory\r\n"), "query"),
        (speaks(b"-MOVED 3999 127.0.0.1:6381\r\n"), "query"),
        (endless(chunk=b"x" * 65_536), "protocol"),
        (endless(head=b"$536870912\r\n", chunk=b"x" * 65_536), "body_too_large"),
        (endless(head=b"*100000000\r\n", chunk=b":1\r\n" * 10_000), "body_too_large"),
        (endless(chunk=b"*1\r\n" * 10_000), "protocol"),
    ],
)
async def test_a_server_that_is_no_redis_is_down_with_the_right_kind(
    behaviour: RawBehaviour, kind: str
) -> None:
    started = time.monotonic()
    async with RawServer(behaviour) as server:
        url = f"redis://:hidden-1234@127.0.0.1:{server.port}"
        outcome = await look_once(RedisProbe(url=url), timeout_seconds=1)
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    # Our first word is AUTH, and a strange answer to it is no acceptance.
    assert outcome.details["error"]["kind"] in {kind, "authentication"}, outcome.details
    assert outcome.latency_ms is None
    assert "hidden-1234" not in json.dumps(outcome.details)


async def test_a_password_that_a_server_repeats_is_hidden() -> None:
    async with RawServer(speaks(b"-ERR I know your hidden-1234\r\n")) as server:
        url = f"redis://:hidden-1234@127.0.0.1:{server.port}"
        outcome = await look_once(RedisProbe(url=url))
    assert "***" in outcome.details["error"]["message"]
    assert "hidden-1234" not in json.dumps(outcome.details)


async def test_nobody_listens_and_no_such_name() -> None:
    refused = await look_once(RedisProbe(url=f"redis://127.0.0.1:{free_port()}"))
    assert refused.details["error"]["kind"] == "refused"
    unknown = await look_once(RedisProbe(url=f"redis://{'x' * 63}.invalid"))
    assert unknown.details["error"]["kind"] == "dns"


async def test_timeouts_leave_no_connection_behind() -> None:
    async with RawServer(silent) as server:
        probe = RedisProbe(url=f"redis://127.0.0.1:{server.port}")
        gc.disable()  # what only a collection would close is a leak to a busy monitor
        try:
            looks = (look_once(probe, timeout_seconds=0.1) for _ in range(50))
            outcomes = await asyncio.gather(*looks)
            await wait_until_async(lambda: server.open_connections == 0, "all have gone")
        finally:
            gc.enable()
    assert {outcome.details["error"]["kind"] for outcome in outcomes} == {"timeout"}


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"url": "http://a"}, "url"),
        ({"url": "redis://"}, "url"),
        ({"url": "redis://a:port"}, "url"),
        ({"url": "redis://a:0"}, "url"),
        ({"url": "redis://a/nought"}, "url"),
        ({"url": "redis://a/0?db=1"}, "url"),
        ({"url": "redis://grün.example"}, "url"),
        ({"url": "unix://"}, "url"),
        ({"url": "unix:///a%00b"}, "url"),
        ({"url": "redis://:\udc80@a"}, "url"),
        ({"key": "\udc80"}, "key"),
        ({"url": "redis://a[b"}, "url"),
        ({"expect": ExpectedValue(value="1")}, "key"),
        ({"url": "rediss://a", "ca_file": "/no/such/file"}, "ca_file"),
        ({"down_above": timedelta(0)}, "down_above"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    smallest: dict[str, Any] = {"url": "redis://a"}
    with pytest.raises(InvalidValueError) as refused:
        RedisProbe(**(smallest | keys))
    assert refused.value.field == field


def test_files_for_tls_need_a_url_with_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with pytest.raises(InvalidValueError, match="rediss://"):
        RedisProbe(url="redis://a", ca_file=str(ca_file))


def test_a_probe_is_shown_without_its_password() -> None:
    assert "hidden-1234" not in repr(RedisProbe(url="redis://:hidden-1234@a"))
    with pytest.raises(InvalidValueError) as refused:
        RedisProbe(url="redis://:hidden-1234@a:port")
    assert "hidden-1234" not in str(refused.value)
