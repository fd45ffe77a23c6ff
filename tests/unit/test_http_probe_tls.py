"""The kind `http` trusts only certificates that hold for the name, now, from a known authority."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from pulsebase.probes import Outcome, ProbeTools
from pulsebase.probes.http import HttpProbe
from tests.support.looking import a_look
from tests.support.lying_server import (
    LyingServer,
    answers,
    make_certificate,
    make_expired_certificate,
)

if TYPE_CHECKING:
    from pathlib import Path

FOR_LOOPBACK = ("-days", "2", "-addext", "subjectAltName=IP:127.0.0.1")
FOR_ANOTHER = ("-days", "2", "-addext", "subjectAltName=DNS:another.example")


async def look(probe: HttpProbe) -> Outcome:
    async with ProbeTools() as tools:
        return await probe.probe(a_look(tools, timeout_seconds=5))


def serving(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_trusted_certificate_is_healthy_and_its_handshake_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path, *FOR_LOOPBACK)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with LyingServer(answers(), tls=serving(certificate, key)) as server:
        outcome = await look(HttpProbe(url=server.url))
    assert outcome.status == "healthy"
    assert outcome.details["phases_ms"]["tls"] > 0


async def test_a_self_signed_certificate_is_down(tmp_path: Path) -> None:
    context = serving(*make_certificate(tmp_path, *FOR_LOOPBACK))
    async with LyingServer(answers(), tls=context) as server:
        outcome = await look(HttpProbe(url=server.url))
        assert outcome.status == "down"
        assert outcome.details["error"]["kind"] == "tls"
        unverified = await look(HttpProbe(url=server.url, verify_tls=False))
    assert unverified.status == "healthy"


async def test_not_verifying_one_service_does_not_loosen_the_next(tmp_path: Path) -> None:
    context = serving(*make_certificate(tmp_path, *FOR_LOOPBACK))
    async with LyingServer(answers(), tls=context) as server, ProbeTools() as tools:
        loose = HttpProbe(url=server.url, verify_tls=False)
        assert (await loose.probe(a_look(tools, timeout_seconds=5))).status == "healthy"
        strict = await HttpProbe(url=server.url).probe(a_look(tools, timeout_seconds=5))
    assert strict.details["error"]["kind"] == "tls"


@pytest.mark.parametrize("wrong", ["name", "date"])
async def test_a_trusted_certificate_that_does_not_hold_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    if wrong == "name":
        certificate, key = make_certificate(tmp_path, *FOR_ANOTHER)
    else:
        certificate, key = make_expired_certificate(tmp_path, "IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with LyingServer(answers(), tls=serving(certificate, key)) as server:
        outcome = await look(HttpProbe(url=server.url))
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "tls"
    said = outcome.details["error"]["message"]
    assert ("expired" if wrong == "date" else "name") in said


async def test_a_server_without_tls_on_an_https_port_is_a_tls_error() -> None:
    async with LyingServer(answers(), patient=False) as server:
        outcome = await look(HttpProbe(url=server.url.replace("http:", "https:")))
    assert outcome.details["error"]["kind"] == "tls"
