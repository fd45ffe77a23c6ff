"""Whatever bytes stand in for a database, a queue or a WebSocket: an outcome, in time."""

from __future__ import annotations

import base64
import hashlib
import random
import re
import struct
import time
from typing import TYPE_CHECKING, Any, get_args

import pytest

from pulsebase.probes import ProbeTools, load_probe_kind
from pulsebase.probes.support.faults import ErrorKind
from tests.support.looking import a_look
from tests.support.raw_server import RawServer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tests.support.raw_server import RawBehaviour

    Answer = Callable[[random.Random, bytes], bytes]

LOOKS = 60
TIMEOUT_SECONDS = 0.2


def message(letter: bytes, body: bytes) -> bytes:
    return letter + struct.pack("!i", len(body) + 4) + body


POSTGRES = [
    b"N",
    message(b"R", b"\0\0\0\0"),
    message(b"R", b"\0\0\0\x03"),
    message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"),
    message(b"S", b"server_version\x0018.1\0"),
    message(b"S", b"client_encoding\0MADE_UP\0"),
    message(b"S", b"in_hot_standby\0maybe\0"),
    message(b"K", b"\0\0\0\1\0\0\0\2"),
    message(b"Z", b"I"),
    message(b"T", b"\0\1left\0" + b"\0" * 18),
    message(b"D", b"\0\1\0\0\0\x011"),
    message(b"D", b"\0\2\xff\xff\xff\xff\0\0\0\x01\xff"),
    message(b"C", b"BEGIN\0"),
    message(b"1", b"") + message(b"2", b""),
    message(b"E", b"SERROR\0C42P01\0Mno such\xff table\0\0"),
    message(b"E", b"\0"),
    message(b"G", b"\0\0\0"),
    message(b"H", b"\0\0\0"),
    message(b"W", b"\0\0\0"),
]
REDIS = [
    *(b"+PONG\r\n", b"+OK\r\n", b":1\r\n", b"$2\r\nab\r\n", b"$-1\r\n", b"*2\r\n", b"*-1\r\n"),
    *(
        b"-ERR a\r\n",
        b"-\r\n",
        b"-NOAUTH a\r\n",
        b"-MOVED\r\n",
        b"-ASK 1 a\r\n",
        b"$9999999999\r\n",
    ),
    *(b"%1\r\n", b"~1\r\n", b"_\r\n", b"#t\r\n", b",inf\r\n", b">2\r\n", b"|1\r\n", b"(1\r\n"),
    *(b"$15\r\nrole:slave\r\n\0\xff:\r\n", b"\r\n"),
]
FRAMES = [
    *(b"\x81\x01a", b"\x82\x01\xff", b"\x01\x01a", b"\x80\x01b", b"\x89\x00", b"\x8a\x7d"),
    *(b"\x88\x00", b"\x88\x02\x03\xe8", b"\x88\x01\x03", b"\xc1\x01a", b"\x81\x81abcda"),
    *(b"\x81\x7e\x00\x01a", b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b"\x81\x02\xc3\x28"),
]
HEALTH = b"\x00\x00\x00\x00\x02\x08\x01"
HTTP2 = [
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    b"\x00\x00\x00\x04\x01\x00\x00\x00\x00",
    b"\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88",
    b"\x00\x00\x07\x00\x00\x00\x00\x00\x01" + HEALTH,
    b"\x00\x00\x07\x00\x01\x00\x00\x00\x01" + HEALTH,
    b"\x00\x00\x0f\x01\x05\x00\x00\x00\x01\x40\x0bgrpc-status\x010",
    b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08",
    b"\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02",
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\xff\xff",
]
HTTP = [
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 101 a\r\n", b"HTTP/1.1 540 a\r\n", b"HTTP/2 200\r\n"),
    *(b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: websocket\r\n"),
    *(b"Connection: upgrade\r\n", b"Sec-WebSocket-Accept: a\r\n", b"\r\n", b"[]", b"{}", b"[{}]"),
]


def some_of(words: list[bytes]) -> Answer:
    """Words in any order, and now and then bytes that are none."""

    def answer(chance: random.Random, _: bytes) -> bytes:
        said = [chance.choice(words) for _ in range(chance.randint(0, 6))]
        if chance.random() < 0.3:
            said.insert(chance.randint(0, len(said)), chance.randbytes(chance.randint(1, 40)))
        return _bent(chance, b"".join(said))

    return answer


def _bent(chance: random.Random, said: bytes) -> bytes:
    """The same, with a byte changed now and then."""
    if not said or chance.random() < 0.7:
        return said
    place = chance.randrange(len(said))
    return said[:place] + chance.randbytes(1) + said[place + 1 :]


def upgraded(chance: random.Random, asked: bytes) -> bytes:
    """A proper handshake, and then any frames."""
    key = re.search(rb"Sec-WebSocket-Key: (\S+)", asked)
    if key is None:
        return some_of(FRAMES)(chance, asked)
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key[1] + magic).digest())  # noqa: S324 -- the protocol's
    head = b"HTTP/1.1 101 a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    head += b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    return head + some_of(FRAMES)(chance, asked)


