"""The kind `smtp`: real mail servers with and without TLS and logins, and lying ones."""

from __future__ import annotations

import asyncio
import base64
import re
import time
import tracemalloc
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, LoginPassword

from pulsebase.errors import InvalidValueError
from pulsebase.probes import ProbeTools
from pulsebase.probes.smtp import SmtpProbe
from tests.support.certificates import Authority, self_signed
from tests.support.looking import a_look, look_once
from tests.support.lying_server import repeats, resets, says, stalls
from tests.support.mail_server import MailServer
from tests.support.server_process import free_port
from tests.support.talking_server import TalkingServer, plays, trickles
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.lying_server import Behaviour

USER, PASSWORD = "monitor@shop.example", "canary-4f9c2d71b6"
ENCODED = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of this test's own."""
    return Authority(tmp_path / "authority")


def probe_of(server: MailServer | TalkingServer, **keys: Any) -> SmtpProbe:
    return SmtpProbe(**dict[str, Any](host="localhost", port=server.port) | keys)


def knows(_: object, __: object, ___: object, ____: object, found: LoginPassword) -> AuthResult:
    right = found == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


async def test_a_conversation_in_the_clear_is_healthy_and_told_of() -> None:
    async with MailServer(Sink()) as server:
        outcome = await look_once(probe_of(server))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["smtp_code"] == 250
    assert outcome.details["banner"].startswith("220 mail.example")
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["phases_ms"].keys() == {"dns", "connect", "first_byte", "total"}
    assert "tls" not in outcome.details


async def test_starttls_is_used_where_it_is_offered(authority: Authority) -> None:
    context = authority.issue("localhost").serving()
    trusting = {"ca_file": str(authority.ca_file)}
    async with MailServer(Sink(), tls_context=context) as server:
        for starttls in ("required", "optional", None):
            outcome = await look_once(probe_of(server, starttls=starttls, **trusting))
            assert outcome.status == "healthy", outcome
            assert outcome.details["tls"]["version"] == "TLSv1.3"
            assert outcome.details["tls"]["names"] == ["localhost"]
            assert outcome.details["tls"]["days_left"] == 89
            assert outcome.details["phases_ms"]["tls"] > 0
        without = await look_once(probe_of(server, starttls="none"))
        assert "tls" not in without.details
    async with MailServer(Sink()) as server:
        assert (await look_once(probe_of(server, starttls="optional"))).status == "healthy"
        required = await look_once(probe_of(server, starttls="required"))
    assert required.details["error"] == {
        "kind": "tls",
        "message": "the server does not offer STARTTLS",
    }


