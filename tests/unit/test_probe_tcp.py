"""The kind `tcp`: connections, what is said over them, and servers that say something else."""

from __future__ import annotations

import asyncio
import re
import socket
import time
import tracemalloc
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.probes import ProbeTools, UnknownHealthError
from pulsebase.probes.support.network.connecting import connect_any
from pulsebase.probes.support.network.name_lookup import NameLookup
from pulsebase.probes.support.patterns import Regex
from pulsebase.probes.tcp import LARGEST_ANSWER, TcpExpectation, TcpProbe
from tests.support.looking import a_look, look_once
from tests.support.lying_server import repeats, resets, says, stalls
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.talking_server import TalkingServer, echoes, trickles
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pulsebase.probes.support.network.name_lookup import Address
    from tests.support.lying_server import Behaviour

CANARY = "canary-4f9c2d71b6"


def contains(text: str) -> TcpExpectation:
    return TcpExpectation(contains=text)


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as endpoint:
            endpoint.bind(("::1", 0))
    except OSError:
        return False
    return True


def matches(pattern: str) -> TcpExpectation:
    return TcpExpectation(matches=Regex(pattern))


async def test_a_connection_is_healthy_and_its_phases_are_timed() -> None:
    async with TalkingServer(stalls()) as server:
        outcome = await look_once(TcpProbe(host="localhost", port=server.port, ip_version=4))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() == {"dns", "connect", "total"}


async def test_ipv6_is_connected_to_as_an_address_and_by_name() -> None:
    require("this machine has no IPv6", has_ipv6())
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "::1", 0)
    port = listening.sockets[0].getsockname()[1]
    outcome = await look_once(TcpProbe(host="::1", port=port))
    assert outcome.status == "healthy"
    assert outcome.details["remote_ip"] == "::1"
    by_the_other = await look_once(TcpProbe(host="localhost", port=port, ip_version=4))
    assert by_the_other.details["error"]["kind"] == "refused"
    listening.close()
    await listening.wait_closed()


async def test_what_is_sent_is_answered() -> None:
    async with TalkingServer(echoes()) as server:
        ask: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "send": "PING\r\n"}
        assert (await look_once(TcpProbe(**ask, expect=contains("PING")))).status == "healthy"
        assert (await look_once(TcpProbe(**ask, expect=matches(r"^P.NG\r\n$")))).status == "healthy"


async def test_an_expectation_that_does_not_hold_is_named() -> None:
    async with TalkingServer(says(b"220 other.example\r\n")) as server:
        both = TcpExpectation(contains="220", matches=Regex("mail"))
        outcome = await look_once(TcpProbe(host="127.0.0.1", port=server.port, expect=both))
    assert outcome.status == "down"
    assert outcome.latency_ms is not None
    assert outcome.details["failed"] == {
        "expectation": "matches",
        "expected": "mail",
        "got": "220 other.example\r\n",
    }


async def test_a_service_that_goes_on_waiting_has_failed_the_expectation_in_time() -> None:
    async with TalkingServer(stalls(b"+HELLO\r\n")) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=contains("+PONG"))
        outcome = await look_once(probe, timeout_seconds=0.4)
    assert outcome.details["failed"]["got"] == "+HELLO\r\n"


@pytest.mark.parametrize("pause_seconds", [0.001, 0.08])
async def test_an_answer_that_trickles_is_found_as_soon_as_it_is_whole(
    pause_seconds: float,
) -> None:
    async with TalkingServer(trickles(b"x" * 30 + b"here", pause_seconds=pause_seconds)) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=contains("here"))
        assert (await look_once(probe, timeout_seconds=20)).status == "healthy"


async def test_a_slow_service_is_degraded_or_down() -> None:
    async with TalkingServer(trickles(b"ab", pause_seconds=0.1)) as server:
        ask: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "expect": contains("ab")}
        soon, sooner = timedelta(milliseconds=50), timedelta(milliseconds=20)
        assert (await look_once(TcpProbe(**ask, degraded_above=soon))).status == "degraded"
        probe = TcpProbe(**ask, degraded_above=sooner, down_above=soon)
        assert (await look_once(probe)).details["failed"]["expectation"] == "down_above"


LIES: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (says(b""), "reset"),
    "resets without a word": (resets(), "reset"),
    "resets after a word": (resets(b"half"), "reset or failed"),
    "says nothing": (stalls(), "timeout"),
    "says something else": (says(b"\xff\x00garbage"), "failed"),
    "stops": (stalls(b"half"), "failed"),
    "trickles": (trickles(b"x"), "failed"),
    "never ends": (repeats(b"", b"x" * 60_000), "failed"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_ends_in_time_and_in_bounded_memory(lie: str) -> None:
    behaviour, kinds = LIES[lie]
    async with TalkingServer(behaviour) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=matches("(here)+"))
        await look_once(probe, timeout_seconds=0.1)
        tracemalloc.start()
        started = time.monotonic()
        outcome = await look_once(probe, timeout_seconds=0.5)
        took_seconds = time.monotonic() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took_seconds < 6
    assert peak < 4 * 1024 * 1024
    assert outcome.status == "down"
    assert (outcome.details.get("error") or {"kind": "failed"})["kind"] in kinds.split(" or ")


