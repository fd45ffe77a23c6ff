"""Any bytes as an answer are an outcome in time; the driver works on, in bounded memory."""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pulsebase.probes import ProbeTools
from pulsebase.probes.http import HeaderExpectation, HttpExpectation, HttpProbe, JsonExpectation
from pulsebase.probes.support.faults import ErrorKind
from pulsebase.probes.support.http.json_path import JsonPath
from pulsebase.probes.support.patterns import Regex
from tests.support.looking import a_look
from tests.support.lying_server import LyingServer, answers
from tests.unit.test_http_probe_hostile import LIES, PACKED_BOMBS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pulsebase.probes import Outcome

TIMEOUT_SECONDS = 1.0
KINDS = frozenset(get_args(ErrorKind))
ALL_OF_IT = HttpExpectation(
    status=("1xx", "2xx", "3xx", "4xx", "5xx"),
    headers=(HeaderExpectation(name="Content-Type", matches=Regex("json|.{3}")),),
    body_not_contains="never",
    body_matches=Regex("(?s)^.*$"),
    json=(JsonExpectation(path=JsonPath("$..*"), matches=Regex("(a+)+$")),),
)
VALID = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nServer: x\r\nSet-Cookie: a=b\r\n\r\n<html></html>",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nVary: *\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /elsewhere?a=b#c\r\nContent-Length: 0\r\n\r\n",
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"a": [1, 2.5, null, "x"]}',
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"ok"),
    b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\n\x0b\x00\x80ok\x03",
    b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Digest realm=x, nonce=y\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"HTTP/2 200\r\n\r\n",
)
PIECES = (b"\r\n", b"\n", b"\0", b": ", b"HTTP/1.1 ", b"\r\n\r\n", b"0\r\n\r\n", b"-1", b"\xff\xfe")
HEADERS = (
    b"Content-Length: 5\r\n",
    b"Content-Length: -1\r\n",
    b"Content-Length: 99999999999999999999\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: br, zstd, gzip, deflate\r\n",
    b"Location: http://\xff/\r\n",
    b"Location: file:///etc/passwd\r\n",
    b"Set-Cookie: " + b"x" * 5000 + b"\r\n",
    b" folded: x\r\n",
    b"Connection: keep-alive\r\n",
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A valid answer with some of its bytes cut, doubled, replaced or added."""
    answer = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(answer)))
        until = draw(st.integers(at, min(len(answer), at + 20)))
        middle = draw(
            st.just(b"")
            | st.just(answer[at:until] * 2)
            | st.sampled_from(PIECES + HEADERS)
            | st.binary(max_size=8)
        )
        answer = answer[:at] + middle + answer[until:]
    return answer


ANSWERS = mutations() | st.binary(max_size=300) | st.binary(max_size=300).map(b"HTTP/1.1 ".__add__)


class Probed:
    """A driver and a liar that go on from one example to the next."""

    def __init__(self, tools: ProbeTools) -> None:
        self._tools = tools
        self._said = b""

    async def say(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(self._said)

    async def look(self, url: str, answer: bytes, expect: HttpExpectation) -> Outcome:
        self._said = answer
        probe = HttpProbe(url=url, expect=expect)
        return await probe.probe(a_look(self._tools, timeout_seconds=TIMEOUT_SECONDS))

    async def still_works(self) -> bool:
        async with LyingServer(answers()) as honest:
            outcome = await HttpProbe(url=honest.url).probe(a_look(self._tools))
        return outcome.status == "healthy"


@asynccontextmanager
async def probing() -> AsyncIterator[tuple[Probed, str]]:
    async with ProbeTools() as tools:
        probed = Probed(tools)
        async with LyingServer(probed.say) as server:
            yield probed, server.url


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


def hold_to_the_promise(outcome: Outcome, taken_seconds: float) -> None:
    assert taken_seconds < TIMEOUT_SECONDS + 1
    stored = json.dumps(outcome.details, allow_nan=False, ensure_ascii=False)
    assert len(stored.encode()) < 16 * 1024
    if error := outcome.details.get("error"):
        assert outcome.status == "down"
        assert outcome.latency_ms is None
        assert error["kind"] in KINDS
        assert error["message"]
    else:
        assert outcome.latency_ms is not None
        assert (outcome.status == "down") == ("failed" in outcome.details)


def fuzz(runner: asyncio.Runner, examples: int) -> None:
    entered = probing()
    probed, url = runner.run(entered.__aenter__())

    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(ANSWERS, st.sampled_from([HttpExpectation(), ALL_OF_IT]))
    def any_answer(answer: bytes, expect: HttpExpectation) -> None:
        started_at = time.monotonic()
        outcome = runner.run(probed.look(url, answer, expect))
        hold_to_the_promise(outcome, time.monotonic() - started_at)

    try:
        any_answer()
        assert runner.run(probed.still_works())
    finally:
        runner.run(entered.__aexit__(None, None, None))


def test_any_answer_is_an_outcome(runner: asyncio.Runner) -> None:
    fuzz(runner, 400)


@pytest.mark.soak
def test_very_many_answers_are_outcomes(runner: asyncio.Runner) -> None:
    fuzz(runner, 50_000)


# The prober alone in its process: the liars need memory of their own.
ATTACKED = """
import asyncio, sys
from pathlib import Path
from pulsebase.probes import Look, ProbeTools
from pulsebase.probes.http import HttpExpectation, HttpProbe

ROUNDS, *TARGETS = sys.argv[1:]
EXPECT = HttpExpectation(body_contains="well")

def peak_kibibytes():
    # Not getrusage, which counts what our parent was when it made us.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

async def attack(tools):
    look = Look(service_name="a", timeout_seconds=20, tools=tools)
    for target in TARGETS:
        kind, url = target.split("=", 1)
        looks = (HttpProbe(url=url, expect=EXPECT).probe(look) for _ in range(20))
        for outcome in await asyncio.gather(*looks):
            assert outcome.details["error"]["kind"] == kind, outcome

async def main():
    async with ProbeTools() as tools:
        await attack(tools)
        before = peak_kibibytes()
        for _ in range(int(ROUNDS)):
            await attack(tools)
        print(peak_kibibytes() - before, before)

asyncio.run(main())
"""
GREEDY = ("sends a header of 10 MB", "sends headers without end", "sends a body without end")


async def grown_mebibytes(rounds: int) -> float:
    """How far the peak of a process grows that is attacked again and again, twenty at once."""
    async with AsyncExitStack() as servers:
        targets: list[str] = []
        for lie in (*GREEDY, *PACKED_BOMBS, "continues for ever"):
            behaviour, kind = LIES[lie]
            server = await servers.enter_async_context(LyingServer(behaviour))
            targets.append(f"{kind}={server.url}")
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", ATTACKED, str(rounds), *targets),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await child.communicate()
    assert child.returncode == 0
    grown_kibibytes, at_first_kibibytes = map(int, said.split())
    assert at_first_kibibytes < 96 * 1024
    return grown_kibibytes / 1024


async def test_who_sends_without_end_does_not_make_the_process_grow() -> None:
    assert await grown_mebibytes(3) < 16


@pytest.mark.soak
async def test_who_sends_without_end_for_long_does_not_make_the_process_grow() -> None:
    assert await grown_mebibytes(60) < 16
