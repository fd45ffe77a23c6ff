"""The kind `tls`: certificates that hold, that do not, and servers that speak something else."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.handlers import Sink

from pulsebase.errors import InvalidValueError
from pulsebase.probes import ProbeTools, UnknownHealthError
from pulsebase.probes.support.network.certificates import read_certificate
from pulsebase.probes.tls import TlsProbe
from tests.support.certificates import Authority, Identity, self_signed
from tests.support.looking import a_look, look_once
from tests.support.lying_server import repeats, resets, says, stalls
from tests.support.mail_server import MailServer
from tests.support.openssl_server import OpensslServer
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.requirement import require
from tests.support.server_process import Unprivileged, scratch_folder
from tests.support.talking_server import TalkingServer, plays, trickles

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.lying_server import Behaviour

HANDSHAKE = b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"
DETAILS = {"version", "cipher", "subject", "issuer", "names", "not_after", "days_left"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of this test's own."""
    return Authority(tmp_path / "authority")


def probe_of(server: TalkingServer, authority: Authority, **keys: Any) -> TlsProbe:
    target: dict[str, Any] = {"host": "localhost", "port": server.port}
    if keys.get("verify") != "none":
        target["ca_file"] = str(authority.ca_file)
    return TlsProbe(**target | keys)


def serving(identity: Identity, **options: Any) -> TalkingServer:
    return TalkingServer(stalls(), tls=identity.serving(**options))


