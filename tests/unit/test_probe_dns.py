"""The kind `dns`: every type of record, every code, and name servers that lie."""

from __future__ import annotations

import asyncio
import random
import re
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, Self

import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError
from pulsebase.probes import UnknownHealthError
from pulsebase.probes.dns import DnsExpectation, DnsProbe
from pulsebase.probes.support.network.name_servers import _read
from tests.support.dns_server import DnsServer, answering, nobody_home, refusing
from tests.support.looking import look_once
from tests.support.lying_server import resets, stalls
from tests.support.server_process import free_port
from tests.support.talking_server import TalkingServer

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.probes import Outcome
    from tests.support.dns_server import Liar

OVER_TCP = True
DKIM = "v=DKIM1; p=" + "A" * 400
RECORDS = {
    ("shop.example", "A"): ["192.0.2.1", "192.0.2.2"],
    ("shop.example", "AAAA"): ["2001:db8::1"],
    ("shop.example", "MX"): ["10 mx1.Shop.example.", "20 mx2.shop.example."],
    ("shop.example", "NS"): ["ns1.shop.example."],
    ("shop.example", "SOA"): ["ns1.shop.example. root.shop.example. 7 3600 600 86400 60"],
    ("shop.example", "TXT"): ['"v=spf1 " "-all"'],
    ("key.shop.example", "TXT"): [f'"{DKIM[:255]}" "{DKIM[255:]}"'],
    ("shop.example", "CAA"): ['0 issue "ca.example"'],
    ("_sip._tcp.shop.example", "SRV"): ["1 2 5060 sip.shop.example."],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["shop.example."],
    ("www.shop.example", "CNAME"): ["shop.example."],
    ("large.example", "TXT"): [f'"{number:0>200}"' for number in range(40)],
}
EXPECTED = [
    ("shop.example", "A", ("192.0.2.2", "192.0.2.1")),
    ("SHOP.example", "A", ("192.0.2.2", "192.0.2.1")),
    ("shop.example", "AAAA", ("2001:DB8:0::1",)),
    ("shop.example", "MX", ("20 MX2.shop.example", "10 mx1.shop.example.")),
    ("shop.example", "NS", ("ns1.shop.example",)),
    ("shop.example", "SOA", ("ns1.shop.example root.shop.example 7 3600 600 86400 60",)),
    ("shop.example", "TXT", ("v=spf1 -all",)),
    ("key.shop.example", "TXT", (DKIM,)),
    ("shop.example", "CAA", ('0 issue "ca.example"',)),
    ("_sip._tcp.shop.example", "SRV", ("1 2 5060 sip.shop.example",)),
    ("192.0.2.1", "PTR", ("shop.example",)),
    ("www.shop.example", "CNAME", ("shop.example",)),
    ("www.shop.example", "A", ("192.0.2.1", "192.0.2.2")),
]


def asking(server: DnsServer, query: str = "shop.example", **keys: Any) -> DnsProbe:
    target: dict[str, Any] = {"server": "127.0.0.1", "port": server.port, "query": query}
    expect = {key: keys.pop(key) for key in ("answers", "contains", "rcode") if key in keys}
    return DnsProbe(**target | keys, expect=DnsExpectation(**expect))


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize(("query", "record_type", "answers"), EXPECTED)
async def test_records_of_every_type_are_compared_by_what_they_mean(
    query: str, record_type: str, answers: tuple[str, ...], protocol: str
) -> None:
    async with DnsServer(answering(RECORDS)) as server:
        keys: dict[str, Any] = {"type": record_type, "protocol": protocol}
        outcome = await look_once(asking(server, query, answers=answers, **keys))
        assert outcome.status == "healthy", outcome
        assert outcome.details["protocol"] == protocol
        assert (server.packets, server.streams) == ((1, 0) if protocol == "udp" else (0, 1))
        one = await look_once(asking(server, query, contains=answers[:1], **keys))
        assert one.status == "healthy"
        if len(answers) > 1:
            fewer = await look_once(asking(server, query, answers=answers[:1], **keys))
            assert fewer.details["failed"]["expectation"] == "answers"


