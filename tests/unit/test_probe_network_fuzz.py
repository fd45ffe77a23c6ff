"""Whatever bytes a server says, a kind of probe on a network has an outcome, in time."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.probes import ProbeTools, load_probe_kind
from tests.support.certificates import Authority
from tests.support.looking import a_look
from tests.support.talking_server import TalkingServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.lying_server import Behaviour

KINDS: dict[str, dict[str, Any]] = {
    "tcp": {"expect_contains": "never said"},
    "tls": {},
    "tls after STARTTLS": {"starttls": "smtp"},
    "tls of PostgreSQL": {"starttls": "postgres"},
    "smtp": {},
    "smtp with a login": {"username": "us", "password": "pw", "starttls": "none"},
    "smtp in TLS": {"tls": True},
    "ssh": {},
}
WORDS = [
    *(b"220 a\r\n", b"220-a\r\n", b"250 a\r\n", b"250-STARTTLS\r\n", b"250 STARTTLS\r\n"),
    *(b"250 AUTH PLAIN LOGIN CRAM-MD5\r\n", b"334 \r\n", b"334 zz=\r\n", b"235 \r\n", b"S", b"N"),
    *(b"SSH-2.0-x\r\n", b"\x00\x00\x00\x0c\x04\x14", b"\x00\x00\x02\x0c\x04\x1f", b"\x00" * 40),
    *(b"\x16\x03\x03\x00\x40\x02\x00\x00\x3c\x03\x03", b"\x15\x03\x03\x00\x02\x02\x28", b"\r\n"),
]
FARTHEST_SECONDS = 0.15


def says_at_random(chance: random.Random) -> Behaviour:
    """Say some words and some bytes, now and then after listening; then close, or stay silent."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        for _step in range(chance.randint(0, 8)):
            writer.write(chance.choice([chance.choice(WORDS), chance.randbytes(20)]))
            await writer.drain()
            if chance.random() < 0.5:
                await reader.read(4096)
        if chance.random() < 0.2:
            await reader.read()

    return behave


@pytest.mark.parametrize("kind", KINDS)
async def test_any_bytes_are_an_outcome_in_time(kind: str) -> None:
    keys = KINDS[kind]
    name = kind.partition(" ")[0]
    kind_class: Any = load_probe_kind(name)
    if "expect_contains" in keys:
        from pulsebase.probes.tcp import TcpExpectation

        keys = {"expect": TcpExpectation(contains=keys["expect_contains"])}
    chance = random.Random(11)  # noqa: S311 - noise, not a secret
    async with ProbeTools() as tools:
        for _ in range(25):
            async with TalkingServer(says_at_random(chance)) as server:
                probe = kind_class(host="127.0.0.1", port=server.port, **keys)
                started = time.monotonic()
                outcome = await probe.probe(a_look(tools, timeout_seconds=FARTHEST_SECONDS))
                assert time.monotonic() - started < FARTHEST_SECONDS + 1.5
            assert outcome.status == "down" or kind.startswith("smtp")
            if "error" in outcome.details:
                assert outcome.details["error"]["kind"] != "other", outcome


@pytest.mark.parametrize("kind", ["tls", "smtp"])
async def test_a_damaged_handshake_is_an_outcome_in_time(kind: str, tmp_path: Path) -> None:
    """A relay before an honest server that changes some of its bytes."""
    authority = Authority(tmp_path / "authority")
    context = authority.issue("localhost").serving()
    kind_class: Any = load_probe_kind(kind)
    chance = random.Random(13)  # noqa: S311 - noise, not a secret

    async def honest(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"220 a\r\n")
        await reader.read()

    async with TalkingServer(honest, tls=context) as server:

        async def damages(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes
        ) -> None:
            answers, requests = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                requests.write(await reader.read(10_000))
                damaged = bytearray(await answers.read(10_000))
                for _step in range(chance.randint(1, 4)):
                    damaged[chance.randrange(len(damaged))] ^= chance.randint(1, 255)
                writer.write(damaged)
                await reader.read()
            finally:
                requests.close()

        keys: dict[str, Any] = {"ca_file": str(authority.ca_file)}
        keys |= {"tls": True} if kind == "smtp" else {}
        async with ProbeTools() as tools:
            for _ in range(15):
                async with TalkingServer(damages) as relay:
                    probe = kind_class(host="localhost", port=relay.port, **keys)
                    outcome = await probe.probe(a_look(tools, timeout_seconds=FARTHEST_SECONDS))
                assert outcome.status == "down"
                assert outcome.details["error"]["kind"] in {"tls", "timeout", "reset"}, outcome
