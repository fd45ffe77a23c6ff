"""The kind `websocket` on a real server, and on whatever else may stand in its place."""

from __future__ import annotations

import asyncio
import base64
import gc
import hashlib
import json
import re
import ssl
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from websockets.asyncio.server import serve
from websockets.typing import Subprotocol

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError
from pulsebase.probes.support.patterns import Regex
from pulsebase.probes.websocket import MessageExpectation, WebsocketProbe
from tests.support.looking import look_once
from tests.support.raw_server import RawServer, endless, resets_at_once, silent, speaks
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from websockets.asyncio.server import ServerConnection

    from tests.support.raw_server import RawBehaviour

HAS_IPV6 = Path("/proc/net/if_inet6").exists()


class EchoServer:
    """What a test is told of its server: where it is, and what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.headers: list[Mapping[str, str]] = []
        self.close_codes: list[int | None] = []

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/live"


@asynccontextmanager
async def echoing(
    *greetings: str | bytes,
    host: str = "127.0.0.1",
    subprotocols: tuple[str, ...] = (),
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[EchoServer]:
    """A server of the library `websockets` that greets, and repeats what it is told."""
    told = EchoServer(0)

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        told.headers.append(dict(connection.request.headers.raw_items()))
        for greeting in greetings:
            await connection.send(greeting)
        async for message in connection:
            await connection.send(message)
        told.close_codes.append(connection.close_code)

    names = [Subprotocol(name) for name in subprotocols] or None
    async with serve(handle, host, 0, subprotocols=names, ssl=tls) as server:
        told.port = next(iter(server.sockets)).getsockname()[1]
        yield told


def expecting(**expectation: Any) -> MessageExpectation:
    return MessageExpectation(**expectation)


async def test_an_open_websocket_is_healthy_and_is_closed_properly() -> None:
    async with echoing() as server:
        outcome = await look_once(WebsocketProbe(url=server.url))
        await wait_until_async(lambda: server.close_codes, "the server has seen the end")
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() >= {"connect", "first_byte", "total"}
    assert server.close_codes == [1000]


async def test_what_is_sent_must_be_answered_as_expected() -> None:
    async with echoing() as server:
        good = WebsocketProbe(url=server.url, send="grün", expect=expecting(contains="grün"))
        assert (await look_once(good)).status == "healthy"
        any_answer = WebsocketProbe(url=server.url, send="hello")
        assert (await look_once(any_answer)).status == "healthy"
        wrong = WebsocketProbe(url=server.url, send="hello", expect=expecting(contains="bye"))
        outcome = await look_once(wrong, timeout_seconds=0.5)
    assert outcome.status == "down"
    failed = {"expectation": "contains", "expected": "bye", "got": "hello"}
    assert outcome.details["failed"] == failed


async def test_messages_before_the_expected_one_are_passed_over() -> None:
    async with echoing("welcome", b'{"price": 17}', "later") as server:
        expect = expecting(matches=Regex(r'"price":\s*[0-9]+'))
        assert (await look_once(WebsocketProbe(url=server.url, expect=expect))).status == "healthy"
        nothing = WebsocketProbe(url=server.url, expect=expecting(matches=Regex("^nothing$")))
        outcome = await look_once(nothing, timeout_seconds=0.5)
    assert outcome.details["failed"]["expectation"] == "matches"
    assert outcome.details["failed"]["got"] == "later"


async def test_a_server_that_says_nothing_is_a_timeout() -> None:
    async with echoing() as server:
        probe = WebsocketProbe(url=server.url, expect=expecting(contains="a"))
        outcome = await look_once(probe, timeout_seconds=0.3)
    assert outcome.details["error"]["kind"] == "timeout"


async def test_headers_and_credentials_arrive() -> None:
    async with echoing() as server:
        url = server.url.replace("//", "//me:secret-1234@")
        probe = WebsocketProbe(url=url, headers={"Origin": "https://a.example", "X-Key": "k"})
        await look_once(probe)
    headers = server.headers[0]
    assert headers["Origin"] == "https://a.example"
    assert headers["X-Key"] == "k"
    credentials = base64.b64encode(b"me:secret-1234").decode()
    assert headers["Authorization"] == f"Basic {credentials}"
    assert headers["User-Agent"] == "pulsebase"
    assert "secret-1234" not in repr(probe)


async def test_the_subprotocol_must_be_one_of_those_offered() -> None:
    async with echoing(subprotocols=("chat",)) as server:
        outcome = await look_once(WebsocketProbe(url=server.url, subprotocols=("a", "chat")))
        assert outcome.status == "healthy"
        assert outcome.details["subprotocol"] == "chat"
    async with echoing() as server:
        outcome = await look_once(WebsocketProbe(url=server.url, subprotocols=("chat",)))
    failed = {"expectation": "subprotocols", "expected": "chat", "got": "none"}
    assert outcome.details["failed"] == failed


async def test_slow_answers() -> None:
    tiny, small = timedelta(microseconds=1), timedelta(microseconds=2)
    async with echoing() as server:
        outcome = await look_once(WebsocketProbe(url=server.url, degraded_above=tiny))
        assert outcome.status == "degraded"
        outcome = await look_once(WebsocketProbe(url=server.url, down_above=small))
        assert outcome.status == "down"


async def test_over_ipv6() -> None:
    require("no IPv6 on the loopback interface", HAS_IPV6)
    async with echoing(host="::1") as server:
        outcome = await look_once(WebsocketProbe(url=f"ws://[::1]:{server.port}/"))
    assert outcome.status == "healthy"
    assert outcome.details["remote_ip"] == "::1"


async def test_tls_is_verified(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = str(tmp_path / "authority.pem")
    authority.cert_pem.write_to_path(ca_file)
    async with echoing(tls=context) as server:
        url = server.url.replace("ws:", "wss:")
        trusting = await look_once(WebsocketProbe(url=url, ca_file=ca_file))
        stranger = await look_once(WebsocketProbe(url=url))
        careless = await look_once(WebsocketProbe(url=url, verify_tls=False))
        other_name = url.replace("127.0.0.1", "localhost")
        named = await look_once(WebsocketProbe(url=other_name, ca_file=ca_file))
    assert trusting.status == "healthy"
    assert trusting.details["phases_ms"]["tls"] > 0
    assert careless.status == "healthy"
    assert stranger.details["error"]["kind"] == "tls"
    assert named.details["error"]["kind"] == "tls"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        ("200 OK", ""),
        ("301 Moved", "Location: ws://127.0.0.1:1/\r\n"),
        ("401 Unauthorized", ""),
        ("503 Service Unavailable", ""),
    ],
)
async def test_an_answer_in_http_is_down_and_says_its_status(status: str, headers: str) -> None:
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n{headers}\r\nok".encode()
    async with RawServer(speaks(answer)) as server:
        outcome = await look_once(WebsocketProbe(url=f"ws://127.0.0.1:{server.port}"))
    assert outcome.status == "down"
    assert outcome.details["http_status"] == int(status[:3])
    failed = {"expectation": "status", "expected": "101", "got": status[:3]}
    assert outcome.details["failed"] == failed
    assert server.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (silent, "timeout"),
        (resets_at_once, "reset"),
        (speaks(b""), "reset"),
        (speaks(b"HTTP/1.1 101 Sw"), "reset"),
        (speaks(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "protocol"),
        (speaks(b"\x00\xfe\xff\r\n\r\n"), "protocol"),
        (speaks(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "protocol"),
        (
            speaks(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: made-up\r\n\r\n"
            ),
            "protocol",
        ),
        (endless(chunk=b"x" * 65_536), "headers_too_large"),
        (endless(head=b"HTTP/1.1 101 a\r\n", chunk=b"a: b\r\n" * 1000), "headers_too_large"),
        (endless(head=b"HTTP/1.1 200 OK\r\n\r\n", chunk=b"x" * 65_536), "body_too_large"),
    ],
)
async def test_a_server_that_is_none_is_down_with_the_right_kind(
    behaviour: RawBehaviour, kind: str
) -> None:
    await _assert_kind(behaviour, kind)


def upgrades(*, head: bytes, chunk: bytes = b"") -> RawBehaviour:
    """Shake hands as the protocol has it, and then break it."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
        assert key is not None
        accept = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()  # noqa: S324 -- the protocol's own
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(accept) + b"\r\n\r\n" + head
        )
        while chunk:
            writer.write(chunk)
            await writer.drain()

    return behave


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (upgrades(head=b"\x81\x7f" + (1 << 40).to_bytes(8, "big")), "body_too_large"),
        (upgrades(head=b"\x01\x01a", chunk=b"\x00\x7e\xff\xff" + b"a" * 65_535), "body_too_large"),
        (upgrades(head=b"\x89\x00", chunk=b"\x89\x00" * 1000), "timeout"),
        (upgrades(head=b"\xff\xff\xff\xff"), "protocol"),
        (upgrades(head=b"\x88\x02\x03\xf0"), "reset"),
        (upgrades(head=b""), "reset"),
        (upgrades(head=b"\x81\x05ab"), "reset"),
    ],
)
async def test_a_websocket_that_breaks_the_protocol_is_down_with_the_right_kind(
    behaviour: RawBehaviour, kind: str
) -> None:
    await _assert_kind(behaviour, kind)


