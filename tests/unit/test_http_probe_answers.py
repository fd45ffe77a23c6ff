"""The kind `http` judges an honest server's answers by status, body and time."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError
from pulsebase.probes import Outcome, ProbeTools
from pulsebase.probes.http import HttpExpectation, HttpProbe
from pulsebase.probes.support.patterns import Regex
from tests.support.looking import a_look
from tests.support.lying_server import LyingServer, answers, says

if TYPE_CHECKING:
    import asyncio


async def look(probe: HttpProbe) -> Outcome:
    async with ProbeTools() as tools:
        return await probe.probe(a_look(tools, timeout_seconds=5))


async def test_a_good_answer_is_healthy_and_says_what_was_seen() -> None:
    before = datetime.now(UTC)
    async with LyingServer(answers()) as server:
        outcome = await look(HttpProbe(url=server.url))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert 0 <= outcome.latency_ms < 5000
    assert before <= outcome.checked_at <= datetime.now(UTC)
    assert outcome.details["http_status"] == 200
    assert outcome.details["http_version"] == "1.1"
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() >= {"connect", "first_byte", "total"}
    assert "failed" not in outcome.details
    assert "error" not in outcome.details


async def test_another_status_than_expected_is_down_and_says_which() -> None:
    async with LyingServer(answers(status="503 Service Unavailable")) as server:
        outcome = await look(HttpProbe(url=server.url))
    assert outcome.status == "down"
    assert outcome.latency_ms is not None
    failed = {"expectation": "status", "expected": "2xx", "got": "503"}
    assert outcome.details["failed"] == failed


@pytest.mark.parametrize(
    ("accepted", "status", "healthy"),
    [
        (("2xx",), 299, True),
        (("2xx",), 300, False),
        (("404",), 404, True),
        (("200-204", "3xx"), 204, True),
        (("200-204", "3xx"), 205, False),
        (("200-204", "3xx"), 304, True),
    ],
)
async def test_status_ranges(accepted: tuple[str, ...], status: int, *, healthy: bool) -> None:
    async with LyingServer(answers(b"", status=f"{status} Any")) as server:
        probe = HttpProbe(url=server.url, expect=HttpExpectation(status=accepted))
        assert (await look(probe)).status == ("healthy" if healthy else "down")


async def test_the_body_must_contain_the_text() -> None:
    expect = HttpExpectation(body_contains="grün")
    async with LyingServer(answers("alles grün".encode())) as server:
        assert (await look(HttpProbe(url=server.url, expect=expect))).status == "healthy"
    async with LyingServer(answers(b"all red")) as server:
        outcome = await look(HttpProbe(url=server.url, expect=expect))
    assert outcome.status == "down"
    failed = {"expectation": "body_contains", "expected": "grün", "got": "all red"}
    assert outcome.details["failed"] == failed


async def test_the_body_must_match_the_pattern() -> None:
    expect = HttpExpectation(body_matches=Regex(r'"status":\s*"ok"'))
    async with LyingServer(answers(b'{"status":  "ok"}')) as server:
        assert (await look(HttpProbe(url=server.url, expect=expect))).status == "healthy"
    async with LyingServer(answers(b'{"status":  "bad"}')) as server:
        outcome = await look(HttpProbe(url=server.url, expect=expect))
    assert outcome.details["failed"]["expectation"] == "body_matches"


async def test_a_body_in_the_charset_that_the_server_names() -> None:
    headers = "Content-Type: text/plain; charset=ISO-8859-1\r\n"
    async with LyingServer(answers("grün".encode("latin-1"), headers=headers)) as server:
        probe = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="grün"))
        assert (await look(probe)).status == "healthy"


async def test_a_compressed_body_is_judged_as_its_text() -> None:
    packed = gzip.compress(b"plain words")
    async with LyingServer(answers(packed, headers="Content-Encoding: gzip\r\n")) as server:
        probe = HttpProbe(url=server.url, expect=HttpExpectation(body_contains="plain words"))
        assert (await look(probe)).status == "healthy"


async def test_slower_than_degraded_above_is_degraded() -> None:
    async with LyingServer(answers()) as server:
        outcome = await look(HttpProbe(url=server.url, degraded_above=timedelta(microseconds=1)))
    assert outcome.status == "degraded"
    assert outcome.details["failed"]["expectation"] == "degraded_above"


async def test_slower_than_down_above_is_down() -> None:
    limits: dict[str, Any] = {
        "degraded_above": timedelta(microseconds=1),
        "down_above": timedelta(microseconds=2),
    }
    async with LyingServer(answers()) as server:
        outcome = await look(HttpProbe(url=server.url, **limits))
    assert outcome.status == "down"
    assert outcome.latency_ms is not None
    assert outcome.details["failed"]["expectation"] == "down_above"


async def test_method_headers_and_body_arrive_as_written() -> None:
    probe: dict[str, Any] = {
        "method": "POST",
        "headers": {"X-Grün": "ä", "X-Empty": "", "Host": "elsewhere.example"},
        "body": '{"ä": 1}',
    }
    with pytest.raises(InvalidValueError, match="headers"):
        HttpProbe(url="http://127.0.0.1/", **probe)
    probe["headers"]["X-Green"] = probe["headers"].pop("X-Grün")
    async with LyingServer(answers()) as server:
        await look(HttpProbe(url=server.url + "path?q=1", **probe))
    head = server.requests[0].decode()
    assert head.startswith("POST /path?q=1 HTTP/1.1\r\n")
    assert "Host: elsewhere.example\r\n" in head
    assert "X-Green: ä\r\n" in head
    assert "X-Empty:\r\n" in head
    assert "Content-Length: 9\r\n" in head
    assert "Expect:" not in head
    assert "Content-Type:" not in head


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method(method: Any) -> None:
    body = b"" if method == "HEAD" else b"ok"
    async with LyingServer(answers(body)) as server:
        assert (await look(HttpProbe(url=server.url, method=method))).status == "healthy"
    assert server.requests[0].startswith(f"{method} / ".encode())


async def test_a_head_of_something_large_is_not_too_large() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n"
    async with LyingServer(says(head)) as server:
        assert (await look(HttpProbe(url=server.url, method="HEAD"))).status == "healthy"


async def redirects_once(
    _: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> None:
    if b" /new " in request:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    else:
        writer.write(b"HTTP/1.1 303 See Other\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")


async def test_redirects_are_followed() -> None:
    async with LyingServer(redirects_once) as server:
        outcome = await look(HttpProbe(url=server.url, method="POST", body="x"))
    assert outcome.status == "healthy"
    assert [request.split(b" HTTP")[0] for request in server.requests] == [b"POST /", b"GET /new"]


async def test_redirects_are_not_followed_when_told_so() -> None:
    async with LyingServer(redirects_once) as server:
        outcome = await look(HttpProbe(url=server.url, follow_redirects=False))
    assert outcome.details["http_status"] == 303
    assert outcome.status == "down"


async def test_every_probe_makes_its_own_connection() -> None:
    async with LyingServer(answers()) as server, ProbeTools() as tools:
        for _ in range(5):
            await HttpProbe(url=server.url).probe(a_look(tools, timeout_seconds=5))
    assert len(server.requests) == 5


async def test_nothing_of_one_probe_is_left_for_the_next() -> None:
    async with LyingServer(answers()) as server, ProbeTools() as tools:
        first = HttpProbe(url=server.url, method="PUT", body="x", headers={"X-First": "1"})
        await first.probe(a_look(tools, timeout_seconds=5))
        await HttpProbe(url=server.url).probe(a_look(tools, timeout_seconds=5))
    assert server.requests[1].startswith(b"GET / ")
    assert b"X-First" not in server.requests[1]


async def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with LyingServer(answers()) as server:
        assert (await look(HttpProbe(url=server.url))).status == "healthy"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "http://",
        "http://[::1/",
        "http://host:99999/",
        "http://host:port/",
        "http://ho st/",
        "http://host/\n",
        "http://host/\x00",
        "http://grün.example/",
    ],
)
def test_a_url_that_could_only_fail_is_refused_at_load(url: str) -> None:
    with pytest.raises(InvalidValueError, match="url must be an http"):
        HttpProbe(url=url)


def test_everything_wrong_with_a_probe_is_said_at_once() -> None:
    with pytest.raises(InvalidFieldsError) as caught:
        HttpProbe(
            url="nowhere",
            method="HEAD",
            body="x",
            headers={"A": "x\r\nB: y"},
            degraded_above=timedelta(seconds=2),
            down_above=timedelta(seconds=1),
        )
    fields = [error.field for error in caught.value.errors]
    assert fields == ["url", "headers", "method", "degraded_above"]


@pytest.mark.parametrize("status", ["", "2x", "600", "099", "204-200", "2xx-3xx", "٢xx"])
def test_a_status_that_is_none_is_refused(status: str) -> None:
    with pytest.raises(InvalidValueError, match="status"):
        HttpExpectation(status=(status,))