async def test_tls_from_the_first_byte(authority: Authority) -> None:
    context = authority.issue("localhost").serving()
    async with MailServer(Sink(), implicit_tls=context) as server:
        probe = probe_of(server, tls=True, ca_file=str(authority.ca_file))
        outcome = await look_once(probe)
        assert outcome.status == "healthy", outcome
        assert outcome.details["tls"].keys() >= {"version", "cipher", "subject", "not_after"}
        wrong = await look_once(probe_of(server, tls=True, host="127.0.0.1", ca_file=probe.ca_file))
    assert "is not for 127.0.0.1 but for localhost" in wrong.details["error"]["message"]
    assert wrong.details["tls"]["names"] == ["localhost"]


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("expired", "has expired on"),
        ("wrong name", "is not for localhost but for other.example"),
        ("self-signed", "is self-signed"),
        ("untrusted", "from no authority that is trusted here"),
    ],
)
@pytest.mark.parametrize("implicit", [True, False])
async def test_a_certificate_that_does_not_hold_is_down_and_told_of(
    authority: Authority, tmp_path: Path, flaw: str, said: str, implicit: bool
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
    context = identity.serving()
    options: dict[str, Any] = {"implicit_tls" if implicit else "tls_context": context}
    async with MailServer(Sink(), **options) as server:
        keys: dict[str, Any] = {"tls": implicit}
        outcome = await look_once(probe_of(server, ca_file=str(authority.ca_file), **keys))
        assert outcome.status == "down"
        assert outcome.details["error"]["kind"] == "tls"
        assert said in outcome.details["error"]["message"]
        assert "days_left" in outcome.details["tls"]
        careless = await look_once(probe_of(server, verify="none", **keys))
    assert careless.status == "healthy"


@pytest.mark.parametrize("method", ["PLAIN", "LOGIN"])
async def test_a_login_is_accepted_or_refused(authority: Authority, method: str) -> None:
    options: dict[str, Any] = {
        "tls_context": authority.issue("localhost").serving(),
        "authenticator": knows,
        "auth_exclude_mechanism": {"PLAIN", "LOGIN"} - {method},
    }
    async with MailServer(Sink(), **options) as server:
        keys = {"ca_file": str(authority.ca_file), "username": USER}
        right = await look_once(probe_of(server, **keys, password=PASSWORD))
        assert right.status == "healthy", right
        assert right.details["smtp_code"] == 235
        wrong = await look_once(probe_of(server, **keys, password=PASSWORD[::-1]))
    assert wrong.status == "down"
    assert wrong.details["error"]["kind"] == "authentication"
    assert wrong.details["error"]["message"].startswith("535")


async def test_a_password_goes_in_the_clear_only_where_that_is_said() -> None:
    login: dict[str, Any] = {"username": USER, "password": PASSWORD}
    options: dict[str, Any] = {"authenticator": knows, "auth_require_tls": False}
    async with MailServer(Sink(), **options) as server:
        refused = await look_once(probe_of(server, **login))
        assert refused.details["error"]["kind"] == "tls"
        accepted = await look_once(probe_of(server, **login, starttls="none"))
        assert accepted.status == "healthy", accepted
    with pytest.raises(InvalidValueError, match='starttls must be "required" where a password'):
        SmtpProbe(host="a.example", starttls="optional", **login)


async def test_a_server_without_logins_refuses_one() -> None:
    async with MailServer(Sink()) as server:
        probe = probe_of(server, username=USER, password=PASSWORD, starttls="none")
        outcome = await look_once(probe)
    assert outcome.details["error"]["kind"] == "authentication"


async def test_neither_user_nor_password_is_shown_even_if_the_server_says_them() -> None:
    async def echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(b"220 a\r\n")
        await reader.readline()
        writer.write(b"250-a\r\n250 AUTH PLAIN\r\n")
        said = (await reader.readline()).strip()
        writer.write(b"535 " + said + f" {USER} {PASSWORD}\r\n".encode())
        await reader.read()

    async with TalkingServer(echoes) as server:
        probe = probe_of(server, username=USER, password=PASSWORD, starttls="none")
        outcome = await look_once(probe)
    shown = f"{outcome!r} {probe!r}"
    assert outcome.details["error"]["message"].startswith("535 AUTH PLAIN ***")
    for secret in (PASSWORD, ENCODED):
        assert secret not in shown
    assert USER not in repr(outcome)


EHLO = b"250-a\r\n250 STARTTLS\r\n"


@pytest.mark.parametrize(
    ("lines", "step", "code"),
    [
        ((b"421 too busy\r\n",), "banner", 421),
        ((b"554 go away\r\n",), "banner", 554),
        ((b"220 a\r\n", b"502 what?\r\n"), "ehlo", 502),
        ((b"220 a\r\n", EHLO, b"454 not now\r\n"), "starttls", 454),
    ],
)
async def test_another_code_than_it_takes_is_down(
    lines: tuple[bytes, ...], step: str, code: int
) -> None:
    async with TalkingServer(plays(*lines)) as server:
        outcome = await look_once(probe_of(server))
    assert outcome.status == "down"
    assert outcome.latency_ms is not None
    assert outcome.details["smtp_code"] == code
    assert outcome.details["failed"]["expectation"] == step
    assert outcome.details["failed"]["got"].startswith(str(code))


async def test_a_slow_conversation_is_degraded() -> None:
    async with MailServer(Sink()) as server:
        soon = timedelta(microseconds=1)
        assert (await look_once(probe_of(server, degraded_above=soon))).status == "degraded"


async def test_a_server_that_does_not_say_goodbye_is_healthy() -> None:
    async with TalkingServer(plays(b"220 a\r\n", b"250 a\r\n")) as server:
        started = time.monotonic()
        assert (await look_once(probe_of(server), timeout_seconds=0.5)).status == "healthy"
    assert time.monotonic() - started < 2


LIES: dict[str, tuple[Behaviour, str]] = {
    "closes without a word": (says(b""), "reset"),
    "resets without a word": (resets(), "reset"),
    "closes within the banner": (says(b"220 ha"), "reset"),
    "resets within the banner": (resets(b"220-ha\r\n"), "reset"),
    "closes after the banner": (says(b"220 a\r\n"), "reset"),
    "says nothing": (stalls(), "timeout"),
    "stops within the banner": (stalls(b"220-a\r\n"), "timeout"),
    "stops after the banner": (stalls(b"220 a\r\n"), "timeout"),
    "trickles a banner": (trickles(b"220-a\r\n"), "timeout"),
    "never ends the banner": (repeats(b"", b"220-a\r\n" * 1000), "protocol"),
    "never ends the line": (repeats(b"", b"2" * 60_000), "protocol"),
    "speaks HTTP": (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "protocol"),
    "speaks SSH": (stalls(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "protocol"),
    "sends garbage": (repeats(b"", b"\xff\x00\r\n" * 20_000), "protocol"),
    "never ends the greeting": (repeats(b"220 a\r\n", b"250-a\r\n" * 1000), "protocol"),
    "says more than it may": (plays(b"220 a\r\n", EHLO, b"220 go\r\n250 x\r\n"), "timeout"),
    "shakes hands with garbage": (plays(b"220 a\r\n", EHLO, b"220 go\r\n", b"\xff" * 999), "tls"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_every_lie_has_its_kind_in_time_and_in_bounded_memory(lie: str) -> None:
    behaviour, kind = LIES[lie]
    async with TalkingServer(behaviour) as server, ProbeTools() as tools:
        await probe_of(server).probe(a_look(tools, timeout_seconds=0.1))
        tracemalloc.start()
        started = time.monotonic()
        outcome = await probe_of(server).probe(a_look(tools, timeout_seconds=0.5))
        took_seconds = time.monotonic() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert took_seconds < 6
    assert peak < 4 * 1024 * 1024
    assert outcome.status == "down"
    assert outcome.latency_ms is None, outcome
    assert outcome.details["error"]["kind"] == kind, outcome


async def test_a_closed_port_is_refused() -> None:
    outcome = await look_once(SmtpProbe(host="127.0.0.1", port=free_port()))
    assert outcome.details["error"]["kind"] == "refused"


async def test_a_cancelled_probe_leaves_no_connection() -> None:
    async with TalkingServer(stalls(b"220 a\r\n")) as silent, ProbeTools() as tools:
        probe = probe_of(silent)
        task = asyncio.create_task(probe.probe(a_look(tools, timeout_seconds=30)))
        await silent.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_async(lambda: not silent.open_connections, "the connection is closed")


async def test_dozens_at_once() -> None:
    async with MailServer(Sink()) as server, ProbeTools() as tools:
        looks = (probe_of(server).probe(a_look(tools, timeout_seconds=20)) for _ in range(60))
        outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"host": "a b"}, "host must be a host name"),
    ({"tls": True, "starttls": "required"}, "starttls must be left out where tls is true"),
    ({"username": "a"}, "password must be given together with username"),
    ({"password": "a"}, "username must be given together with password"),
    ({"ca_file": "/nowhere.pem"}, "ca_file must be a readable file"),
    ({"server_name": "a..b"}, "server_name must be a host name"),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[said for _, said in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        SmtpProbe(**dict[str, Any](host="a.example") | keys)