async def test_an_answer_is_told_of() -> None:
    async with DnsServer(answering(RECORDS)) as server:
        outcome = await look_once(asking(server, "www.shop.example"))
    assert outcome.latency_ms is not None
    assert outcome.details["rcode"] == "NOERROR"
    assert outcome.details["answers"] == ["192.0.2.1", "192.0.2.2"]
    assert outcome.details["ttl_seconds"] == 60
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert "first_byte" in outcome.details["phases_ms"]


async def test_other_records_than_expected_are_down() -> None:
    async with DnsServer(answering(RECORDS)) as server:
        other = await look_once(asking(server, contains=["192.0.2.9"]))
        assert other.details["failed"] == {
            "expectation": "contains",
            "expected": "192.0.2.9",
            "got": "192.0.2.1, 192.0.2.2",
        }
        none = await look_once(asking(server, "key.shop.example"))
        assert none.details["failed"]["got"] == "no record"
        expected = await look_once(asking(server, "key.shop.example", answers=()))
        assert expected.status == "healthy"
        unexpected = await look_once(asking(server, answers=()))
        assert unexpected.details["failed"]["expected"] == "no record"


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "SERVFAIL", "REFUSED", "NOTIMP", "FORMERR"])
async def test_a_code_is_down_unless_it_is_the_one_expected(rcode: str) -> None:
    async with DnsServer(refusing(rcode)) as server:
        outcome = await look_once(asking(server))
        assert outcome.status == "down"
        assert outcome.details["failed"] == {
            "expectation": "rcode",
            "expected": "NOERROR",
            "got": rcode,
        }
        assert (await look_once(asking(server, rcode=rcode))).status == "healthy"
    async with DnsServer(answering(RECORDS)) as server:
        assert (await look_once(asking(server, rcode=rcode))).status == "down"


async def test_a_refusal_that_does_not_repeat_the_question_is_an_answer() -> None:
    def refuses(encoded: bytes, _: bool) -> list[bytes]:
        answer = dns.message.make_response(dns.message.from_wire(encoded))
        answer.set_rcode(dns.rcode.REFUSED)
        answer.question.clear()
        return [answer.to_wire()]

    async with DnsServer(refuses) as server:
        assert (await look_once(asking(server, rcode="REFUSED"))).status == "healthy"
        assert (await look_once(asking(server))).details["failed"]["got"] == "REFUSED"


async def test_an_answer_too_large_for_a_packet_is_asked_for_again_over_tcp() -> None:
    async with DnsServer(answering(RECORDS)) as server:
        outcome = await look_once(asking(server, "large.example", type="TXT"))
        assert (server.packets, server.streams) == (1, 1)
    assert outcome.status == "healthy"
    assert outcome.details["protocol"] == "tcp"
    assert len(outcome.details["answers"]) == 20


async def test_a_lost_packet_is_sent_again() -> None:
    honest = answering(RECORDS)
    lost: list[bytes] = []

    def loses_the_first(question: bytes, over_tcp: bool) -> list[bytes]:
        lost.append(question)
        return [] if len(lost) == 1 else honest(question, over_tcp)

    async with DnsServer(loses_the_first) as server:
        assert (await look_once(asking(server), timeout_seconds=1)).status == "healthy"
    assert lost[0] == lost[1]


def changed(question: bytes, **fields: Any) -> bytes:
    """A right answer with one thing wrong."""
    answer = dns.message.from_wire(answering(RECORDS)(question, OVER_TCP)[0])
    if "id" in fields:
        answer.id = fields["id"]
    if "query" in fields:
        other = dns.message.make_query(fields["query"], "A")
        answer.question = other.question
    if "flags" in fields:
        answer.flags = fields["flags"]
    return answer.to_wire()


