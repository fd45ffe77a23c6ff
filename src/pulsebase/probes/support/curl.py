"""HTTP transfers on libcurl, driven by asyncio: thousands a second on one thread.

One `CurlDriver` serves all probes of a process. pycurl's own asyncio multi handle moves the bytes;
this file adds what a probe needs: bounds on everything a server can send, a pool of handles, every
error as one of a few stable kinds, and the times of the phases.

Each transfer makes a new connection and a full TLS handshake: a kept connection or a resumed
session would go on working after the service stopped accepting new ones, or its certificate ended.
"""

from __future__ import annotations

import asyncio
import errno
import math
import ssl
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Literal

import certifi
import pycurl

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LARGEST_BODY", "CurlDriver", "ErrorKind", "Failure", "Request", "Response"]

ErrorKind = Literal[
    "dns",
    "refused",
    "unreachable",
    "timeout",
    "tls",
    "reset",
    "protocol",
    "incomplete",
    "too_many_redirects",
    "headers_too_large",
    "body_too_large",
    "other",
]

LARGEST_BODY: Final = 1024 * 1024
MOST_REDIRECTS: Final = 10

_MOST_IDLE_HANDLES: Final = 256
_LONGEST_CLOSE_SECONDS: Final = 0.2
# Shared by all probes, so that a thousand services on one host do not ask a thousand times; short,
# so that a changed record is seen.
_DNS_CACHE_SECONDS: Final = 10
_WEB_ONLY: Final = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request and its bounds. `keep_body` is for who wants to look into the body."""

    url: str
    method: str = "GET"
    headers: Mapping[str, str]
    body: str | None = None
    timeout_seconds: float
    follow_redirects: bool = True
    verify_tls: bool = True
    keep_body: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why there is no whole answer. The message is libcurl's own and not yet redacted."""

    kind: ErrorKind
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What came back: an answer, or a failure and what was seen before it.

    `phases_seconds` holds how long each phase took; one that did not happen is missing.
    """

    status: int
    total_seconds: float
    phases_seconds: Mapping[str, float]
    remote_ip: str
    http_version: str
    content_type: str
    body: bytes
    failure: Failure | None


class CurlDriver:
    """Performs requests on the running event loop until it is closed.

    The loop must be a selector loop, as it is everywhere but on Windows.
    """

    def __init__(self) -> None:
        self._multi = pycurl.AsyncCurlMulti()
        self._idle: list[pycurl.Curl] = []
        self._busy: set[pycurl.Curl] = set()
        self._authorities = ssl.get_default_verify_paths().cafile or certifi.where()

    async def fetch(self, request: Request) -> Response:
        """Perform one request; whatever the server does becomes a `Response`."""
        handle = self._idle.pop() if self._idle else pycurl.Curl()
        answer = _Answer(keep=request.keep_body)
        self._prepare(handle, request, answer)
        failure: Failure | None = None
        # A cancelled transfer's handle is still with libcurl for a moment, and is not kept.
        self._busy.add(handle)
        try:
            await self._multi.perform(handle)
        except pycurl.error as error:
            failure = _failure(handle, error, answer)
        finally:
            self._busy.discard(handle)
        if failure is None and not answer.head_ended:
            failure = _HEAD_CUT_SHORT
        response = _response(handle, answer, failure)
        if len(self._idle) < _MOST_IDLE_HANDLES:
            handle.reset()
            self._idle.append(handle)
        return response

    async def aclose(self) -> None:
        """Cancel what is under way and release the handles."""
        for handle in list(self._busy):
            self._multi.remove_handle(handle)
        while self._idle:
            self._idle.pop().close()
        # libcurl waits for its resolver threads, and those for name servers that may be away for
        # ten seconds: that wait is left behind, where it keeps neither the loop nor the process.
        closing = Thread(target=asyncio.run, args=(self._multi.aclose(),), daemon=True)
        closing.start()
        closing.join(timeout=_LONGEST_CLOSE_SECONDS)

    def _prepare(self, handle: pycurl.Curl, request: Request, answer: _Answer) -> None:
        options: list[tuple[int, Any]] = [
            (pycurl.URL, request.url),
            (pycurl.HTTPHEADER, _header_lines(request)),
            (pycurl.USERAGENT, "pulsebase"),
            # The empty list means: every encoding that this libcurl can undo.
            (pycurl.ACCEPT_ENCODING, ""),
            (pycurl.HEADERFUNCTION, answer.header),
            (pycurl.WRITEFUNCTION, answer.write),
            (pycurl.TIMEOUT_MS, max(1, math.ceil(request.timeout_seconds * 1000))),
            # Signals would interrupt the monitor's own; threads resolve names instead.
            (pycurl.NOSIGNAL, 1),
            (pycurl.FRESH_CONNECT, 1),
            (pycurl.FORBID_REUSE, 1),
            (pycurl.SSL_SESSIONID_CACHE, 0),
            (pycurl.DNS_CACHE_TIMEOUT, _DNS_CACHE_SECONDS),
            (pycurl.PROTOCOLS, _WEB_ONLY),
            (pycurl.REDIR_PROTOCOLS, _WEB_ONLY),
            # What is watched is written in the file; a variable of the shell must not change it.
            (pycurl.PROXY, ""),
            *_method_options(request),
            *_tls_options(request, self._authorities),
        ]
        if request.follow_redirects:
            options += [(pycurl.FOLLOWLOCATION, 1), (pycurl.MAXREDIRS, MOST_REDIRECTS)]
        for option, value in options:
            handle.setopt(option, value)


class _Answer:
    """Sees the answer go by: keeps the body if asked, and stops the transfer past the bound."""

    __slots__ = ("_keep", "_size", "head_ended", "kept", "overflowed")

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._size = 0
        self.kept = bytearray()
        self.overflowed = False
        self.head_ended = False

    def header(self, line: bytes) -> None:
        # An answer that ends among its headers is whole to libcurl. There may be several heads.
        if line.startswith(b"HTTP/"):
            self.head_ended = False
        elif not line.rstrip(b"\r\n"):
            self.head_ended = True

    def write(self, chunk: bytes) -> int:
        self._size += len(chunk)
        if self._size > LARGEST_BODY:
            self.overflowed = True
            return 0
        if self._keep:
            self.kept += chunk
        return len(chunk)


def _header_lines(request: Request) -> list[bytes]:
    # "Name:" would remove a header; libcurl's way to send an empty one is "Name;".
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in request.headers.items()]
    if request.body is not None:
        # Neither a pause for "100 Continue" nor a guess that the body is a form.
        lines.append("Expect:")
        if "content-type" not in {name.lower() for name in request.headers}:
            lines.append("Content-Type:")
    return [line.encode() for line in lines]


def _method_options(request: Request) -> list[tuple[int, Any]]:
    if request.method == "HEAD":
        return [(pycurl.NOBODY, 1)]
    options: list[tuple[int, Any]] = []
    if request.body is not None or request.method == "POST":
        options.append((pycurl.POSTFIELDS, (request.body or "").encode()))
    # A POST named by CUSTOMREQUEST would stay one after a 303.
    if request.method not in {"GET", "POST"} or (request.method == "GET" and request.body):
        options.append((pycurl.CUSTOMREQUEST, request.method))
    return options


def _tls_options(request: Request, authorities: str) -> list[tuple[int, Any]]:
    if not request.verify_tls:
        return [(pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0)]
    # One file and no folder: only then does libcurl keep the parsed certificates between probes.
    return [(pycurl.CAINFO, authorities)]


_HEAD_CUT_SHORT: Final = Failure(
    kind="incomplete", message="the connection was closed before the end of the headers"
)

# pycurl has no name for this one.
_E_TOO_LARGE: Final = 100
# What the operating system says about a connection is finer than these.
_CONNECTION_BROKE: Final = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_SEND_ERROR,
        pycurl.E_RECV_ERROR,
        pycurl.E_SSL_CONNECT_ERROR,
    }
)
_KINDS: Final[Mapping[int, ErrorKind]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_RESOLVE_PROXY: "dns",
    pycurl.E_COULDNT_CONNECT: "unreachable",
    pycurl.E_INTERFACE_FAILED: "unreachable",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_SSL_CERTPROBLEM: "tls",
    pycurl.E_SSL_CIPHER: "tls",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
    pycurl.E_SSL_CACERT_BADFILE: "tls",
    pycurl.E_SSL_ISSUER_ERROR: "tls",
    pycurl.E_SSL_INVALIDCERTSTATUS: "tls",
    pycurl.E_GOT_NOTHING: "reset",
    pycurl.E_SEND_ERROR: "reset",
    pycurl.E_RECV_ERROR: "protocol",
    pycurl.E_PARTIAL_FILE: "incomplete",
    pycurl.E_TOO_MANY_REDIRECTS: "too_many_redirects",
    pycurl.E_FILESIZE_EXCEEDED: "body_too_large",
    pycurl.E_UNSUPPORTED_PROTOCOL: "protocol",
    pycurl.E_URL_MALFORMAT: "protocol",
    pycurl.E_FTP_WEIRD_SERVER_REPLY: "protocol",
    pycurl.E_BAD_CONTENT_ENCODING: "protocol",
    pycurl.E_HTTP2: "protocol",
    _E_TOO_LARGE: "headers_too_large",
}
_KINDS_BY_ERRNO: Final[Mapping[int, ErrorKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ETIMEDOUT: "timeout",
}
_VERSIONS: Final = {1: "1.0", 2: "1.1", 3: "2", 30: "3"}


def _failure(handle: pycurl.Curl, error: pycurl.error, answer: _Answer) -> Failure:
    match error.args:
        case (code, message):
            message = message or f"libcurl's error {code}"
        case _:  # not from libcurl: pycurl says that it was used wrongly
            raise error
    if answer.overflowed:
        message = f"the body is larger than {LARGEST_BODY} bytes"
        return Failure(kind="body_too_large", message=message)
    return Failure(kind=_kind(code, message, handle), message=message)


def _kind(code: int, message: str, handle: pycurl.Curl) -> ErrorKind:
    if code == pycurl.E_RECV_ERROR and "response headers" in message:
        # libcurl stops at 300 kB of headers with the code of a broken connection.
        return "headers_too_large"
    if code == pycurl.E_RECV_ERROR and "SSL" in message:
        return "reset"
    finer = _KINDS_BY_ERRNO.get(int(handle.getinfo(pycurl.OS_ERRNO)))
    return finer if finer and code in _CONNECTION_BROKE else _KINDS.get(code, "other")


def _response(handle: pycurl.Curl, answer: _Answer, failure: Failure | None) -> Response:
    return Response(
        status=handle.getinfo(pycurl.RESPONSE_CODE),
        total_seconds=handle.getinfo(pycurl.TOTAL_TIME),
        phases_seconds=_phases(handle),
        remote_ip=handle.getinfo(pycurl.PRIMARY_IP),
        http_version=_VERSIONS.get(handle.getinfo(pycurl.INFO_HTTP_VERSION), ""),
        # Raw: a server may put any bytes there, and the plain call wants them to be text.
        content_type=(handle.getinfo_raw(pycurl.CONTENT_TYPE) or b"").decode("ascii", "replace"),
        body=bytes(answer.kept),
        failure=failure,
    )


def _phases(handle: pycurl.Curl) -> dict[str, float]:
    resolved, connected, secured, sent, answered, total = map(handle.getinfo, _MOMENTS)
    phases = {
        "dns": resolved,
        "connect": connected - resolved,
        "tls": secured - connected,
        "first_byte": answered - sent,
        "total": total,
    }
    return {name: seconds for name, seconds in phases.items() if seconds > 0}


# libcurl counts each from the beginning, and has 0 for what did not happen.
_MOMENTS: Final = (
    pycurl.NAMELOOKUP_TIME,
    pycurl.CONNECT_TIME,
    pycurl.APPCONNECT_TIME,
    pycurl.PRETRANSFER_TIME,
    pycurl.STARTTRANSFER_TIME,
    pycurl.TOTAL_TIME,
)