async def test_endless_wrong_messages_end_with_the_timeout() -> None:
    async with RawServer(upgrades(head=b"\x81\x01a", chunk=b"\x81\x01a" * 1000)) as server:
        url = f"ws://127.0.0.1:{server.port}"
        probe = WebsocketProbe(url=url, expect=expecting(contains="b"))
        started = time.monotonic()
        outcome = await look_once(probe, timeout_seconds=2)
    assert time.monotonic() - started < 4
    assert outcome.details["failed"]["got"] == "a"


async def _assert_kind(behaviour: RawBehaviour, kind: str) -> None:
    started = time.monotonic()
    async with RawServer(behaviour) as server:
        url = f"ws://me:hidden-1234@127.0.0.1:{server.port}/?token=hidden-5678"
        probe = WebsocketProbe(url=url, expect=expecting(contains="b"))
        outcome = await look_once(probe, timeout_seconds=1)
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == kind, outcome.details
    assert outcome.latency_ms is None
    assert "hidden" not in json.dumps(outcome.details)


async def test_a_secret_that_a_server_repeats_is_hidden() -> None:
    async with echoing() as server:
        probe = WebsocketProbe(
            url=f"{server.url}?token=hidden-5678",
            headers={"X-Key": "hidden-1234"},
            send="hidden-1234 hidden-5678",
            expect=expecting(contains="another"),
        )
        outcome = await look_once(probe, timeout_seconds=0.5)
    assert outcome.details["failed"]["got"] == "*** ***"


