"""The kind `grpc`: ask a server's health service, as load balancers and Kubernetes do.

The messages are those of the package `grpcio-health-checking`; they travel over libcurl's HTTP/2.
gRPC's own client is made for servers that one trusts: one that never stops talking keeps its thread
busy for ever, and the event loop, which waits for that thread, with it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import unquote

import pycurl
from google.protobuf.message import DecodeError
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.curl.driver import CurlDriver
from pulsebase.probes.support.curl.request import Request, Shape, tls_options
from pulsebase.probes.support.faults import excerpt, failed, fault
from pulsebase.probes.support.fields import text_problem
from pulsebase.probes.support.network.connecting import NetworkTarget, server_name_problem
from pulsebase.probes.support.network.tls_contexts import TlsFiles
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.outcome import Outcome
from pulsebase.probes.support.redaction import secrets_in_headers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.curl.driver import Failure, Response
    from pulsebase.probes.support.faults import ErrorKind
    from pulsebase.probes.support.network.connecting import Verdict
    from pulsebase.probes.support.outcome import Look

__all__ = ["GrpcProbe"]

LARGEST_ANSWER: Final = 64 * 1024

_BROKEN: Final = frozenset(
    {
        f"libcurl's error {pycurl.E_HTTP2}",
        f"Send failure: {os.strerror(errno.EPIPE)}",
        f"Send failure: {os.strerror(errno.ECONNRESET)}",
        f"Recv failure: {os.strerror(errno.ECONNRESET)}",
    }
)
_METHOD: Final = "/grpc.health.v1.Health/Check"
_METADATA_NAME: Final = re.compile(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)", re.ASCII)
_METADATA_RULE: Final = (
    "named by small letters, digits, hyphens, dots and _, and neither grpc-… nor …-bin"
)
_METADATA_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_OURS: Final = frozenset({"te", "content-type", "user-agent", "connection", "host"})
_LONGEST_SERVICE: Final = 1_000
# A flag for compression, and four bytes for the length.
_PREFIX_BYTES: Final = 5
_PHASES: Final = ("dns", "connect", "tls", "first_byte", "total")
_IP_VERSIONS: Final = {4: pycurl.IPRESOLVE_V4, 6: pycurl.IPRESOLVE_V6}

_OK: Final = 200
# gRPC's numbers for what became of a call; and what stands for them where a proxy answers in HTTP.
_SERVED: Final = 0
_NOT_FOUND: Final = 5
_UNIMPLEMENTED: Final = 12
_KINDS_BY_STATUS: Final[Mapping[int, ErrorKind]] = {
    1: "reset",
    3: "query",
    4: "timeout",
    _NOT_FOUND: "query",
    7: "authentication",
    _UNIMPLEMENTED: "query",
    16: "authentication",
}
_KINDS_BY_HTTP_STATUS: Final[Mapping[int, ErrorKind]] = {
    401: "authentication",
    403: "authentication",
    404: "query",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcProbe(NetworkTarget):
    """Ask the standard health service (`grpc.health.v1.Health`) about a service.

    `degraded_above` and `down_above` are compared with the time of the whole answer.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    service: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    tls: bool = False
    server_name: str | None = None
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Connect, ask and let go; the timeout covers everything."""
        checked_at = datetime.now(UTC)
        request = Request(self._url, self._shape(look.timeout_seconds))
        driver = look.tools.use(CurlDriver)
        response = await driver.fetch(request, timeout_seconds=look.timeout_seconds)
        seen = _seen(response)
        try:
            status, details = self._judge(response, seen)
        except ServiceError as error:
            status, details = "down", fault(error, kind=error.kind, secrets=self._secrets())
        answered = "error" not in details
        return Outcome(
            status=status,
            latency_ms=round(response.total_seconds * 1000) if answered else None,
            checked_at=checked_at,
            details=seen | details,
        )

    def _judge(self, response: Response, seen: dict[str, Any]) -> Verdict:
        if (failure := response.failure) is not None:
            raise _service_error(failure)
        self._refuse_other_answers(response)
        status = seen["serving_status"] = _serving_status(response.body)
        if status != "SERVING":
            return "down", failed("serving_status", "SERVING", status)
        return self.judge_latency(response.total_seconds)

    def _refuse_other_answers(self, response: Response) -> None:
        """Raise what speaks against an answer, before its message is looked at."""
        if response.http_version != "2":
            message = f"the server speaks HTTP/{response.http_version}, and not HTTP/2"
            raise ServiceError(message)
        if response.status != _OK:
            kind = _KINDS_BY_HTTP_STATUS.get(response.status, "other")
            message = f"the server answered with the HTTP status {response.status}"
            raise ServiceError(message, kind=kind)
        code, said = _grpc_status(response.headers)
        if not response.content_type.startswith(b"application/grpc") or code is None:
            message = "what answers does not speak gRPC"
            raise ServiceError(message)
        match code:
            case 0:
                return
            case 5:
                message = f'the health service does not know "{self.service}"; check `service`'
            case 12:
                message = "the server has no health service; add grpc.health.v1.Health to it"
            case _:
                message = f"gRPC's status is {code}: {said}"
        raise ServiceError(message, kind=_KINDS_BY_STATUS.get(code, "other"))

    @property
    def _url(self) -> str:
        name = self.server_name or self.host
        scheme = "https" if self.tls else "http"
        return f"{scheme}://{_bracketed(name)}:{self.port}{_METHOD}"

    def _shape(self, timeout_seconds: float) -> Shape:
        return _shape_of(
            message=HealthCheckRequest(service=self.service).SerializeToString(),
            metadata=tuple(self.metadata.items()),
            timeout_ms=min(max(round(timeout_seconds * 1000), 1), 99_999_999),
            connect_to=f"::{_bracketed(self.host)}:{self.port}" if self.server_name else None,
            ip_version=self.ip_version,
            tls=self._tls_files if self.tls else None,
        )

    @property
    def _tls_files(self) -> TlsFiles:
        return TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )

    def _secrets(self) -> tuple[str, ...]:
        return tuple(secrets_in_headers(self.metadata))

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        yield from server_name_problem(self.server_name)
        yield from text_problem(self.service, "service")
        if len(self.service) > _LONGEST_SERVICE:
            yield InvalidValueError("service", self.service, "at most 1000 characters")
        for name, value in self.metadata.items():
            if not _METADATA_NAME.fullmatch(name) or name in _OURS:
                yield InvalidValueError("metadata", name, _METADATA_RULE)
            elif not _METADATA_VALUE.fullmatch(value):
                yield InvalidValueError("metadata", f"{name}: …", "one line of ASCII each")
        for name in ("server_name", "ca_file", "certificate_file", "key_file"):
            if getattr(self, name) is not None and not self.tls:
                yield InvalidValueError("tls", self.tls, f"true, since {name} is given")
        yield from self._tls_files.problems()


@lru_cache(maxsize=1024)
def _shape_of(
    *,
    message: bytes,
    metadata: tuple[tuple[str, str], ...],
    timeout_ms: int,
    connect_to: str | None,
    ip_version: int | None,
    tls: TlsFiles | None,
) -> Shape:
    """The same object for the same arguments, so that services that are asked alike share it."""
    lines = ["TE: trailers", "Content-Type: application/grpc", f"grpc-timeout: {timeout_ms}m"]
    # libcurl's way to send an empty value is "Name;", and "Expect:" leaves a header out.
    lines += [f"{name}: {value}" if value else f"{name};" for name, value in metadata]
    version = pycurl.CURL_HTTP_VERSION_2TLS if tls else pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
    options: list[tuple[int, Any]] = [
        (pycurl.HTTPHEADER, tuple(line.encode() for line in [*lines, "Expect:"])),
        (pycurl.POSTFIELDS, b"\x00" + len(message).to_bytes(4, "big") + message),
        (pycurl.HTTP_VERSION, version),
        (pycurl.MAXFILESIZE, LARGEST_ANSWER),
        # What is watched is written in the file; a variable of the shell must not change it.
        (pycurl.PROXY, ""),
        (pycurl.NOPROXY, ""),
    ]
    if connect_to is not None:
        options.append((pycurl.CONNECT_TO, (connect_to,)))
    if ip_version is not None:
        options.append((pycurl.IPRESOLVE, _IP_VERSIONS[ip_version]))
    if tls is not None:
        options += tls_options(
            ca_file=tls.ca_file, certificate_file=tls.certificate_file, key_file=tls.key_file
        )
    return Shape(tuple(options), keep_body=True, keep_headers=True, keep_certificate=False)


def _service_error(failure: Failure) -> ServiceError:
    """What libcurl says, which over HTTP/2 has one code for a protocol and a connection broken."""
    if failure.kind == "protocol" and failure.message in _BROKEN:
        message = "the connection was closed without a whole answer"
        return ServiceError(message, kind="reset")
    return ServiceError(failure.message, kind=failure.kind)


def _grpc_status(headers: tuple[bytes, ...]) -> tuple[int | None, str]:
    """The number and the words in the trailers, or in the headers where there is no message."""
    found = {}
    for line in headers:
        name, _, value = line.partition(b":")
        found[name.strip().lower()] = value.strip().decode("ascii", "replace")
    number = found.get(b"grpc-status", "")
    said = unquote(found.get(b"grpc-message", ""))
    return (int(number) if re.fullmatch(r"[0-9]{1,3}", number, re.ASCII) else None), said


def _serving_status(body: bytes) -> str:
    """The name of the state in a message; raises ServiceError for what is no such message."""
    length = int.from_bytes(body[1:_PREFIX_BYTES], "big")
    message = body[_PREFIX_BYTES : _PREFIX_BYTES + length]
    wrong = "the health service answered with something other than a health"
    if len(body) < _PREFIX_BYTES or body[0] or len(message) != length:
        raise ServiceError(wrong)
    try:
        status = HealthCheckResponse.FromString(message).status
    except DecodeError as error:
        raise ServiceError(wrong) from error
    try:
        return HealthCheckResponse.ServingStatus.Name(status)
    except ValueError:  # a number that nobody has given a meaning
        return excerpt(str(status))


def _bracketed(host: str) -> str:
    # A scope such as %eth0 is written %25eth0 in a URL.
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _seen(response: Response) -> dict[str, Any]:
    phases = zip(_PHASES, response.phases_seconds, strict=True)
    phases_ms = {name: took for name, seconds in phases if (took := round(seconds * 1000, 2))}
    seen: dict[str, Any] = {"phases_ms": phases_ms, "remote_ip": response.remote_ip}
    return {name: value for name, value in seen.items() if value}
