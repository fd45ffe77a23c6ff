"""The kind `http` comes as whom it is told, by the way it is told, and tells nobody about it."""

from __future__ import annotations

import asyncio
import ssl
import sys
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pulsebase.errors import InvalidValueError
from pulsebase.probes import ProbeTools, UnknownHealthError
from pulsebase.probes.http import BasicAuth, HttpExpectation, HttpProbe
from pulsebase.probes.support.curl import transfers as curl_transfers
from pulsebase.probes.support.curl.watched import SelectorWatch
from tests.support.certificates import Authority
from tests.support.looking import a_look, look_once
from tests.support.lying_server import LyingServer, answers, stalls
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-4f9c2d71b6"
SOMEBODY = BasicAuth(username="somebody", password=CANARY)
ELSE = HttpExpectation(body_contains="something else")


async def echoes(_: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(request) + request)


async def test_user_and_password_are_sent_and_never_shown() -> None:
    auth = BasicAuth(username="grün", password=f"{CANARY}:x")
    encoded = b64encode(f"grün:{CANARY}:x".encode())
    async with LyingServer(echoes) as server:
        probe = HttpProbe(url=server.url, basic_auth=auth, expect=ELSE)
        outcome = await look_once(probe)
    assert b"Authorization: Basic " + encoded in server.requests[0]
    shown = f"{outcome!r} {probe!r} {auth!r}"
    assert "GET / HTTP" in shown
    assert CANARY not in shown
    assert encoded.decode() not in shown


async def test_a_token_is_sent_and_never_shown() -> None:
    async with LyingServer(echoes) as server:
        probe = HttpProbe(url=server.url, bearer_token=CANARY, expect=ELSE)
        outcome = await look_once(probe)
    assert f"Authorization: Bearer {CANARY}".encode() in server.requests[0]
    assert CANARY not in f"{outcome!r} {probe!r}"


@pytest.mark.parametrize(
    "keys",
    [{"bearer_token": CANARY}, {"basic_auth": SOMEBODY}],
    ids=["token", "user"],
)
async def test_neither_goes_along_to_another_server(keys: dict[str, Any]) -> None:
    async with LyingServer(answers()) as other:
        points = answers(status="302 Found", headers=f"Location: {other.url}\r\n")
        async with LyingServer(points) as server:
            assert (await look_once(HttpProbe(url=server.url, **keys))).status == "healthy"
    assert b"Authorization" not in other.requests[0]


async def test_a_client_certificate_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    server_side, client = authority.issue("127.0.0.1"), authority.issue("client.example")
    context = server_side.serving(newest=ssl.TLSVersion.TLSv1_2)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca_file)
    async with LyingServer(answers(), tls=context) as server:
        keys: dict[str, Any] = {"url": server.url, "ca_file": str(authority.ca_file)}
        without = await look_once(HttpProbe(**keys))
        keys |= {"certificate_file": str(client.certificate), "key_file": str(client.key)}
        with_it = await look_once(HttpProbe(**keys))
    assert without.details["error"]["kind"] in {"tls", "reset"}
    assert with_it.status == "healthy"