async def test_a_good_certificate_is_healthy_and_told_of(authority: Authority) -> None:
    async with serving(authority.issue("localhost", "shop.example", days=90.5)) as server:
        outcome = await look_once(probe_of(server, authority))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    tls = outcome.details["tls"]
    assert tls.keys() == DETAILS
    assert tls["version"] == "TLSv1.3"
    assert tls["names"] == ["localhost", "shop.example"]
    assert tls["days_left"] == 90
    ends = datetime.fromisoformat(tls["not_after"])
    assert ends.utcoffset() == timedelta(0)
    assert timedelta(days=90) < ends - datetime.now(UTC) < timedelta(days=91)
    assert outcome.details["phases_ms"].keys() == {"dns", "connect", "tls", "total"}


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("expired", "has expired on 20"),
        ("wrong name", "is not for localhost but for other.example"),
        ("self-signed", "is self-signed"),
        ("untrusted", "from no authority that is trusted here"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_down_says_why_and_is_told_of(
    authority: Authority, tmp_path: Path, flaw: str, said: str
) -> None:
    match flaw:
        case "expired":
            identity = authority.issue("localhost", days=-2.5)
        case "wrong name":
            identity = authority.issue("other.example")
        case "self-signed":
            identity = self_signed(tmp_path / "self", "localhost")
        case _:
            identity = Authority(tmp_path / "stranger").issue("localhost")
    async with serving(identity) as server:
        outcome = await look_once(probe_of(server, authority))
    assert outcome.status == "down"
    assert outcome.latency_ms is None
    assert outcome.details["error"]["kind"] == "tls"
    assert said in outcome.details["error"]["message"]
    assert outcome.details["tls"].keys() == DETAILS
    assert outcome.details["tls"]["days_left"] == (-3 if flaw == "expired" else 89)


async def test_without_ca_file_the_machine_decides_whom_to_trust(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(authority.issue("localhost")) as server:
        probe = TlsProbe(host="localhost", port=server.port)
        assert (await look_once(probe)).details["error"]["kind"] == "tls"
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        assert (await look_once(probe)).status == "healthy"


async def test_a_self_signed_certificate_is_trusted_by_naming_it(tmp_path: Path) -> None:
    identity = self_signed(tmp_path / "self", "localhost")
    async with serving(identity) as server:
        keys: dict[str, Any] = {"port": server.port, "ca_file": str(identity.certificate)}
        assert (await look_once(TlsProbe(host="localhost", **keys))).status == "healthy"
        by_address = TlsProbe(host="127.0.0.1", server_name="localhost", **keys)
        assert (await look_once(by_address)).status == "healthy"
        wrong = await look_once(TlsProbe(host="127.0.0.1", **keys))
    assert "is not for 127.0.0.1 but for localhost" in wrong.details["error"]["message"]


async def test_few_days_are_degraded_and_fewer_down(authority: Authority) -> None:
    async with serving(authority.issue("localhost", days=5.5)) as server:
        by_default = await look_once(probe_of(server, authority))
        assert by_default.status == "degraded"
        assert by_default.details["failed"] == {
            "expectation": "degraded_days_left",
            "expected": "at least 7 days left",
            "got": "5 days left",
        }
        for keys, status in (
            ({"degraded_days_left": 0}, "healthy"),
            ({"degraded_days_left": 5}, "healthy"),
            ({"degraded_days_left": 6}, "degraded"),
            ({"down_days_left": 5}, "degraded"),
            ({"down_days_left": 6}, "down"),
        ):
            outcome = await look_once(probe_of(server, authority, **keys))
            assert outcome.status == status, keys


async def test_what_is_not_verified_is_still_judged_by_its_dates(
    authority: Authority, tmp_path: Path
) -> None:
    other = authority.issue("other.example")
    async with serving(other) as server:
        assert (await look_once(probe_of(server, authority, verify="chain"))).status == "healthy"
    async with serving(self_signed(tmp_path / "self", "other.example")) as server:
        chain = await look_once(probe_of(server, authority, verify="chain"))
        assert chain.details["error"]["kind"] == "tls"
        assert (await look_once(probe_of(server, authority, verify="none"))).status == "healthy"
    async with serving(authority.issue("localhost", days=-1)) as server:
        expired = await look_once(probe_of(server, authority, verify="none"))
    assert expired.status == "down"
    assert "has expired on" in expired.details["error"]["message"]


async def test_an_old_tls_is_down_where_a_newer_is_wanted(authority: Authority) -> None:
    identity = authority.issue("localhost")
    async with serving(identity, newest=ssl.TLSVersion.TLSv1_2) as server:
        assert (await look_once(probe_of(server, authority, min_version="1.2"))).status == "healthy"
        outcome = await look_once(probe_of(server, authority, min_version="1.3"))
    assert outcome.status == "down"
    assert outcome.details["failed"] == {
        "expectation": "min_version",
        "expected": "at least TLSv1.3",
        "got": "TLSv1.2",
    }


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
async def test_a_client_certificate_is_shown_and_missed(
    authority: Authority, tmp_path: Path, version: str
) -> None:
    known = authority.issue("client.example")
    stranger = Authority(tmp_path / "stranger").issue("client.example")
    identity = authority.issue("localhost")
    with OpensslServer(identity, ca_file=authority.ca_file, version=version) as server:
        for shown, said in ((known, ""), (stranger, "unknown ca"), (None, "alert")):
            keys: dict[str, Any] = {"ca_file": str(authority.ca_file)}
            if shown:
                keys |= {"certificate_file": str(shown.certificate), "key_file": str(shown.key)}
            outcome = await look_once(TlsProbe(host="localhost", port=server.port, **keys))
            assert outcome.status == ("down" if said else "healthy"), outcome
            if said:
                assert outcome.details["error"]["kind"] == "tls"
                assert said in outcome.details["error"]["message"]


async def test_a_slow_handshake_is_degraded(authority: Authority) -> None:
    async with serving(authority.issue("localhost")) as server:
        keys: dict[str, Any] = {"degraded_above": timedelta(microseconds=1)}
        outcome = await look_once(probe_of(server, authority, **keys))
    assert outcome.status == "degraded"
    assert outcome.details["failed"]["expectation"] == "degraded_above"


async def test_mail_servers_begin_in_the_clear(authority: Authority) -> None:
    context = authority.issue("localhost").serving()
    async with MailServer(Sink(), tls_context=context) as server:
        probe = TlsProbe(
            host="localhost", port=server.port, starttls="smtp", ca_file=str(authority.ca_file)
        )
        outcome = await look_once(probe)
        assert outcome.status == "healthy"
        assert outcome.details["tls"]["names"] == ["localhost"]
        wrong = await look_once(
            TlsProbe(host="127.0.0.1", port=server.port, starttls="smtp", ca_file=probe.ca_file)
        )
        assert "is not for 127.0.0.1" in wrong.details["error"]["message"]
        assert wrong.details["tls"]["names"] == ["localhost"]
    async with MailServer(Sink()) as server:
        probe = TlsProbe(host="localhost", port=server.port, starttls="smtp")
        outcome = await look_once(probe)
    assert outcome.details["error"]["kind"] == "tls"


async def test_postgresql_begins_in_the_clear(authority: Authority) -> None:
    # The wheel's is built without TLS.
    programs = [folder for folder in available_servers().values() if "embedded" not in str(folder)]
    require("no PostgreSQL with TLS found", programs)
    identity = authority.issue("localhost")
    with scratch_folder("certificate") as folder:
        for source in (identity.certificate, identity.key):
            copied = folder / source.name
            copied.write_bytes(source.read_bytes())
            copied.chmod(0o600)
            Unprivileged.give(copied)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(folder / identity.certificate.name),
            "ssl_key_file": str(folder / identity.key.name),
        }
        with PostgresServer(programs[0], settings=settings) as server:
            keys: dict[str, Any] = {"starttls": "postgres", "ca_file": str(authority.ca_file)}
            probe = TlsProbe(host="localhost", port=server.port, **keys)
            assert (await look_once(probe)).status == "healthy"
            wrong = await look_once(TlsProbe(host="127.0.0.1", port=server.port, **keys))
    assert wrong.details["error"]["kind"] == "tls"
    assert wrong.details["tls"]["names"] == ["localhost"]


async def test_postgresql_without_tls_says_so() -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)]) as server:
        probe = TlsProbe(host="localhost", port=server.port, starttls="postgres")
        outcome = await look_once(probe)
    assert outcome.details["error"] == {"kind": "tls", "message": "the server does not offer TLS"}


