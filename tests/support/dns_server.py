"""A name server on a free local port, over UDP and TCP: answers from records, or as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    # From the bytes of a question and whether they came over TCP to the bytes of each answer.
    Liar = Callable[[bytes, bool], list[bytes]]

__all__ = ["DnsServer", "answering", "nobody_home", "refusing"]

# What fits into a packet where the client does not say otherwise.
_LARGEST_PACKET = 1232


class DnsServer:
    """Serves one behaviour, and counts the questions."""

    def __init__(self, behaviour: Liar) -> None:
        self._behaviour = behaviour
        self._server: asyncio.Server | None = None
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.packets = 0
        self.streams = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Packets(self), local_addr=("127.0.0.1", self.port)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        assert self._transport is not None
        self._server.close()
        self._transport.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def packet(self, question: bytes) -> list[bytes]:
        """What is said to a packet."""
        self.packets += 1
        return self._behaviour(question, False)  # noqa: FBT003 - a behaviour is a plain function

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.streams += 1
        with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
            length = int.from_bytes(await reader.readexactly(2))
            question = await reader.readexactly(length)
            for answer in self._behaviour(question, True):  # noqa: FBT003 - as above
                writer.write(len(answer).to_bytes(2) + answer)
            await writer.drain()
        writer.close()


class _Packets(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own class does not say that it is one.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        for answer in self._server.packet(data):
            self._transport.sendto(answer, addr)


def answering(records: Mapping[tuple[str, str], list[str]]) -> Liar:
    """Answer from records by name and type, aliases included; NXDOMAIN for other names."""

    def behave(encoded: bytes, over_tcp: bool) -> list[bytes]:
        question = dns.message.from_wire(encoded)
        answer = dns.message.make_response(question, our_payload=_LARGEST_PACKET)
        wanted = question.question[0]
        name = wanted.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(wanted.rdtype)
        while alias := records.get((name, "CNAME")) if kind != "CNAME" else None:
            answer.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", *alias))
            name = alias[0].rstrip(".")
        if found := records.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(f"{name}.", 300, "IN", kind, *found))
        elif name not in {known for known, _ in records}:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        whole = answer.to_wire(max_size=65_535)
        if over_tcp or len(whole) <= _LARGEST_PACKET:
            return [whole]
        cut = dns.message.make_response(question)
        cut.flags |= dns.flags.TC
        return [cut.to_wire()]

    return behave


def refusing(rcode: str) -> Liar:
    """Answer with a response code and nothing else."""

    def behave(encoded: bytes, _: bool) -> list[bytes]:
        answer = dns.message.make_response(dns.message.from_wire(encoded))
        answer.set_rcode(dns.rcode.from_text(rcode))
        return [answer.to_wire()]

    return behave


def nobody_home(_: bytes, __: bool) -> list[bytes]:
    """Say nothing."""
    return []
