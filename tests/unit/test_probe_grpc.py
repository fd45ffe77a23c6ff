"""The kind `grpc` on a real health service, and on whatever else may stand in its place."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import trustme
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from pulsebase.errors import InvalidValueError
from pulsebase.probes.grpc import GrpcProbe
from tests.support.looking import look_once
from tests.support.raw_server import RawServer, endless, resets_at_once, silent, speaks
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.raw_server import RawBehaviour

HOST = "127.0.0.1"
HAS_IPV6 = Path("/proc/net/if_inet6").exists()
# An HTTP/2 frame of settings, as a server begins with.
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00abcdefgh"
HEADERS_WITHOUT_END = b"\x00\x10\x00\x01\x00\x00\x00\x00\x01" + b"\x00" * 4096


class Ask(grpc.aio.ServerInterceptor):
    """Remembers the metadata of each call, and can refuse it or keep it waiting."""

    def __init__(self, refusal: grpc.StatusCode | None = None) -> None:
        self.refusal = refusal
        self.metadata: list[dict[str, str]] = []

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        given = handler_call_details.invocation_metadata or ()
        self.metadata.append({str(key): str(value) for key, value in given})
        if (refusal := self.refusal) is None:
            return await continuation(handler_call_details)

        async def refuse(_: Any, context: Any) -> Any:
            await context.abort(refusal, f"not for {self.metadata[-1].get('x-key')}")

        return grpc.unary_unary_rpc_method_handler(refuse)


@asynccontextmanager
async def serving(
    *,
    host: str = HOST,
    credentials: grpc.ServerCredentials | None = None,
    interceptor: Ask | None = None,
    has_health: bool = True,
    **services: int,
) -> AsyncIterator[int]:
    """A gRPC server, by default with its health service; gives its port."""
    server = grpc.aio.server(interceptors=[interceptor] if interceptor else None)
    if has_health:
        servicer = health.HealthServicer()
        add_HealthServicer_to_server(servicer, server)
        for name, status in services.items():
            await servicer.set(name, status)
    if credentials is None:
        port = server.add_insecure_port(f"{host}:0")
    else:
        port = server.add_secure_port(f"{host}:0", credentials)
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_a_server_that_serves_is_healthy() -> None:
    async with serving() as port:
        outcome = await look_once(GrpcProbe(host=HOST, port=port))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["serving_status"] == "SERVING"


@pytest.mark.parametrize(
    ("status", "healthy"),
    [("SERVING", True), ("NOT_SERVING", False), ("UNKNOWN", False), ("SERVICE_UNKNOWN", False)],
)
async def test_only_serving_is_healthy(status: str, *, healthy: bool) -> None:
    async with serving(billing=HealthCheckResponse.ServingStatus.Value(status)) as port:
        outcome = await look_once(GrpcProbe(host=HOST, port=port, service="billing"))
    assert outcome.status == ("healthy" if healthy else "down")
    assert outcome.details["serving_status"] == status
    if not healthy:
        failed = {"expectation": "serving_status", "expected": "SERVING", "got": status}
        assert outcome.details["failed"] == failed


async def test_a_service_that_the_server_does_not_know_is_said_clearly() -> None:
    async with serving() as port:
        outcome = await look_once(GrpcProbe(host=HOST, port=port, service="nothing"))
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "query"
    assert 'does not know "nothing"' in outcome.details["error"]["message"]


async def test_a_server_without_a_health_service_is_said_clearly() -> None:
    async with serving(has_health=False) as port:
        outcome = await look_once(GrpcProbe(host=HOST, port=port))
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "query"
    assert "no health service" in outcome.details["error"]["message"]


async def test_metadata_arrives_and_is_hidden_where_a_server_repeats_it() -> None:
    interceptor = Ask()
    keys: dict[str, Any] = {"host": HOST, "metadata": {"x-key": "hidden-1234"}}
    async with serving(interceptor=interceptor) as port:
        assert (await look_once(GrpcProbe(port=port, **keys))).status == "healthy"
        interceptor.refusal = grpc.StatusCode.UNAUTHENTICATED
        outcome = await look_once(GrpcProbe(port=port, **keys))
        interceptor.refusal = grpc.StatusCode.DATA_LOSS
        other = await look_once(GrpcProbe(port=port, **keys))
    assert interceptor.metadata[0]["x-key"] == "hidden-1234"
    assert interceptor.metadata[0]["user-agent"].startswith("pulsebase")
    assert outcome.details["error"]["kind"] == "authentication"
    assert other.details["error"]["kind"] == "other"
    assert "hidden-1234" not in json.dumps([outcome.details, other.details])
    assert "hidden-1234" not in repr(GrpcProbe(port=1, **keys))


async def test_each_probe_is_a_new_connection() -> None:
    async with RawServer(silent) as server:
        for _ in range(3):
            await look_once(GrpcProbe(host=HOST, port=server.port), timeout_seconds=0.2)
        assert server.connections == 3


async def test_slow_answers() -> None:
    tiny, small = timedelta(microseconds=1), timedelta(microseconds=2)
    async with serving() as port:
        outcome = await look_once(GrpcProbe(host=HOST, port=port, degraded_above=tiny))
        assert outcome.status == "degraded"
        outcome = await look_once(GrpcProbe(host=HOST, port=port, down_above=small))
        assert outcome.status == "down"


async def test_by_name_although_only_one_of_its_addresses_answers() -> None:
    async with serving() as port:
        assert (await look_once(GrpcProbe(host="localhost", port=port))).status == "healthy"


async def test_over_ipv6() -> None:
    require("no IPv6 on the loopback interface", HAS_IPV6)
    async with serving(host="[::1]") as port:
        assert (await look_once(GrpcProbe(host="::1", port=port))).status == "healthy"


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def authority(cls) -> trustme.CA:
        return trustme.CA()

    def credentials(self, authority: trustme.CA) -> grpc.ServerCredentials:
        issued = authority.issue_cert(HOST, "a.example")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return grpc.ssl_server_credentials([(issued.private_key_pem.bytes(), chain)])

    async def test_the_certificate_must_hold(self, authority: trustme.CA, tmp_path: Path) -> None:
        ca_file = str(tmp_path / "authority.pem")
        authority.cert_pem.write_to_path(ca_file)
        async with serving(credentials=self.credentials(authority)) as port:
            keys: dict[str, Any] = {"host": HOST, "port": port, "tls": True}
            trusting = await look_once(GrpcProbe(**keys, ca_file=ca_file))
            named = await look_once(GrpcProbe(**keys, ca_file=ca_file, server_name="a.example"))
            misnamed = await look_once(GrpcProbe(**keys, ca_file=ca_file, server_name="b.example"))
            stranger = await look_once(GrpcProbe(**keys))
            in_the_clear = await look_once(GrpcProbe(host=HOST, port=port))
        assert trusting.status == "healthy"
        assert named.status == "healthy"
        assert misnamed.details["error"]["kind"] == "tls"
        assert stranger.details["error"]["kind"] == "tls"
        assert in_the_clear.details["error"]["kind"] in {"reset", "protocol"}

    async def test_tls_with_a_server_that_has_none(self) -> None:
        async with serving() as port:
            outcome = await look_once(GrpcProbe(host=HOST, port=port, tls=True))
        assert outcome.details["error"]["kind"] == "tls"

    async def test_a_client_certificate_is_shown(
        self, authority: trustme.CA, tmp_path: Path
    ) -> None:
        ca_file, client_file = str(tmp_path / "authority.pem"), str(tmp_path / "client.pem")
        authority.cert_pem.write_to_path(ca_file)
        client = authority.issue_cert("client.example")
        client.private_key_and_cert_chain_pem.write_to_path(client_file)
        issued = authority.issue_cert(HOST)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        credentials = grpc.ssl_server_credentials(
            [(issued.private_key_pem.bytes(), chain)],
            root_certificates=authority.cert_pem.bytes(),
            require_client_auth=True,
        )
        async with serving(credentials=credentials) as port:
            keys: dict[str, Any] = {"host": HOST, "port": port, "tls": True, "ca_file": ca_file}
            known = await look_once(GrpcProbe(**keys, certificate_file=client_file))
            unknown = await look_once(GrpcProbe(**keys), timeout_seconds=2)
        assert known.status == "healthy"
        assert unknown.status == "down"
        assert unknown.details["error"]["kind"] in {"tls", "reset"}


@pytest.mark.parametrize(
    ("behaviour", "kinds"),
    [
        (silent, {"timeout"}),
        (resets_at_once, {"reset"}),
        (speaks(b""), {"reset"}),
        (speaks(b"HTTP/1.1 400 Bad Request\r\n\r\n"), {"protocol"}),
        (speaks(bytes(range(256)) * 100), {"protocol"}),
        (speaks(SETTINGS), {"reset"}),
        (endless(chunk=b"x" * 65_536), {"protocol"}),
        (endless(head=SETTINGS, chunk=PING * 1000), {"protocol"}),
        (endless(head=SETTINGS, chunk=HEADERS_WITHOUT_END), {"protocol"}),
        (endless(head=SETTINGS, chunk=SETTINGS * 1000), {"protocol"}),
    ],
)
async def test_a_server_that_is_no_grpc_is_down_with_the_right_kind(
    behaviour: RawBehaviour, kinds: set[str]
) -> None:
    started = time.monotonic()
    async with RawServer(behaviour) as server:
        probe = GrpcProbe(host=HOST, port=server.port)
        outcome = await look_once(probe, timeout_seconds=1)
    assert time.monotonic() - started < 3
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] in kinds, outcome.details
    assert outcome.latency_ms is None


async def test_nobody_listens_and_no_such_name() -> None:
    refused = await look_once(GrpcProbe(host=HOST, port=free_port()))
    assert refused.details["error"]["kind"] == "refused"
    unknown = await look_once(GrpcProbe(host=f"{'x' * 63}.invalid", port=1))
    assert unknown.details["error"]["kind"] == "dns"


async def test_timeouts_leave_no_connection_behind() -> None:
    async with RawServer(silent) as server:
        probe = GrpcProbe(host=HOST, port=server.port)
        gc.disable()  # what only a collection would close is a leak to a busy monitor
        try:
            looks = (look_once(probe, timeout_seconds=0.2) for _ in range(50))
            outcomes = await asyncio.gather(*looks)
            await wait_until_async(lambda: server.open_connections == 0, "all have gone")
        finally:
            gc.enable()
    assert {outcome.details["error"]["kind"] for outcome in outcomes} == {"timeout"}


async def test_a_proxy_that_answers_in_http_is_down_and_says_its_status() -> None:
    # One frame of headers that ends the stream: `:status` 503, as HPACK writes it.
    headers = b"\x00\x00\x05\x01\x05\x00\x00\x00\x01" + b"\x48\x03" + b"503"
    async with RawServer(speaks(SETTINGS + headers)) as server:
        outcome = await look_once(GrpcProbe(host=HOST, port=server.port))
    assert outcome.details["error"]["kind"] == "other"
    assert "503" in outcome.details["error"]["message"]


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"host": "a.example:1"}, "host"),
        ({"host": "grün.example"}, "host"),
        ({"port": 0}, "port"),
        ({"service": "\udc80"}, "service"),
        ({"metadata": {"Upper": "a"}}, "metadata"),
        ({"metadata": {"grpc-timeout": "a"}}, "metadata"),
        ({"metadata": {"a-bin": "a"}}, "metadata"),
        ({"metadata": {"a": "b\nc"}}, "metadata"),
        ({"server_name": "a.example"}, "tls"),
        ({"tls": True, "server_name": "a b"}, "server_name"),
        ({"tls": True, "ca_file": "/no/such/file"}, "ca_file"),
        ({"down_above": timedelta(0)}, "down_above"),
    ],
)
def test_what_could_only_fail_later_is_refused_at_load(keys: dict[str, Any], field: str) -> None:
    smallest: dict[str, Any] = {"host": "a", "port": 1}
    with pytest.raises(InvalidValueError) as refused:
        GrpcProbe(**(smallest | keys))
    assert refused.value.field == field