LIES: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (says(b""), "reset"),
    "resets without a word": (resets(), "reset"),
    "closes within the handshake": (says(HANDSHAKE), "reset"),
    "resets within the handshake": (resets(HANDSHAKE), "reset"),
    "says nothing": (stalls(), "timeout"),
    "stops within the handshake": (stalls(HANDSHAKE), "timeout"),
    "trickles a handshake": (trickles(HANDSHAKE + b"\x00" * 100), "timeout"),
    "sends a handshake without end": (repeats(HANDSHAKE, b"\x00" * 60_000), "tls"),
    "speaks HTTP": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls"),
    "sends garbage": (repeats(b"", b"\xff\x00\x80" * 20_000), "tls"),
    "sends an alert": (says(b"\x15\x03\x03\x00\x02\x02\x28"), "tls"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_has_its_kind_in_time_and_in_bounded_memory(lie: str) -> None:
    behaviour, kind = LIES[lie]
    async with TalkingServer(behaviour) as server, ProbeTools() as tools:
        probe = TlsProbe(host="127.0.0.1", port=server.port)
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
    assert outcome.details["error"]["kind"] == kind, outcome
    assert "_ssl.c" not in outcome.details["error"]["message"]


EHLO = b"250-localhost\r\n250 STARTTLS\r\n"
STARTTLS_LIES: dict[str, tuple[Behaviour, str]] = {
    "is no mail server": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol"),
    "is busy": (says(b"421 try later\r\n"), "tls"),
    "sends lines without end": (repeats(b"", b"220-x\r\n" * 1000), "protocol"),
    "sends a line without end": (repeats(b"", b"2" * 60_000), "protocol"),
    "closes within a line": (says(b"220 half"), "incomplete"),
    "trickles": (trickles(b"220-x\r\n"), "timeout"),
    "offers and refuses": (plays(b"220 a\r\n", EHLO, b"454 no\r\n"), "tls"),
    # What is said in the clear must not be taken for something said in confidence.
    "says more than it may": (plays(b"220 a\r\n", EHLO, b"220 go\r\n250 injected\r\n"), "protocol"),
}


@pytest.mark.parametrize("lie", STARTTLS_LIES)
async def test_every_lie_before_the_handshake_has_its_kind(lie: str) -> None:
    behaviour, kind = STARTTLS_LIES[lie]
    async with TalkingServer(behaviour) as server:
        probe = TlsProbe(host="127.0.0.1", port=server.port, starttls="smtp")
        outcome = await look_once(probe, timeout_seconds=0.5)
    assert outcome.details["error"]["kind"] == kind, outcome


@pytest.mark.parametrize(("answer", "kind"), [(b"E", "protocol"), (b"", "reset")])
async def test_what_is_no_postgresql_is_noticed(answer: bytes, kind: str) -> None:
    async with TalkingServer(says(answer)) as server:
        probe = TlsProbe(host="127.0.0.1", port=server.port, starttls="postgres")
        assert (await look_once(probe)).details["error"]["kind"] == kind


async def test_a_second_handshake_that_hangs_hides_no_verdict(authority: Authority) -> None:
    """A relay lets the first connection through to a wrong certificate, and then no more."""
    async with serving(authority.issue("other.example")) as server:
        passed = 0

        async def relays(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes
        ) -> None:
            nonlocal passed
            passed += 1
            if passed > 1:
                await reader.read()
            answers, requests = await asyncio.open_connection("127.0.0.1", server.port)
            try:
                requests.write(await reader.read(10_000))
                while chunk := await answers.read(10_000):
                    writer.write(chunk)
            finally:
                requests.close()

        async with TalkingServer(relays) as relay:
            started = time.monotonic()
            outcome = await look_once(probe_of(relay, authority), timeout_seconds=1)
    assert 0.5 < time.monotonic() - started < 3
    assert outcome.details["error"]["kind"] == "tls"
    assert "tls" not in outcome.details


async def test_a_flood_after_the_handshake_changes_nothing(authority: Authority) -> None:
    flood = repeats(b"", b"x" * 60_000)
    async with TalkingServer(flood, tls=authority.issue("localhost").serving()) as server:
        started = time.monotonic()
        outcome = await look_once(probe_of(server, authority), timeout_seconds=3)
    assert outcome.status == "healthy"
    assert time.monotonic() - started < 3


async def test_files_are_read_again_when_they_change_and_missed_when_gone(
    authority: Authority, tmp_path: Path
) -> None:
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Authority(tmp_path / "stranger").ca_file.read_bytes())
    async with serving(authority.issue("localhost")) as server, ProbeTools() as tools:
        probe = TlsProbe(host="localhost", port=server.port, ca_file=str(trusted))
        assert (await probe.probe(a_look(tools))).status == "down"
        renewed = tmp_path / "renewed.pem"
        renewed.write_bytes(authority.ca_file.read_bytes())
        renewed.rename(trusted)
        assert (await probe.probe(a_look(tools))).status == "healthy"
        trusted.unlink()
        with pytest.raises(UnknownHealthError, match=r"cannot be read .*trusted\.pem"):
            await probe.probe(a_look(tools))


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"ca_file": "/nowhere.pem"}, "ca_file must be a readable file with certificates in PEM"),
    ({"key_file": "/nowhere.pem"}, "key_file must be beside a certificate_file"),
    ({"certificate_file": "/nowhere.pem"}, "certificate_file must be a readable file"),
    ({"server_name": "a..b"}, "server_name must be a host name"),
    ({"server_name": "x" * 64}, "server_name must be a host name"),
    ({"server_name": "ä.example"}, "server_name must be a host name"),
    ({"degraded_days_left": -1}, "degraded_days_left must be 0 or more"),
    ({"down_days_left": -1}, "down_days_left must be 0 or more"),
    ({"degraded_days_left": 3, "down_days_left": 3}, "degraded_days_left must be more than"),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[str(keys) for keys, _ in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        TlsProbe(host="a.example", **keys)


def test_files_that_do_not_belong_together_are_refused(
    authority: Authority, tmp_path: Path
) -> None:
    one, other = authority.issue("a.example"), authority.issue("b.example")
    with pytest.raises(InvalidValueError, match="key_file must be a readable file with the"):
        TlsProbe(host="a.example", certificate_file=str(one.certificate), key_file=str(other.key))
    no_pem = tmp_path / "no.pem"
    no_pem.write_text("nothing")
    with pytest.raises(InvalidValueError, match="ca_file must be"):
        TlsProbe(host="a.example", ca_file=str(no_pem))
    with pytest.raises(InvalidValueError, match="ca_file must be left out"):
        TlsProbe(host="a.example", ca_file=str(authority.ca_file), verify="none")


@pytest.mark.parametrize("encoded", [b"", b"\x30\x82", b"-----BEGIN CERTIFICATE-----\nx", b"\xff"])
def test_bytes_that_are_no_certificate_are_read_as_none(encoded: bytes) -> None:
    assert read_certificate(encoded) is None
