"""The kind `ssh`: Debian's own sshd, its keys, and servers that speak something else."""

from __future__ import annotations

import asyncio
import random
import re
import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.probes import ProbeTools
from pulsebase.probes.ssh import SshProbe
from tests.support.looking import a_look, look_once
from tests.support.lying_server import repeats, resets, says, stalls
from tests.support.server_process import free_port
from tests.support.ssh_server import SshServer
from tests.support.talking_server import TalkingServer, trickles
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.lying_server import Behaviour

BANNER = b"SSH-2.0-OpenSSH_9.2p1\r\n"
ANOTHER = "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """One sshd with all types of keys, for all tests of this file."""
    with SshServer("ed25519", "ecdsa", "rsa") as sshd:
        yield sshd


async def test_a_key_exchange_is_healthy_and_told_of(server: SshServer) -> None:
    outcome = await look_once(SshProbe(host="127.0.0.1", port=server.port))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["banner"].startswith("SSH-2.0-OpenSSH_")
    assert outcome.details["host_key_type"] == "ssh-ed25519"
    assert outcome.details["host_key_sha256"] == server.fingerprint("ed25519")
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() == {"dns", "connect", "first_byte", "total"}


@pytest.mark.parametrize("key_type", ["ed25519", "ecdsa", "rsa"])
async def test_each_type_of_key_is_compared(server: SshServer, key_type: Any) -> None:
    keys: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "host_key_type": key_type}
    fingerprint = server.fingerprint(key_type)
    outcome = await look_once(SshProbe(**keys, host_key_sha256=fingerprint))
    assert outcome.status == "healthy"
    assert key_type in outcome.details["host_key_type"]
    outcome = await look_once(SshProbe(**keys, host_key_sha256=ANOTHER))
    assert outcome.status == "down"
    assert outcome.details["failed"] == {
        "expectation": "host_key_sha256",
        "expected": ANOTHER,
        "got": fingerprint,
    }


async def test_a_type_of_key_that_the_server_lacks_is_down() -> None:
    with SshServer("ed25519") as server:
        probe = SshProbe(host="127.0.0.1", port=server.port, host_key_type="rsa")
        outcome = await look_once(probe)
    assert outcome.details["error"]["kind"] == "protocol"
    assert "the server offers ssh-ed25519" in outcome.details["error"]["message"]
    assert outcome.details["banner"].startswith("SSH-2.0-")


async def test_ways_to_exchange_keys_that_do_not_meet_are_down() -> None:
    options = ["KexAlgorithms diffie-hellman-group1-sha1"]
    with SshServer("ed25519", options=options) as server:
        outcome = await look_once(SshProbe(host="127.0.0.1", port=server.port))
    assert outcome.details["error"]["kind"] == "protocol"
    assert "diffie-hellman-group1-sha1" in outcome.details["error"]["message"]


@pytest.mark.parametrize(
    "method",
    [
        "curve25519-sha256",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group14-sha1",
    ],
)
async def test_every_way_to_exchange_keys_is_proved(method: str) -> None:
    with SshServer("ed25519", options=[f"KexAlgorithms {method}"]) as server:
        outcome = await look_once(SshProbe(host="127.0.0.1", port=server.port))
    assert outcome.status == "healthy", outcome


async def test_nobody_tries_to_log_in(server: SshServer) -> None:
    await look_once(SshProbe(host="127.0.0.1", port=server.port))
    assert "authenticating" not in server.log()
    assert "Failed" not in server.log()


async def test_a_slow_exchange_is_degraded(server: SshServer) -> None:
    soon = timedelta(microseconds=1)
    probe = SshProbe(host="127.0.0.1", port=server.port, degraded_above=soon)
    assert (await look_once(probe)).status == "degraded"


async def test_the_files_of_whoever_runs_the_monitor_change_nothing(
    server: SshServer, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  Port 1\n  HostKeyAlgorithms none\n")
    outcome = await look_once(SshProbe(host="127.0.0.1", port=server.port))
    assert outcome.status == "healthy", outcome


async def test_dozens_at_once(server: SshServer) -> None:
    async with ProbeTools() as tools:
        probe = SshProbe(host="127.0.0.1", port=server.port)
        looks = (probe.probe(a_look(tools, timeout_seconds=30)) for _ in range(30))
        outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}


async def test_a_cancelled_probe_leaves_no_connection() -> None:
    async with TalkingServer(stalls(BANNER)) as silent, ProbeTools() as tools:
        probe = SshProbe(host="127.0.0.1", port=silent.port)
        task = asyncio.create_task(probe.probe(a_look(tools, timeout_seconds=30)))
        await silent.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_async(lambda: not silent.open_connections, "the connection is closed")


EMPTY = b"\x00\x00\x00\x0c" + b"\x0b" + b"\x00" * 11
IDLE = b"\x00\x00\x00\x0c" + b"\x04\x02" + b"\x00" * 10
FAREWELL = b"\x00\x00\x00\x14\x04\x01\x00\x00\x00\x0b\x00\x00\x00\x04full" + b"\x00" * 6
LARGE = (1 << 30).to_bytes(4)
LIES: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (says(b""), "reset"),
    "resets without a word": (resets(), "reset"),
    "closes after the banner": (says(BANNER), "reset"),
    "resets after the banner": (resets(BANNER), "reset"),
    "says nothing": (stalls(), "timeout"),
    "stops within the banner": (stalls(b"SSH-2.0-"), "timeout"),
    "stops after the banner": (stalls(BANNER), "timeout"),
    "trickles a banner": (trickles(BANNER[:-2]), "timeout"),
    "never ends the banner": (repeats(b"", b"x" * 60_000), "protocol"),
    "sends lines without end": (repeats(b"", b"hello\r\n" * 1000), "protocol"),
    "speaks an old protocol": (says(b"SSH-1.5-old\r\n"), "protocol"),
    "speaks HTTP": (stalls(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 20_000), "protocol"),
    "has a banner of other letters": (stalls(b"SSH-2.0-\xff\xfe\r\n"), "timeout"),
    "announces a large packet": (repeats(BANNER + LARGE, b"x" * 60_000), "protocol"),
    "sends garbage after the banner": (repeats(BANNER, b"\xff" * 60_000), "protocol"),
    "sends empty packets": (repeats(BANNER, EMPTY * 1000), "protocol"),
    "sends messages without a meaning": (repeats(BANNER, IDLE * 1000), "protocol"),
    "disconnects with a word": (stalls(BANNER + FAREWELL), "protocol"),
    "closes within a packet": (says(BANNER + b"\x00\x00\x01\x00\x04"), "any"),
    "sends nonsense as key exchange": (
        repeats(BANNER, b"\x00\x00\x00\x0c\x04\x14" + b"\xff" * 10_000),
        "protocol",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_has_its_kind_in_time_and_in_bounded_memory(
    lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    behaviour, kind = LIES[lie]
    async with TalkingServer(behaviour) as server, ProbeTools() as tools:
        probe = SshProbe(host="127.0.0.1", port=server.port)
        await probe.probe(a_look(tools, timeout_seconds=0.1))
        tracemalloc.start()
        started = time.monotonic()
        outcome = await probe.probe(a_look(tools, timeout_seconds=0.5))
        took_seconds = time.monotonic() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took_seconds < 6
    assert peak < 4 * 1024 * 1024
    assert outcome.status == "down"
    assert outcome.latency_ms is None
    assert kind in {"any", outcome.details["error"]["kind"]}, outcome
    assert [one for one in caplog.records if one.levelname in {"ERROR", "CRITICAL"}] == []


async def test_damage_in_a_key_exchange_is_an_outcome(server: SshServer) -> None:
    """What sshd says first, damaged at random: never an exception, always in time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"SSH-2.0-x\r\n")
    said = await reader.readuntil(b"\n")
    said += await reader.readexactly(800)
    writer.close()
    await writer.wait_closed()
    chance = random.Random(7)  # noqa: S311 - damage, not a secret
    for _ in range(60):
        damaged = bytearray(said)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        async with TalkingServer(says(bytes(damaged))) as liar:
            outcome = await look_once(SshProbe(host="127.0.0.1", port=liar.port))
        assert outcome.details["error"]["kind"] in {"protocol", "reset", "incomplete"}, outcome


