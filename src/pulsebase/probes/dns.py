"""The kind `dns`: ask a name server, and judge what it answers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, cast

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
import dns.reversename
from dns.rdtypes.txtbase import TXTBase

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import host_problem, port_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.connecting import (
    IpVersion,
    Journey,
    NetworkTarget,
    Verdict,
    ip_version_problem,
    travel,
)
from pulsebase.probes.support.network.name_servers import Protocol, ask_servers, system_servers
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["DnsExpectation", "DnsProbe", "RecordType", "ResponseCode"]

RecordType: TypeAlias = Literal["A", "AAAA", "CAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"]
ResponseCode: TypeAlias = Literal["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]

MOST_SHOWN: Final = 20

_NAME_RULE: Final = "a domain name in ASCII (xn--… for other letters)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsExpectation:
    """What an answer must be; all of it.

    Unless `answers` or `rcode` say otherwise, there has to be a record of the type.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    rcode: ResponseCode = "NOERROR"
    answers: tuple[str, ...] | None = None
    contains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsProbe(LatencyLimits):
    """Ask for the records of a name, and judge the answer and the time it took."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    query: str
    type: RecordType = "A"
    server: str | None = None
    port: int = 53
    protocol: Protocol = "udp"
    ip_version: IpVersion | None = None
    expect: DnsExpectation = field(default_factory=DnsExpectation)

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    @property
    def host(self) -> str | None:
        """The name server; None where it is the system's."""
        return self.server

    async def probe(self, look: Look) -> Outcome:
        """Ask once, which takes up to three packets; the timeout covers all of them."""
        return await travel(look, self._way)

    async def _way(self, journey: Journey) -> Verdict:
        question = dns.message.make_query(_name(self.query, self.type), self.type, use_edns=True)
        names = [self.server] if self.server is not None else system_servers()
        servers = [
            NetworkTarget(host=name, port=self.port, ip_version=self.ip_version) for name in names
        ]
        answer = await ask_servers(journey, question, servers, self.protocol)
        elapsed_seconds = journey.answered()
        code = dns.rcode.to_text(answer.message.rcode())
        journey.details |= {"rcode": code, "protocol": answer.protocol}
        if code != self.expect.rcode:
            return "down", failed("rcode", self.expect.rcode, code)
        records, ttl_seconds = _records(answer.message)
        if records:
            shown = [excerpt(text) for text in _written(records)[:MOST_SHOWN]]
            journey.details |= {"answers": shown, "ttl_seconds": ttl_seconds}
        return self._unmet(records) or self.judge_latency(elapsed_seconds)

    def _unmet(self, records: Sequence[dns.rdata.Rdata]) -> Verdict | None:
        got = {_comparable(one) for one in records}
        shown = excerpt(", ".join(_written(records)) or "no record")
        if self.expect.answers is not None:
            if got != self._wanted(self.expect.answers):
                expected = ", ".join(self.expect.answers) or "no record"
                return "down", failed("answers", expected, shown)
        elif not records and self.expect.rcode == "NOERROR":
            return "down", failed("answers", f"a record of type {self.type}", shown)
        missing = [one for one in self.expect.contains if not self._wanted([one]) <= got]
        return ("down", failed("contains", missing[0], shown)) if missing else None

    def _wanted(self, texts: Iterable[str]) -> set[bytes]:
        return {_as_comparable(text, self.type) for text in texts}

    def _problems(self) -> Iterator[InvalidValueError]:
        try:
            _name(self.query, self.type)
        except (dns.exception.DNSException, UnicodeError):
            yield InvalidValueError("query", self.query, _NAME_RULE)
        if self.server is not None:
            yield from host_problem(self.server, "server")
            yield from ip_version_problem(self.server, self.ip_version)
        yield from port_problem(self.port)
        yield from self._expect_problems()
        yield from self.latency_problems()

    def _expect_problems(self) -> Iterator[InvalidValueError]:
        answers, contains = self.expect.answers or (), self.expect.contains
        bound = f"written as a zone file writes a record of type {self.type}"
        for key, texts in (("expect.answers", answers), ("expect.contains", contains)):
            for text in texts:
                if not _is_record(text, self.type):
                    yield InvalidValueError(key, text, bound)
        if self.expect.rcode != "NOERROR" and (answers or contains):
            bound = "NOERROR, since records are expected"
            yield InvalidValueError("expect.rcode", self.expect.rcode, bound)


def _name(text: str, record_type: RecordType) -> dns.name.Name:
    if record_type == "PTR" and _is_address(text):
        return dns.reversename.from_address(text)
    # By way of bytes: other letters than ASCII's are refused, not translated.
    return dns.name.from_text(text.encode("ascii"))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _as_comparable(text: str, record_type: RecordType) -> bytes:
    if record_type == "TXT":
        return text.encode()
    return _comparable(dns.rdata.from_text("IN", record_type, text, origin=dns.name.root))


def _is_record(text: str, record_type: RecordType) -> bool:
    try:
        _as_comparable(text, record_type)
    except (dns.exception.DNSException, ValueError, OverflowError):
        return False
    return True


def _comparable(record: dns.rdata.Rdata) -> bytes:
    """Equal for records that mean the same, whatever the case of the names in them."""
    if isinstance(record, TXTBase):
        return b"".join(record.strings)  # one text, however the server splits it
    return record.to_digestable(dns.name.root)


def _written(records: Iterable[dns.rdata.Rdata]) -> list[str]:
    """As people write them, in an order of their own: servers shuffle them."""
    return sorted(
        b"".join(one.strings).decode("utf-8", "replace")
        if isinstance(one, TXTBase)
        else one.to_text()
        for one in records
    )


def _records(message: dns.message.Message) -> tuple[list[dns.rdata.Rdata], int]:
    """The records that answer, behind all aliases, and how long they may be kept."""
    if message.rcode() != dns.rcode.NOERROR:
        return [], 0
    try:
        chain = cast("dns.message.QueryMessage", message).resolve_chaining()
    except dns.exception.DNSException as error:
        told = f"the answer contradicts itself: {error}"
        raise ServiceError(told) from error
    return list(chain.answer or ()), chain.minimum_ttl