async def test_another_authority_is_trusted_instead_of_the_systems(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with LyingServer(answers(), tls=authority.issue("127.0.0.1").serving()) as server:
        trusted = HttpProbe(url=server.url, ca_file=str(authority.ca_file))
        assert (await look_once(trusted)).status == "healthy"
        for probe in (
            HttpProbe(url=server.url, ca_file=str(stranger.ca_file)),
            HttpProbe(url=server.url),
        ):
            assert (await look_once(probe)).details["error"]["kind"] == "tls"


async def test_probes_with_other_authorities_share_a_driver(tmp_path: Path) -> None:
    one, other = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with (
        LyingServer(answers(), tls=one.issue("127.0.0.1").serving()) as first,
        LyingServer(answers(), tls=other.issue("127.0.0.1").serving()) as second,
        ProbeTools() as tools,
    ):
        probes = [
            HttpProbe(url=server.url, ca_file=str(authority.ca_file))
            for server in (first, second)
            for authority in (one, other)
        ]
        found = [(await probe.probe(a_look(tools))).status for probe in probes * 3]
    assert found == ["healthy", "down", "down", "healthy"] * 3


async def test_files_that_went_away_are_our_own_trouble(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    client = authority.issue("client.example")
    async with LyingServer(answers(), tls=authority.issue("127.0.0.1").serving()) as server:
        probe = HttpProbe(
            url=server.url,
            ca_file=str(authority.ca_file),
            certificate_file=str(client.certificate),
            key_file=str(client.key),
        )
        for gone in (client.key, client.certificate, authority.ca_file):
            kept = gone.read_bytes()
            gone.unlink()
            with pytest.raises(UnknownHealthError, match="file for TLS"):
                await look_once(probe)
            gone.write_bytes(kept)
        assert (await look_once(probe)).status == "healthy"


async def test_a_proxy_is_asked_for_the_target_and_told_who_we_are() -> None:
    async with LyingServer(answers()) as proxy:
        probe = HttpProbe(
            url="http://nowhere.invalid/path",
            proxy=f"http://me:{CANARY}@127.0.0.1:{proxy.port}",
        )
        outcome = await look_once(probe)
    assert outcome.status == "healthy"
    assert proxy.requests[0].startswith(b"GET http://nowhere.invalid/path HTTP/1.1\r\n")
    assert b64encode(f"me:{CANARY}".encode()) in proxy.requests[0]
    assert CANARY not in f"{outcome!r} {probe!r}"


async def test_a_proxy_makes_a_tunnel_to_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")

    async def tunnels(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> None:
        port = int(request.split()[1].rpartition(b":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()

        passing = [
            asyncio.create_task(pass_on(*ends)) for ends in ((reader, back), (there, writer))
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            back.close()

    async with (
        LyingServer(answers(), tls=authority.issue("localhost").serving()) as server,
        LyingServer(tunnels) as proxy,
    ):
        probe = HttpProbe(
            url=f"https://localhost:{server.port}/",
            proxy=proxy.url,
            ca_file=str(authority.ca_file),
        )
        outcome = await look_once(probe)
    assert outcome.status == "healthy", outcome
    assert proxy.requests[0].startswith(b"CONNECT localhost:")


async def test_a_proxy_that_is_away_is_down() -> None:
    outcome = await look_once(HttpProbe(url="http://127.0.0.1/", proxy="http://127.0.0.1:1"))
    assert outcome.details["error"]["kind"] == "refused"


async def test_exceptions_from_proxies_in_the_environment_are_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    async with LyingServer(answers()) as proxy:
        await look_once(HttpProbe(url="http://127.0.0.1:1/", proxy=proxy.url))
    assert len(proxy.requests) == 1


async def test_what_goes_by_datagrams_finds_nobody_there() -> None:
    outcome = await look_once(HttpProbe(url="https://127.0.0.1:1/", http_version="3"))
    assert outcome.details["error"]["kind"] == "refused"


async def test_only_addresses_of_the_ip_version_are_tried() -> None:
    async with LyingServer(answers()) as server:  # which listens at 127.0.0.1
        url = f"http://localhost:{server.port}/"
        fourth = await look_once(HttpProbe(url=url, ip_version=4))
        sixth = await look_once(HttpProbe(url=url, ip_version=6))
    assert fourth.status == "healthy"
    assert fourth.details["remote_ip"] == "127.0.0.1"
    assert sixth.details["error"]["kind"] in {"refused", "dns", "unreachable"}


async def test_the_connection_is_the_servers_to_close_first() -> None:
    async with LyingServer(answers()) as server:
        await look_once(HttpProbe(url=server.url))
        await look_once(HttpProbe(url=server.url, headers={"connection": "keep-alive"}))
    assert b"\r\nConnection: close\r\n" in server.requests[0]
    assert server.requests[1].lower().count(b"\r\nconnection:") == 1


async def test_a_machine_out_of_descriptors_knows_nothing_of_the_service() -> None:
    # In a process of its own, since pytest and asyncio need descriptors, too.
    program = """
import asyncio, resource, socket
from pulsebase.probes import Look, ProbeTools, UnknownHealthError
from pulsebase.probes.http import HttpProbe
from pulsebase.probes.support.curl.driver import CurlDriver

async def main():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    probe = HttpProbe(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with ProbeTools() as tools:
        tools.use(CurlDriver)
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                taken.append(socket.socket())
        except OSError:
            pass
        try:
            print(await probe.probe(Look(service_name="a", timeout_seconds=2, tools=tools)))
        except UnknownHealthError as error:
            print("UNKNOWN", error)

asyncio.run(main())
"""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await child.communicate()
    assert said.startswith(b"UNKNOWN this machine is out of something (Too many open files)"), said


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"proxy": "proxy.example:3128"}, "proxy"),
        ({"proxy": "ftp://proxy.example"}, "proxy"),
        ({"bearer_token": "two words"}, "bearer_token"),
        ({"bearer_token": ""}, "bearer_token"),
        ({"bearer_token": "x\r\nY: z"}, "bearer_token"),
        ({"bearer_token": "x", "headers": {"authorization": "y"}}, "bearer_token"),
        ({"basic_auth": SOMEBODY, "bearer_token": "x"}, "basic_auth"),
        (
            {"basic_auth": SOMEBODY, "url": "http://a:b@c/"},
            "basic_auth",
        ),
        ({"ca_file": "/nowhere.pem"}, "ca_file"),
        ({"certificate_file": "/nowhere.pem"}, "certificate_file"),
        ({"key_file": "/nowhere.pem"}, "key_file"),
        ({"ca_file": __file__}, "ca_file"),
        ({"http_version": "3"}, "http_version"),
        ({"down_days_left": 3}, "down_days_left"),
        ({"url": "https://a/", "down_days_left": -1}, "down_days_left"),
        ({"url": "https://a/", "degraded_days_left": 3, "down_days_left": 3}, "degraded_days_left"),
    ],
)
def test_a_key_that_could_only_fail_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    with pytest.raises((InvalidValueError, ValidationError), match=f"{field} must be"):
        TypeAdapter(HttpProbe).validate_python({"url": "http://127.0.0.1/"} | keys)


def test_an_authority_that_nobody_would_ask_is_refused(tmp_path: Path) -> None:
    ca_file = str(Authority(tmp_path / "ca").ca_file)
    with pytest.raises(InvalidValueError, match="verify_tls is false"):
        HttpProbe(url="https://a/", ca_file=ca_file, verify_tls=False)


def test_a_user_with_a_colon_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="colon"):
        BasicAuth(username="a:b", password="c")  # noqa: S106 -- of nobody


def test_services_that_are_asked_alike_share_what_libcurl_is_told() -> None:
    one, other = HttpProbe(url="http://a/"), HttpProbe(url="http://b/")
    assert one._request.shape is other._request.shape
    assert one != other
    assert one == HttpProbe(url="http://a/")


async def test_thousands_that_hang_cost_nothing_and_change_no_other_time() -> None:
    async with (
        LyingServer(stalls()) as silent,
        LyingServer(answers()) as honest,
        ProbeTools() as tools,
    ):
        hanging = HttpProbe(url=silent.url)
        looks = [
            asyncio.create_task(hanging.probe(a_look(tools, timeout_seconds=60)))
            for _ in range(400)
        ]
        await wait_until_async(lambda: len(silent.requests) == len(looks), "all of them hang")
        outcomes = [await HttpProbe(url=honest.url).probe(a_look(tools)) for _ in range(20)]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
    assert {outcome.status for outcome in outcomes} == {"healthy"}
    assert min(outcome.details["phases_ms"]["total"] for outcome in outcomes) < 20


async def test_where_there_is_no_epoll_a_selector_stands_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curl_transfers, "watched_sockets", SelectorWatch)
    async with LyingServer(answers()) as server, ProbeTools() as tools:
        probe = HttpProbe(url=server.url)
        outcomes = await asyncio.gather(*(probe.probe(a_look(tools)) for _ in range(50)))
    assert {outcome.status for outcome in outcomes} == {"healthy"}