async def test_a_flood_is_read_no_further_than_the_bound() -> None:
    flood = b"x" * LARGEST_ANSWER + b"here" + b"x" * 1_000_000
    async with TalkingServer(says(flood)) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=contains("here"))
        outcome = await look_once(probe)
    assert outcome.details["failed"]["expectation"] == "contains"
    assert len(outcome.details["failed"]["got"]) <= 200


async def test_a_pattern_made_to_be_slow_is_quick() -> None:
    async with TalkingServer(says(b"a" * LARGEST_ANSWER)) as server:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=matches("(a+)+$x"))
        started = time.monotonic()
        assert (await look_once(probe)).status == "down"
    assert time.monotonic() - started < 2


async def test_a_closed_port_is_refused_and_a_name_without_address_is_dns() -> None:
    outcome = await look_once(TcpProbe(host="127.0.0.1", port=free_port()))
    assert outcome.details["error"]["kind"] == "refused"
    for name in (f"{'x' * 64}.invalid", "a..b"):
        # Both are refused by the resolver without asking anybody.
        outcome = await look_once(TcpProbe(host=name, port=1))
        assert outcome.details["error"]["kind"] == "dns", name


async def test_what_was_sent_is_shown_nowhere() -> None:
    async with TalkingServer(echoes()) as server:
        probe = TcpProbe(
            host="127.0.0.1",
            port=server.port,
            send=f"AUTH {CANARY}\r\n",
            expect=contains("+OK"),
        )
        outcome = await look_once(probe, timeout_seconds=0.4)
    assert outcome.details["failed"]["got"].strip() == "***"
    assert CANARY not in f"{probe!r} {outcome!r}"


async def test_the_first_address_that_answers_counts() -> None:
    async with TalkingServer(stalls()) as server:
        nobody: Address = (socket.AF_INET, ("127.0.0.1", free_port()))
        endpoint = await connect_any(
            [nobody, (socket.AF_INET6, ("::1", 1, 0, 0))] * 2
            + [(socket.AF_INET, ("127.0.0.1", server.port))]
        )
        assert endpoint.getpeername()[1] == server.port
        endpoint.close()
        with pytest.raises(ConnectionRefusedError):
            await connect_any([nobody, nobody])


async def test_an_address_that_keeps_silent_does_not_hold_up_the_next() -> None:
    # A full queue of connections is as silent as an address that nobody has.
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        place = full.getsockname()
        for filler in (first, second):
            filler.settimeout(0)
            filler.connect_ex(place)
        async with TalkingServer(stalls()) as server:
            started = time.monotonic()
            endpoint = await connect_any(
                [(socket.AF_INET, place), (socket.AF_INET, ("127.0.0.1", server.port))]
            )
            assert time.monotonic() - started < 2
            assert endpoint.getpeername()[1] == server.port
            endpoint.close()
            silent = TcpProbe(host="127.0.0.1", port=place[1])
            outcome = await look_once(silent, timeout_seconds=0.3)
    assert outcome.details["error"]["kind"] == "timeout"


async def test_lookups_that_wait_for_name_servers_are_not_blamed_on_the_service() -> None:
    async with ProbeTools() as tools:
        lookup = tools.use(NameLookup)
        for _ in range(128):
            await lookup._threads.acquire()
        with pytest.raises(UnknownHealthError, match="name servers"):
            await TcpProbe(host="localhost", port=1).probe(a_look(tools, timeout_seconds=0.1))


async def test_a_machine_without_file_descriptors_knows_nothing_of_the_service() -> None:
    import resource

    async with TalkingServer(stalls()) as server, ProbeTools() as tools:
        probe = TcpProbe(host="127.0.0.1", port=server.port)
        by_name = TcpProbe(host="localhost", port=server.port)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as highest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno() + 1, hard))
            fillers: list[socket.socket] = []
            try:
                with suppress(OSError):
                    fillers.extend(socket.socket() for _ in range(1000))
                for one in (probe, by_name):
                    with pytest.raises(UnknownHealthError, match="out of something"):
                        await one.probe(a_look(tools))
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for filler in fillers:
                    filler.close()


async def test_a_cancelled_probe_leaves_no_connection() -> None:
    async with TalkingServer(stalls()) as server, ProbeTools() as tools:
        probe = TcpProbe(host="127.0.0.1", port=server.port, expect=contains("x"))
        task = asyncio.create_task(probe.probe(a_look(tools, timeout_seconds=30)))
        await server.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_async(lambda: not server.open_connections, "the connection is closed")


async def test_hundreds_at_once_share_one_lookup() -> None:
    async with TalkingServer(stalls()) as server, ProbeTools() as tools:
        probe = TcpProbe(host="localhost", port=server.port)
        looks = (probe.probe(a_look(tools, timeout_seconds=20)) for _ in range(300))
        outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"host": "ho st"}, "host must be a host name"),
    ({"host": ""}, "host must be a host name"),
    ({"port": 0}, "port must be a whole number from 1 to 65535"),
    ({"port": 65_536}, "port must be"),
    ({"host": "127.0.0.1", "ip_version": 6}, "ip_version must be that of the address in host"),
    ({"send": ""}, "send must be at least one character"),
    ({"degraded_above": timedelta(0)}, "degraded_above must be more than 0s"),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[said for _, said in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        TcpProbe(**dict[str, Any](host="a.example", port=1) | keys)


def test_an_empty_text_and_a_broken_pattern_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="contains must be at least one character"):
        TcpExpectation(contains="")
    with pytest.raises(ValueError, match="regular expression"):
        matches("(")