async def test_nobody_listens_and_no_such_name() -> None:
    refused = await look_once(WebsocketProbe(url=f"ws://127.0.0.1:{free_port()}"))
    assert refused.details["error"]["kind"] == "refused"
    unknown = await look_once(WebsocketProbe(url=f"ws://{'x' * 63}.invalid"))
    assert unknown.details["error"]["kind"] == "dns"


async def test_timeouts_leave_no_connection_behind() -> None:
    async with RawServer(silent) as server:
        probe = WebsocketProbe(url=f"ws://127.0.0.1:{server.port}")
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
        ({"url": "ws://"}, "url"),
        ({"url": "ws://a:port"}, "url"),
        ({"url": "ws://a:0"}, "url"),
        ({"url": "ws://a/#part"}, "url"),
        ({"url": "ws://only-a-user@a/"}, "url"),
        ({"url": "ws://grün.example"}, "url"),
        ({"url": "ws://a[b"}, "url"),
        ({"headers": {"Sec-WebSocket-Key": "a"}}, "headers"),
        ({"headers": {"a b": "a"}}, "headers"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers"),
        ({"subprotocols": ("a b",)}, "subprotocols"),
        ({"send": "x" * 2_000_000}, "send"),
        ({"send": "\udc80"}, "send"),
        ({"url": "wss://a", "ca_file": "/no/such/file"}, "ca_file"),
        ({"down_above": timedelta(0)}, "down_above"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    smallest: dict[str, Any] = {"url": "ws://a"}
    with pytest.raises(InvalidValueError) as refused:
        WebsocketProbe(**(smallest | keys))
    assert refused.value.field == field


def test_files_for_tls_need_a_url_with_tls_and_an_expectation_says_something() -> None:
    with pytest.raises(InvalidFieldsError, match="wss://"):
        WebsocketProbe(url="ws://a", ca_file="/no/such/file")
    with pytest.raises(InvalidValueError, match="at least one character"):
        MessageExpectation(contains="")
