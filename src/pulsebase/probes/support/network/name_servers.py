"""Questions to name servers: sent again when they get lost, and never fooled by other answers.

The messages are dnspython's; the sockets are ours, so that a closed port is noticed at once and a
flood of packets waits in the kernel.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import dns.exception
import dns.flags
import dns.message
import dns.resolver

from pulsebase.probes.support.faults import fault
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.probes.support.network.connecting import Journey, NetworkTarget, Verdict
    from pulsebase.probes.support.network.name_lookup import Address

__all__ = ["Answer", "Protocol", "ask_servers", "system_servers"]

Protocol: TypeAlias = Literal["udp", "tcp"]

_LARGEST_PACKET: Final = 65_535
# How often a question is sent that gets no answer: packets get lost on healthy networks too.
_SENDINGS: Final = 3
# What a message of any bytes makes dnspython raise.
_UNREADABLE: Final = (dns.exception.DNSException, ValueError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A message that answers the question, and how it came."""

    message: dns.message.Message
    protocol: Protocol


def system_servers() -> Sequence[str]:
    """The addresses of the name servers that this machine is configured with."""
    try:
        return [str(one) for one in dns.resolver.Resolver().nameservers]
    except (dns.resolver.NoResolverConfiguration, OSError) as error:
        message = "this machine has no name servers configured; name one with the key server"
        raise UnknownHealthError(message) from error


async def ask_servers(
    journey: Journey,
    question: dns.message.QueryMessage,
    servers: Sequence[NetworkTarget],
    protocol: Protocol,
) -> Answer:
    """What the first server says that says anything, each with a share of the time left."""
    *others, last = servers
    for number, server in enumerate(others):
        seconds = journey.seconds_left / (len(servers) - number)
        with suppress(OSError, EOFError, ServiceError):
            async with asyncio.timeout(seconds):
                return await _ask(journey, question, server, protocol)
    return await _ask(journey, question, last, protocol)


async def _ask(
    journey: Journey,
    question: dns.message.QueryMessage,
    server: NetworkTarget,
    protocol: Protocol,
) -> Answer:
    if protocol == "udp":
        message = await _ask_by_packets(journey, question, server)
        if not message.flags & dns.flags.TC:
            return Answer(message=message, protocol="udp")
    # As every resolver does: what does not fit into a packet is asked for again over TCP.
    message = await _ask_by_stream(journey, question, server)
    return Answer(message=message, protocol="tcp")


async def _ask_by_packets(
    journey: Journey, question: dns.message.QueryMessage, server: NetworkTarget
) -> dns.message.Message:
    with journey.phase("dns"):
        addresses = await journey.addresses(
            server.host, port=server.port, ip_version=server.ip_version
        )
    journey.details["remote_ip"] = addresses[0][1][0]
    with _packets_to(addresses[0]) as endpoint, journey.phase("first_byte"):
        listening = _Listening(endpoint, question)
        journey.when_late = listening.late
        pause_seconds = journey.seconds_left / _SENDINGS
        for _ in range(_SENDINGS):
            await asyncio.get_running_loop().sock_sendall(endpoint, question.to_wire())
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    return await listening.for_answer()
        raise TimeoutError


def _packets_to(address: Address) -> socket.socket:
    family, place = address
    endpoint = socket.socket(family, socket.SOCK_DGRAM)
    try:
        endpoint.settimeout(0)
        # Connected, the kernel drops what comes from elsewhere and tells of a closed port.
        endpoint.connect(place)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


class _Listening:
    """Waits for the packet that answers the question, and counts those that do not."""

    def __init__(self, endpoint: socket.socket, question: dns.message.QueryMessage) -> None:
        self._endpoint = endpoint
        self._question = question
        self._lies = 0

    async def for_answer(self) -> dns.message.Message:
        loop = asyncio.get_running_loop()
        while True:
            packet = await loop.sock_recv(self._endpoint, _LARGEST_PACKET)
            if message := _read(packet, self._question):
                return message
            self._lies += 1
            # While packets wait, nothing above does: the deadline needs its turn.
            await asyncio.sleep(0)

    def late(self) -> Verdict | None:
        """What is to be said when the time is up, where something did come."""
        if not self._lies:
            return None
        return "down", fault(
            ServiceError(f"{self._lies} packets came, and none answers the question"),
            kind="protocol",
        )


async def _ask_by_stream(
    journey: Journey, question: dns.message.QueryMessage, server: NetworkTarget
) -> dns.message.Message:
    journey.when_late = None
    async with await journey.connect(server) as wire:
        await wire.send(question.to_wire(prepend_length=True))
        with journey.phase("first_byte"):
            length = int.from_bytes(await wire.receive_exactly(2))
        packet = await wire.receive_exactly(length, begun=True)
    if message := _read(packet, question):
        return message
    told = f"{length} bytes came, and they do not answer the question"
    raise ServiceError(told)


def _read(packet: bytes, question: dns.message.QueryMessage) -> dns.message.Message | None:
    try:
        # Where a truncated message was cut does not matter: it is asked for again over TCP.
        message = dns.message.from_wire(packet, continue_on_error=_is_truncated(packet))
        return message if question.is_response(message) else None
    except _UNREADABLE:
        return None


def _is_truncated(packet: bytes) -> bool:
    flags = int.from_bytes(packet[2:4])
    return bool(flags & dns.flags.TC)