def welcomed(chance: random.Random, asked: bytes) -> bytes:
    """No TLS, a welcome, and then any messages."""
    if asked.endswith(b"\x04\xd2\x16\x2f"):  # the question for TLS
        return b"N"
    if b"user\0" in asked:
        welcome = [message(b"R", b"\0\0\0\0"), message(b"Z", b"I")]
        return _bent(chance, b"".join(welcome))
    return some_of(POSTGRES)(chance, asked) + message(b"Z", b"I") * chance.randint(0, 1)


KINDS: dict[str, tuple[Answer, dict[str, Any]]] = {
    "postgres": (some_of(POSTGRES), {"url": "postgresql://a@127.0.0.1:{port}/b"}),
    "postgres that welcomes": (
        welcomed,
        {
            "url": "postgresql://a@127.0.0.1:{port}/b?gssencmode=disable",
            "query": "select 1",
            "degraded_connections_left": 1,
        },
    ),
    "redis": (some_of(REDIS), {"url": "redis://127.0.0.1:{port}/1", "role": "replica", "key": "a"}),
    "redis with a password": (some_of(REDIS), {"url": "redis://a:secret@127.0.0.1:{port}"}),
    "websocket": (some_of(HTTP), {"url": "ws://127.0.0.1:{port}"}),
    "websocket that opens": (upgraded, {"url": "ws://127.0.0.1:{port}", "send": "a"}),
    "grpc": (some_of(HTTP2), {"host": "127.0.0.1", "port": "{port}"}),
    "supabase": (
        some_of(HTTP),
        {
            "url": "http://127.0.0.1:{port}",
            "key": "sb_secret_a",
            "checks": ("rest", "auth", "realtime"),
            "table": "a",
        },
    ),
}


def says_at_random(answer: Answer, chance: random.Random) -> RawBehaviour:
    """Answer the client's words a few times, then close; now and then be silent instead."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(chance.randint(1, 8)):
            asked = await reader.read(65_536)
            if not asked:
                return
            writer.write(answer(chance, asked))
            await writer.drain()
        if chance.random() < 0.1:
            await reader.read()

    return behave


@pytest.mark.parametrize("kind", KINDS)
async def test_any_bytes_are_an_outcome_in_time(kind: str) -> None:
    answer, keys = KINDS[kind]
    kind_class: Any = load_probe_kind(kind.partition(" ")[0])
    chance = random.Random(kind)  # noqa: S311 -- the same bytes each time, and no secret
    seen: set[str] = set()
    async with RawServer(says_at_random(answer, chance)) as server, ProbeTools() as tools:
        given = {
            name: value.format(port=server.port) if isinstance(value, str) else value
            for name, value in keys.items()
        }
        given |= {"port": server.port} if "port" in given else {}
        probe = kind_class(**given)
        for _ in range(LOOKS):
            started = time.monotonic()
            outcome = await probe.probe(a_look(tools, timeout_seconds=TIMEOUT_SECONDS))
            assert time.monotonic() - started < TIMEOUT_SECONDS + 2
            assert outcome.status in {"healthy", "down"}
            if "error" in outcome.details:
                seen.add(outcome.details["error"]["kind"])
    assert seen <= set(get_args(ErrorKind))
    assert len(seen) > 1
