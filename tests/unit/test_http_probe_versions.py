"""The kind `http` speaks the version of HTTP that it is told, to a real nginx."""

from __future__ import annotations

import socket
from shutil import which
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pulsebase.probes.http import HttpExpectation, HttpProbe, JsonExpectation
from pulsebase.probes.support.http.json_path import JsonPath
from tests.support.certificates import Authority
from tests.support.looking import look_once
from tests.support.lying_server import LyingServer, answers
from tests.support.requirement import require
from tests.support.server_process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pulsebase.probes.support.curl.request import HttpVersion

_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    default_type application/json;
    gzip on; gzip_min_length 1; gzip_types application/json;
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{ return 200 '{{"protocol": "$server_protocol", "status": "ok"}}'; }}
        location = /moved {{ return 302 /; }}
    }}
    server {{
        listen 127.0.0.1:{clear} http2;
        location / {{ return 200 '{{"protocol": "$server_protocol"}}'; }}
    }}
    server {{
        listen 127.0.0.1:{old};
        location / {{ return 200 '{{"protocol": "$server_protocol"}}'; }}
    }}
}}
"""


class Nginx(NamedTuple):
    """Where it listens: TLS with HTTP/2 and 1.1, clear text with 2 only, clear text with 1.1."""

    tls: str
    clear: str
    old: str
    ca_file: str


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    require("the program `nginx` is not installed", which("nginx"))
    folder = tmp_path_factory.mktemp("nginx")
    with_rights(folder)
    authority = Authority(folder / "ca")
    identity = authority.issue("127.0.0.1")
    ports = {name: free_port() for name in ("tls", "clear", "old")}
    config = folder / "nginx.conf"
    files = {"certificate": identity.certificate, "key": identity.key}
    config.write_text(_CONFIG.format(folder=folder, **ports, **files))
    server = ServerProcess(["nginx", "-c", config, "-p", folder], folder=folder)
    server.start(lambda: all(map(listens, ports.values())))
    try:
        yield Nginx(
            tls=f"https://127.0.0.1:{ports['tls']}/",
            clear=f"http://127.0.0.1:{ports['clear']}/",
            old=f"http://127.0.0.1:{ports['old']}/",
            ca_file=str(authority.ca_file),
        )
    finally:
        server.stop()


def with_rights(folder: Path) -> None:
    folder.chmod(0o777)  # nginx's workers may be somebody else


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def speaks(protocol: str) -> HttpExpectation:
    return HttpExpectation(json=(JsonExpectation(path=JsonPath("$.protocol"), equals=protocol),))


async def test_over_tls_the_newest_that_both_know_is_spoken(nginx: Nginx) -> None:
    probe = HttpProbe(url=nginx.tls, ca_file=nginx.ca_file, expect=speaks("HTTP/2.0"))
    outcome = await look_once(probe)
    assert outcome.status == "healthy", outcome
    assert outcome.details["http_version"] == "2"


@pytest.mark.parametrize(("version", "protocol"), [("1.1", "HTTP/1.1"), ("2", "HTTP/2.0")])
async def test_over_tls_the_version_that_is_asked_for(
    nginx: Nginx, version: HttpVersion, protocol: str
) -> None:
    url, expect = f"{nginx.tls}moved", speaks(protocol)
    probe = HttpProbe(url=url, ca_file=nginx.ca_file, http_version=version, expect=expect)
    outcome = await look_once(probe)
    assert outcome.status == "healthy", outcome
    assert outcome.details["http_version"] == version


async def test_without_tls_the_second_version_is_begun_at_once(nginx: Nginx) -> None:
    probe = HttpProbe(url=nginx.clear, http_version="2", expect=speaks("HTTP/2.0"))
    outcome = await look_once(probe)
    assert outcome.status == "healthy", outcome


async def test_a_server_of_another_version_is_down(nginx: Nginx) -> None:
    outcome = await look_once(HttpProbe(url=nginx.old, http_version="2"), timeout_seconds=2)
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "protocol"


async def test_who_listens_to_no_datagrams_is_no_third_version(nginx: Nginx) -> None:
    probe = HttpProbe(url=nginx.tls, ca_file=nginx.ca_file, http_version="3")
    outcome = await look_once(probe, timeout_seconds=2)
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "refused"


async def test_an_agreement_on_an_older_version_is_no_answer_in_the_newer(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    async with LyingServer(answers(), tls=authority.issue("127.0.0.1").serving()) as server:
        probe = HttpProbe(url=server.url, ca_file=str(authority.ca_file), http_version="2")
        outcome = await look_once(probe)
    failed = {"expectation": "http_version", "expected": "2", "got": "1.1"}
    assert outcome.details["failed"] == failed


async def test_a_compressed_answer_of_a_real_server_is_unpacked(nginx: Nginx) -> None:
    expect = HttpExpectation(body_contains='"status": "ok"')
    probe = HttpProbe(url=nginx.tls, ca_file=nginx.ca_file, expect=expect)
    assert (await look_once(probe)).status == "healthy"