async def test_a_key_that_is_not_the_servers_own_is_noticed(server: SshServer) -> None:
    """A relay that changes one byte of what the client says before the exchange."""

    async def meddles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", server.port)

        async def back() -> None:
            while chunk := await answers.read(10_000):
                writer.write(chunk)

        task = asyncio.create_task(back())
        try:
            while chunk := await reader.read(10_000):
                requests.write(chunk.replace(b"SSH-2.0-pulsebase", b"SSH-2.0-pulsebasf"))
        finally:
            task.cancel()
            requests.close()

    async with TalkingServer(meddles) as relay:
        outcome = await look_once(SshProbe(host="127.0.0.1", port=relay.port))
    assert outcome.details["error"] == {
        "kind": "protocol",
        "message": "the server could not prove that the host key is its own",
    }


async def test_a_closed_port_is_refused() -> None:
    outcome = await look_once(SshProbe(host="127.0.0.1", port=free_port()))
    assert outcome.details["error"]["kind"] == "refused"


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"host": "a b"}, "host must be a host name"),
    ({"port": 0}, "port must be"),
    ({"host_key_sha256": "MD5:aa:bb"}, "host_key_sha256 must be a fingerprint as `ssh-keygen -l`"),
    ({"host_key_sha256": ANOTHER + "="}, "host_key_sha256 must be a fingerprint"),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[str(keys) for keys, _ in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        SshProbe(**dict[str, Any](host="a.example") | keys)