def lies_first(lie: bytes | None = None, **fields: Any) -> Liar:
    """Say something wrong, then the truth."""

    def behave(question: bytes, over_tcp: bool) -> list[bytes]:
        wrong = changed(question, **fields) if lie is None else lie
        return [wrong, *answering(RECORDS)(question, over_tcp)]

    return behave


def only_lies(*lies: bytes, **fields: Any) -> Liar:
    """Say only something wrong."""

    def behave(question: bytes, _: bool) -> list[bytes]:
        return list(lies) or [changed(question, **fields)]

    return behave


WRONG: dict[str, dict[str, Any]] = {
    "another id": {"id": 0},
    "another name": {"query": "other.example"},
    "a question": {"flags": 0},
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_packet_that_does_not_answer_is_passed_over(wrong: str) -> None:
    async with DnsServer(lies_first(**WRONG[wrong])) as server:
        assert (await look_once(asking(server))).status == "healthy"
    async with DnsServer(only_lies(**WRONG[wrong])) as server:
        outcome = await look_once(asking(server), timeout_seconds=0.4)
        assert outcome.details["error"]["kind"] == "protocol"
        over_tcp = await look_once(asking(server, protocol="tcp"))
    assert over_tcp.details["error"]["kind"] == "protocol"


LIES: dict[str, tuple[Liar, str, str]] = {
    "says nothing": (nobody_home, "timeout", "reset"),
    "sends garbage": (only_lies(b"\xff" * 500), "protocol", "protocol"),
    "sends a byte": (only_lies(b"\x00"), "protocol", "protocol"),
    "sends half a header": (only_lies(b"\x00\x01\x80"), "protocol", "protocol"),
    "sends thousands": (only_lies(*[b"\xff" * 1000] * 2000), "protocol", "protocol"),
}


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_has_its_kind_in_time_and_in_bounded_memory(
    lie: str, protocol: str
) -> None:
    behaviour, over_udp, over_tcp = LIES[lie]
    async with DnsServer(behaviour) as server:
        tracemalloc.start()
        started = time.monotonic()
        outcome = await look_once(asking(server, protocol=protocol), timeout_seconds=0.5)
        took_seconds = time.monotonic() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took_seconds < 6
    assert peak < 16 * 1024 * 1024  # the server's own two thousand packets included
    assert outcome.status == "down"
    assert outcome.latency_ms is None
    kind = over_udp if protocol == "udp" else over_tcp
    assert outcome.details["error"]["kind"] == kind, outcome


async def test_a_stream_that_ends_or_stops_within_an_answer() -> None:
    half = (400).to_bytes(2) + b"\x00" * 100

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        await reader.read(1000)
        writer.write(half)

    for behaviour, kind in (
        (ends, "incomplete"),
        (stalls(half), "timeout"),
        (resets(), "reset"),
    ):
        async with TalkingServer(behaviour) as server:
            probe = DnsProbe(query="a", server="127.0.0.1", port=server.port, protocol="tcp")
            outcome = await look_once(probe, timeout_seconds=0.4)
        assert outcome.details["error"]["kind"] == kind


async def test_a_truncated_answer_without_tcp_behind_it_is_refused() -> None:
    cut = only_lies(flags=0x8280)

    class OnlyPackets(DnsServer):
        async def __aenter__(self) -> Self:
            await super().__aenter__()
            assert self._server is not None
            self._server.close()
            await self._server.wait_closed()
            return self

    async with OnlyPackets(cut) as server:
        outcome = await look_once(asking(server))
    assert outcome.details["error"]["kind"] == "refused"


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_closed_port_is_refused_at_once(protocol: str) -> None:
    started = time.monotonic()
    keys: dict[str, Any] = {"protocol": protocol, "server": "127.0.0.1", "port": free_port()}
    outcome = await look_once(DnsProbe(query="a.example", **keys), timeout_seconds=5)
    assert outcome.details["error"]["kind"] == "refused"
    assert time.monotonic() - started < 2


async def test_a_loop_of_aliases_contradicts_itself() -> None:
    def loops(encoded: bytes, _: bool) -> list[bytes]:
        answer = dns.message.make_response(dns.message.from_wire(encoded))
        answer.answer.append(dns.rrset.from_text("a.example.", 60, "IN", "CNAME", "b.example."))
        answer.answer.append(dns.rrset.from_text("b.example.", 60, "IN", "CNAME", "a.example."))
        return [answer.to_wire()]

    async with DnsServer(loops) as server:
        outcome = await look_once(asking(server, "a.example"))
    assert outcome.details["error"]["kind"] == "protocol"


def system_of(monkeypatch: pytest.MonkeyPatch, folder: Path, *lines: str) -> None:
    """Let dnspython read a configuration of ours instead of the machine's."""
    file = folder / "resolv.conf"
    file.write_text("".join(f"{line}\n" for line in lines))
    whole = dns.resolver.Resolver
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: whole(filename=str(file)))


