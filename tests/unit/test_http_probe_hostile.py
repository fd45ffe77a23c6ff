"""Whatever a server does is an outcome of the right `error.kind`, in time and bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import time
import zlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING

import pytest

from pulsebase.probes import Outcome, ProbeTools
from pulsebase.probes.http import HttpExpectation, HttpProbe
from pulsebase.probes.support.curl.driver import LARGEST_BODY, CurlDriver
from tests.support.looking import a_look
from tests.support.lying_server import LyingServer, answers, repeats, resets, says, stalls

if TYPE_CHECKING:
    from tests.support.lying_server import Behaviour

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\n"
MEGABYTE = 1024 * 1024
CANARY = "canary-4f9c2d71b6"


async def look(probe: HttpProbe, *, timeout_seconds: float = 5) -> Outcome:
    async with ProbeTools() as tools:
        return await probe.probe(a_look(tools, timeout_seconds=timeout_seconds))


def a_bomb(*, wbits: int = 31) -> bytes:
    """A hundred megabytes in a hundred kilobytes."""
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join(packer.compress(bytes(MEGABYTE)) for _ in range(100)) + packer.flush()


# The same in 93 bytes, since Python packs no brotli.
BROTLI_BOMB = b64decode(
    "z///f/gnAOKxQCD3/p/////wTwDEYQGA7v0/////4Z8AiMMiAN37f/7//8M/ARCHBQC69//8//+HfwIgDgsAdO//+f"
    "//D/8EQBwWAOje/+f//w/+CYA4LADQvf8B"
)


LIES: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (says(b""), "reset"),
    "resets without a word": (resets(), "reset"),
    "resets within the head": (resets(OK), "reset"),
    "resets within the body": (resets(OK + b"Content-Length: 9\r\n\r\nab"), "reset"),
    "closes within the head": (says(OK), "incomplete"),
    "closes after an interim answer": (says(b"HTTP/1.1 103 Hints\r\n\r\n"), "reset"),
    "closes within the body": (says(OK + b"Content-Length: 9\r\n\r\nab"), "incomplete"),
    "closes within a chunk": (says(CHUNKED + b"9\r\nab"), "incomplete"),
    "sends a negative chunk size": (says(CHUNKED + b"-1\r\nab"), "protocol"),
    "sends a chunk size beyond measure": (says(CHUNKED + b"f" * 40 + b"\r\nab"), "protocol"),
    "sends more than its chunk": (says(CHUNKED + b"1\r\nabcdef\r\n0\r\n\r\n"), "protocol"),
    "announces a negative length": (says(OK + b"Content-Length: -5\r\n\r\nab"), "protocol"),
    "announces no number": (says(OK + b"Content-Length: five\r\n\r\nab"), "protocol"),
    "sends chunks without end": (
        repeats(CHUNKED, b"ea60\r\n" + b"x" * 60_000 + b"\r\n"),
        "body_too_large",
    ),
    "sends trailers without end": (
        repeats(CHUNKED + b"0\r\n", b"X-Many: x\r\n" * 1000),
        "headers_too_large",
    ),
    "sends a NUL in a header": (says(OK + b"X: a\x00b\r\n\r\n"), "protocol"),
    "sends a wrong chunk size": (says(CHUNKED + b"zz\r\nab"), "protocol"),
    "speaks no HTTP": (says(b"220 smtp.example ESMTP\r\n"), "protocol"),
    "sends a status that is none": (says(b"HTTP/1.1 abc\r\n\r\n"), "protocol"),
    "sends two lengths": (
        says(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        "protocol",
    ),
    "sends broken gzip": (says(GZIP + b"Content-Length: 4\r\n\r\nabcd"), "protocol"),
    "redirects for ever": (
        answers(status="302 Found", headers="Location: /x\r\n"),
        "too_many_redirects",
    ),
    "redirects to a file": (
        answers(status="302 Found", headers="Location: file:///etc/passwd\r\n"),
        "protocol",
    ),
    "redirects to FTP": (
        answers(status="302 Found", headers="Location: ftp://127.0.0.1/\r\n"),
        "protocol",
    ),
    "redirects to what is no URL": (
        answers(status="302 Found", headers="Location: http://[zz/\r\n"),
        "protocol",
    ),
    "redirects to a closed port": (
        answers(status="302 Found", headers="Location: http://127.0.0.1:1/\r\n"),
        "refused",
    ),
    "announces a large body": (stalls(OK + b"Content-Length: 5000000\r\n\r\n"), "body_too_large"),
    "sends a body without end": (repeats(OK + b"\r\n", b"x" * 60_000), "body_too_large"),
    "sends a gzip bomb": (says(GZIP + b"\r\n" + a_bomb()), "body_too_large"),
    "sends a deflate bomb": (
        says(OK + b"Content-Encoding: deflate\r\n\r\n" + a_bomb(wbits=15)),
        "body_too_large",
    ),
    "sends a brotli bomb": (
        says(OK + b"Content-Encoding: br\r\n\r\n" + BROTLI_BOMB),
        "protocol",
    ),
    "sends a bomb in a bomb": (
        says(OK + b"Content-Encoding: gzip, gzip\r\n\r\n" + gzip.compress(a_bomb())),
        "body_too_large",
    ),
    "packs more often than anybody would": (
        says(OK + b"Content-Encoding: gzip" + b", gzip" * 50 + b"\r\n\r\n" + a_bomb()),
        "protocol",
    ),
    "packs in a way that nobody knows": (
        says(OK + b"Content-Encoding: \xff, zstd\r\nContent-Length: 2\r\n\r\nab"),
        "protocol",
    ),
    "cuts a packed body short": (
        answers(gzip.compress(b"all is well" * 9)[:-9], headers="Content-Encoding: gzip\r\n"),
        "protocol",
    ),
    "sends broken brotli": (
        says(OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff"),
        "protocol",
    ),
    "sends a header of 10 MB": (
        says(OK + b"X-Large: " + b"x" * 10 * MEGABYTE + b"\r\n\r\n"),
        "headers_too_large",
    ),
    "sends headers without end": (repeats(OK, b"X-Many: x\r\n" * 1000), "headers_too_large"),
    "never answers": (stalls(), "timeout"),
    "stops within the head": (stalls(OK), "timeout"),
    "stops within the body": (stalls(OK + b"Content-Length: 9\r\n\r\nab"), "timeout"),
    "continues for ever": (repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "headers_too_large"),
}


LOOKED_INTO = HttpExpectation(body_contains="well")
# What is packed is unpacked, and found to be a lie, only for who wants to look into it.
PACKED_BOMBS = (
    "sends a gzip bomb",
    "sends a deflate bomb",
    "sends a brotli bomb",
    "sends a bomb in a bomb",
)
PACKED = {
    *PACKED_BOMBS,
    "sends broken gzip",
    "sends broken brotli",
    "packs more often than anybody would",
    "packs in a way that nobody knows",
    "cuts a packed body short",
}


@pytest.mark.parametrize("expect", [LOOKED_INTO, HttpExpectation()], ids=["looked into", "not"])
@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_has_its_kind(lie: str, expect: HttpExpectation) -> None:
    behaviour, kind = LIES[lie]
    started = time.monotonic()
    async with LyingServer(behaviour) as server:
        outcome = await look(HttpProbe(url=server.url, expect=expect), timeout_seconds=1)
    if lie in PACKED and not expect.looks_into_body:
        assert outcome.status == "healthy"
        return
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    assert outcome.latency_ms is None
    found = outcome.details["error"]
    assert found["kind"] == kind
    assert found["message"]
    json.dumps(outcome.details, allow_nan=False).encode()


async def test_a_body_that_trickles_ends_with_the_timeout() -> None:
    async def trickles(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(OK + b"Content-Length: 1000000\r\n\r\n")
        loop = asyncio.get_running_loop()
        for _number in range(10_000):
            writer.write(b"x")
            await writer.drain()
            tick = loop.create_future()
            loop.call_later(0.02, tick.set_result, None)
            await tick

    started = time.monotonic()
    async with LyingServer(trickles) as server:
        outcome = await look(HttpProbe(url=server.url), timeout_seconds=0.5)
    assert 0.4 < time.monotonic() - started < 2
    assert outcome.details["error"]["kind"] == "timeout"


async def test_a_closed_port_is_refused() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        outcome = await look(HttpProbe(url=f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert outcome.details["error"]["kind"] == "refused"


async def test_a_name_that_cannot_be_resolved() -> None:
    # A label of more than 63 characters is refused by the resolver without asking anybody.
    outcome = await look(HttpProbe(url=f"http://{'x' * 64}.invalid/"))
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "dns"


async def test_http_1_0_without_length_is_a_whole_answer() -> None:
    async with LyingServer(says(b"HTTP/1.0 200 OK\r\n\r\nall well")) as server:
        probe = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="well"))
        outcome = await look(probe)
    assert outcome.status == "healthy"
    assert outcome.details["http_version"] == "1.0"


async def test_a_body_of_just_the_bound_is_accepted_and_one_byte_more_is_not() -> None:
    found = HttpExpectation(body_contains="x")
    for size, status in ((LARGEST_BODY, "healthy"), (LARGEST_BODY + 1, "down")):
        body = b"x" * size
        async with LyingServer(answers(body)) as server:
            assert (await look(HttpProbe(url=server.url))).status == status
            assert (await look(HttpProbe(url=server.url, expect=found))).status == status
        packed = answers(gzip.compress(body), headers="Content-Encoding: gzip\r\n")
        async with LyingServer(packed) as server:
            assert (await look(HttpProbe(url=server.url, expect=found))).status == status


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"all ") + gzip.compress(b"is well")),
        ("X-GZip", gzip.compress(b"all is well")),
        ("deflate", zlib.compress(b"all is well")),
        ("deflate", zlib.compress(b"all is well")[2:-4]),
        ("gzip, deflate", zlib.compress(gzip.compress(b"all is well"))),
        ("identity", b"all is well"),
        ("", b"all is well"),
    ],
    ids=["parts", "old", "zlib", "raw", "twice", "not", "empty"],
)
async def test_every_way_of_packing_that_is_asked_for(encoding: str, packed: bytes) -> None:
    behaviour = answers(packed, headers=f"Content-Encoding: {encoding}\r\n")
    async with LyingServer(behaviour) as server:
        probe = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="all is well"))
        outcome = await look(probe)
    assert outcome.status == "healthy", outcome
    assert b"\r\nAccept-Encoding: gzip, deflate\r\n" in server.requests[0]


async def test_a_body_that_is_not_utf_8_is_looked_into_and_stored_as_text() -> None:
    body = b"\xff\xfe\x00\xed\xa0\x80 almost text " + "\U0001f600".encode() * 400
    headers = "Content-Type: text/\xff; charset=punycode\r\n"
    async with LyingServer(answers(body, headers=headers)) as server:
        found = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="almost text"))
        assert (await look(found)).status == "healthy"
        missed = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="absent"))
        got = (await look(missed)).details["failed"]["got"]
    assert "\x00" not in got
    assert len(got) <= 200
    got.encode()


async def test_a_redirect_to_a_name_of_any_bytes_breaks_nothing() -> None:
    location = "Location: http://\xff\xfe\xc0.example/\r\n"
    lies = answers(status="302 Found", headers=location)
    async with LyingServer(lies) as liar, LyingServer(answers()) as honest, ProbeTools() as tools:
        lied = HttpProbe(url=liar.url).probe(a_look(tools, timeout_seconds=2))
        told = HttpProbe(url=honest.url).probe(a_look(tools, timeout_seconds=2))
        outcomes = await asyncio.gather(lied, told)
    assert [outcome.status for outcome in outcomes] == ["down", "healthy"]
    assert outcomes[0].details["error"]["kind"] in {"dns", "protocol"}


async def test_no_secret_of_the_request_is_in_the_outcome() -> None:
    async def echoes(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
        plain = f"user:{CANARY}".encode()
        body = b" ".join((request[4:60], plain, b64encode(plain), CANARY.encode()))
        writer.write(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    async with LyingServer(echoes) as server:
        probe = HttpProbe(
            url=f"http://user:{CANARY}@127.0.0.1:{server.port}/?api_key={CANARY}&page=2",
            headers={"Authorization": f"Bearer {CANARY}", "X-Key": CANARY},
            expect=HttpExpectation(body_contains="something else"),
        )
        outcome = await look(probe)
    shown = f"{outcome!r} {probe!r}"
    assert outcome.details["failed"]["expectation"] == "body_contains"
    assert "page=2" in shown
    assert CANARY not in shown
    assert b64encode(f"user:{CANARY}".encode()).decode() not in shown


async def test_credentials_do_not_follow_a_redirect_to_another_server() -> None:
    async with LyingServer(answers()) as other:
        points = answers(status="302 Found", headers=f"Location: {other.url}\r\n")
        async with LyingServer(points) as server:
            url = f"http://user:{CANARY}@127.0.0.1:{server.port}/"
            cookie = {"Cookie": f"session={CANARY}"}
            assert (await look(HttpProbe(url=url, headers=cookie))).status == "healthy"
            bearer = {"Authorization": f"Bearer {CANARY}"}
            assert (await look(HttpProbe(url=server.url, headers=bearer))).status == "healthy"
    assert len(other.requests) == 2
    assert b"Authorization" not in b"".join(other.requests)
    assert CANARY.encode() not in b"".join(other.requests)


async def test_a_cancelled_probe_leaves_the_driver_working() -> None:
    async with LyingServer(stalls()) as silent, ProbeTools() as tools:
        probe = HttpProbe(url=silent.url).probe(a_look(tools, timeout_seconds=30))
        task = asyncio.create_task(probe)
        await silent.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with LyingServer(answers()) as honest:
            outcome = await HttpProbe(url=honest.url).probe(a_look(tools, timeout_seconds=5))
    assert outcome.status == "healthy"


async def test_closing_cancels_what_is_under_way() -> None:
    async with LyingServer(stalls()) as silent:
        tools = ProbeTools()
        task = asyncio.create_task(
            HttpProbe(url=silent.url).probe(a_look(tools, timeout_seconds=30))
        )
        await silent.asked.wait()
        await tools.aclose()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_hundreds_at_once_share_one_driver() -> None:
    async with LyingServer(answers()) as server, ProbeTools() as tools:
        probe = HttpProbe(url=server.url)
        looks = (probe.probe(a_look(tools, timeout_seconds=20)) for _ in range(300))
        outcomes = await asyncio.gather(*looks)
        assert tools.use(CurlDriver) is tools.use(CurlDriver)
    assert {outcome.status for outcome in outcomes} == {"healthy"}
