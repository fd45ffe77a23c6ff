"""Whatever stands where a PostgreSQL should: the kind `postgres` ends in time, small and clean."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import trustme

from pulsebase.probes.postgres import PostgresProbe
from pulsebase.probes.support.libpq import LARGEST_ANSWER
from tests.support.looking import look_once
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.raw_server import RawServer, endless, resets_at_once, silent, speaks
from tests.support.requirement import require
from tests.support.server_process import Unprivileged, free_port, scratch_folder
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.raw_server import RawBehaviour

NO_TLS = b"N"
WELCOME = b"R" + struct.pack("!ii", 8, 0)
READY = b"Z" + struct.pack("!i", 5) + b"I"


def message(letter: bytes, body: bytes, *, length: int | None = None) -> bytes:
    return letter + struct.pack("!i", len(body) + 4 if length is None else length) + body


NOTICE = message(b"N", b"SNOTICE\0C00000\0Mhello\0\0")
LONGEST = 0x3FFFFFFF
HAS_PROC = Path("/proc/self/fd").exists()
HAS_IPV6 = Path("/proc/net/if_inet6").exists()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize(
    ("behaviour", "kinds"),
    [
        (silent, {"timeout"}),
        (resets_at_once, {"reset"}),
        (speaks(b""), {"reset"}),
        (speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n"), {"protocol"}),
        (speaks(b"\x00" * 100_000), {"protocol"}),
        (speaks(b"S"), {"tls", "reset"}),
        (speaks(b"S" + os.urandom(4096)), {"tls", "protocol"}),
        (endless(NO_TLS, chunk=b"HTTP/1.1 400 Bad Request\r\n"), {"protocol"}),
        (endless(NO_TLS, chunk=b"\x00" * 65_536), {"protocol"}),
        (endless(NO_TLS, head=WELCOME, chunk=NOTICE * 1000), {"body_too_large"}),
        (
            endless(NO_TLS, head=message(b"R", b"", length=LONGEST), chunk=b"x" * 65_536),
            {"protocol"},
        ),
        (
            endless(NO_TLS, head=WELCOME + message(b"N", b"", length=LONGEST), chunk=b"x" * 65_536),
            {"body_too_large"},
        ),
        (
            endless(
                NO_TLS,
                WELCOME + READY,
                head=message(b"D", b"", length=LONGEST),
                chunk=b"x" * 65_536,
            ),
            {"body_too_large", "protocol"},
        ),
        (endless(NO_TLS, WELCOME + READY, chunk=NOTICE * 1000), {"body_too_large"}),
        (endless(NO_TLS, WELCOME + READY, chunk=b"\xff" * 65_536), {"protocol", "reset"}),
        (endless(NO_TLS, WELCOME + READY, chunk=READY * 5000), {"protocol"}),
    ],
)
async def test_a_server_that_is_no_postgresql_is_down_with_the_right_kind(
    behaviour: RawBehaviour, kinds: set[str]
) -> None:
    started = time.monotonic()
    async with RawServer(behaviour) as server:
        probe = PostgresProbe(
            url=f"postgresql://a:hidden-1234@127.0.0.1:{server.port}/b", query="select 1"
        )
        outcome = await look_once(probe, timeout_seconds=1)
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] in kinds, outcome.details
    assert outcome.latency_ms is None
    assert "hidden-1234" not in str(outcome.details)


async def test_nobody_listens() -> None:
    url = f"postgresql://a@127.0.0.1:{free_port()}/b"
    assert (await look_once(PostgresProbe(url=url))).details["error"]["kind"] == "refused"


async def test_a_name_that_does_not_exist() -> None:
    url = f"postgresql://a@{'x' * 64}.invalid/b"
    assert (await look_once(PostgresProbe(url=url))).details["error"]["kind"] == "dns"


async def test_the_next_host_is_asked_when_one_is_away(postgres: PostgresServer) -> None:
    hosts = f"127.0.0.1:{free_port()},{'x' * 64}.invalid:1,127.0.0.1:{postgres.port}"
    outcome = await look_once(PostgresProbe(url=f"postgresql://postgres@{hosts}/postgres"))
    assert outcome.status == "healthy"


async def test_timeouts_leave_no_connection_behind() -> None:
    require("open files are counted in /proc", HAS_PROC)
    async with RawServer(silent) as server:
        probe = PostgresProbe(url=f"postgresql://a@127.0.0.1:{server.port}/b")
        await look_once(probe, timeout_seconds=0.05)
        await wait_until_async(lambda: server.open_connections == 0, "the first has gone")
        before = open_files()
        gc.disable()  # what only a collection would close is a leak to a busy monitor
        try:
            looks = (look_once(probe, timeout_seconds=0.1) for _ in range(50))
            outcomes = await asyncio.gather(*looks)
            await wait_until_async(lambda: server.open_connections == 0, "all have gone")
            assert open_files() <= before
        finally:
            gc.enable()
    assert {outcome.details["error"]["kind"] for outcome in outcomes} == {"timeout"}


async def test_a_look_that_is_cancelled_lets_go_at_once(postgres: PostgresServer) -> None:
    probe = PostgresProbe(url=postgres.url(), query="select pg_sleep(600)::text")
    look = asyncio.create_task(look_once(probe, timeout_seconds=600))

    def sleepers() -> int:
        with psycopg.connect(postgres.url(), autocommit=True) as connection:
            found = connection.execute(
                "select count(*) from pg_stat_activity"
                " where application_name = 'pulsebase' and query ~ 'pg_sleep'"
            ).fetchone()
            return found[0] if found else 0

    await wait_until_async(lambda: sleepers() == 1, "the query runs")
    started = time.monotonic()
    look.cancel()
    with pytest.raises(asyncio.CancelledError):
        await look
    assert time.monotonic() - started < 1
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'pg_sleep'"
            " and pid <> pg_backend_pid()"
        )


@pytest.mark.parametrize(
    "query",
    [
        "select repeat('x', 100000000)",
        "select repeat('x', 1000) from generate_series(1, 10000) a, generate_series(1, 10000) b",
        "select 'x', repeat('x', 100000000)",
    ],
)
async def test_an_enormous_result_stays_with_the_server(
    postgres: PostgresServer, query: str
) -> None:
    # The highest that this process ever took, since libpq keeps its own memory.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = await look_once(PostgresProbe(url=postgres.url(), query=query), timeout_seconds=30)
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert outcome.status == "healthy"
    assert grown_kib < 4 * LARGEST_ANSWER / 1024


async def test_over_ipv6() -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    require("no IPv6 on the loopback interface", HAS_IPV6)
    settings = {"listen_addresses": "127.0.0.1,::1"}
    with PostgresServer(servers[max(servers)], settings=settings) as server:
        url = f"postgresql://postgres@[::1]:{server.port}/postgres"
        outcome = await look_once(PostgresProbe(url=url))
    assert outcome.status == "healthy"
    assert outcome.details["remote_ip"] == "::1"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch_folder("certificates") as found:
        yield found


@pytest.fixture(scope="module")
def encrypted(authority: trustme.CA, folder: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL with a certificate for 127.0.0.1 from the authority."""
    # The wheel's and npm's are built without TLS.
    servers = available_servers()
    require("no PostgreSQL 15 of Debian's, which speaks TLS", servers.get(15))
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    trustme.CA().cert_pem.write_to_path(folder / "stranger.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    (folder / "certificate.pem").write_bytes(
        b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    (folder / "key.pem").chmod(0o600)
    Unprivileged.give(folder / "key.pem")
    settings = {
        "ssl": "on",
        "ssl_cert_file": str(folder / "certificate.pem"),
        "ssl_key_file": str(folder / "key.pem"),
    }
    with PostgresServer(servers[15], settings=settings) as server:
        wait_until(lambda: _speaks_tls(server), "the server speaks TLS")
        yield server


def _speaks_tls(server: PostgresServer) -> bool:
    with psycopg.connect(server.url(), sslmode="require") as connection:
        return connection.pgconn.ssl_in_use


@pytest.mark.parametrize(("trusted", "kind"), [("authority", None), ("stranger", "tls")])
async def test_a_certificate_is_verified_against_the_authority_of_the_url(
    encrypted: PostgresServer, folder: Path, trusted: str, kind: str | None
) -> None:
    url = f"{encrypted.url()}?sslmode=verify-full&sslrootcert={folder / trusted}.pem"
    outcome = await look_once(PostgresProbe(url=url))
    assert outcome.details.get("error", {}).get("kind") == kind
    assert outcome.status == ("down" if kind else "healthy")


async def test_a_certificate_for_another_name_is_a_tls_error(
    encrypted: PostgresServer, folder: Path
) -> None:
    url = f"postgresql://postgres@localhost:{encrypted.port}/postgres"
    keys = f"sslmode=verify-full&sslrootcert={folder / 'authority.pem'}&hostaddr=127.0.0.1"
    outcome = await look_once(PostgresProbe(url=f"{url}?{keys}"))
    assert outcome.details["error"]["kind"] == "tls"