async def test_without_server_those_of_the_machine_are_asked_in_turn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with DnsServer(answering(RECORDS)) as server:
        # Nobody listens on the first.
        system_of(monkeypatch, tmp_path, "nameserver 127.0.0.2", "nameserver 127.0.0.1")
        probe = DnsProbe(query="shop.example", port=server.port)
        assert probe.host is None
        outcome = await look_once(probe)
        assert outcome.status == "healthy"
        assert outcome.details["remote_ip"] == "127.0.0.1"
    outcome = await look_once(probe)
    assert outcome.details["error"]["kind"] == "refused"


async def test_a_machine_without_name_servers_knows_nothing_of_the_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    system_of(monkeypatch, tmp_path)
    with pytest.raises(UnknownHealthError, match="name one with the key server"):
        await look_once(DnsProbe(query="shop.example"))


async def test_hundreds_at_once_get_their_own_answers() -> None:
    numbered = {(f"host-{n}.example", "A"): [f"192.0.2.{n}"] for n in range(200)}
    async with DnsServer(answering(numbered)) as server:
        looks = [
            look_once(asking(server, f"host-{n}.example", answers=[f"192.0.2.{n}"]))
            for n in range(200)
        ]
        outcomes: list[Outcome] = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}


QUESTION = dns.message.make_query("shop.example", "A", use_edns=True)
TRUTH = answering(RECORDS)(QUESTION.to_wire(), OVER_TCP)[0]


@given(st.binary(max_size=600))
def test_any_bytes_are_an_answer_or_none(packet: bytes) -> None:
    assert _read(packet, QUESTION) is None or packet[:2] == QUESTION.to_wire()[:2]


def test_a_damaged_answer_is_read_or_not_but_never_raises() -> None:
    chance = random.Random(7)  # noqa: S311 - damage, not a secret
    for _ in range(3000):
        damaged = bytearray(TRUTH)
        for _ in range(chance.randint(1, 6)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        if message := _read(bytes(damaged), QUESTION):
            message.to_text()


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"query": "a..b"}, "query must be a domain name in ASCII"),
    ({"query": "x" * 64}, "query must be a domain name in ASCII"),
    ({"query": "bücher.example"}, "query must be a domain name in ASCII"),
    ({"query": "192.0.2.1.5.x..", "type": "PTR"}, "query must be"),
    ({"server": "ns 1"}, "server must be a host name"),
    ({"server": "::1", "ip_version": 4}, "ip_version must be that of the address"),
    ({"port": 0}, "port must be"),
    ({"expect": DnsExpectation(answers=("1.2.3",))}, "expect.answers must be written as a zone"),
    (
        {"type": "MX", "expect": DnsExpectation(contains=("mx1.shop.example",))},
        "expect.contains must be written as a zone file writes a record of type MX",
    ),
    (
        {"expect": DnsExpectation(rcode="NXDOMAIN", contains=("192.0.2.1",))},
        "expect.rcode must be NOERROR, since records are expected",
    ),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[str(keys) for keys, _ in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises((InvalidValueError, InvalidFieldsError), match=re.escape(said)):
        DnsProbe(**dict[str, Any](query="shop.example") | keys)
