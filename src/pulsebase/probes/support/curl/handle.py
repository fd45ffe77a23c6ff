"""One libcurl handle, kept from transfer to transfer, and what a server says through it."""

from __future__ import annotations

import math
import ssl
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import certifi
import pycurl

from pulsebase.probes.support.curl.faults import BODY_TOO_LARGE, failure_of
from pulsebase.probes.support.curl.request import LARGEST_BODY, Failure, Response
from pulsebase.probes.support.curl.unpacking import (
    PackedTooLargeError,
    UnpackingError,
    encodings_of,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.probes.support.curl.request import Request, Shape

__all__ = ["CurlHandle", "common_options"]

# Shared by all transfers, so that a thousand services on one host do not ask a thousand times;
# short, so that a changed record is seen.
_DNS_CACHE_SECONDS: Final = 10
_WEB_ONLY: Final = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_VERSIONS: Final = {1: "1.0", 2: "1.1", 3: "2", 30: "3"}
_TLS_SESSION: Final = b"SSL connection using "
_HEAD_ENDS: Final = (b"\r\n", b"\n")
_HEAD_CUT_SHORT: Final = Failure(
    kind="incomplete", message="the connection was closed before the end of the headers"
)


def common_options() -> tuple[tuple[int, Any], ...]:
    """What libcurl is told for every request."""
    return (
        (pycurl.USERAGENT, "pulsebase"),
        # Signals would interrupt the monitor's own; threads resolve names instead.
        (pycurl.NOSIGNAL, 1),
        (pycurl.FRESH_CONNECT, 1),
        (pycurl.FORBID_REUSE, 1),
        (pycurl.SSL_SESSIONID_CACHE, 0),
        (pycurl.DNS_CACHE_TIMEOUT, _DNS_CACHE_SECONDS),
        (pycurl.PROTOCOLS, _WEB_ONLY),
        (pycurl.REDIR_PROTOCOLS, _WEB_ONLY),
        # One file and no folder: only then does libcurl keep the parsed certificates.
        (pycurl.CAINFO, ssl.get_default_verify_paths().cafile or certifi.where()),
    )


class CurlHandle:
    """A handle that has the options of one kind of request; the URL and the timeout may change."""

    __slots__ = ("_body", "_head", "_session", "_timeout_seconds", "curl", "shape")

    def __init__(self, shape: Shape, common: tuple[tuple[int, Any], ...]) -> None:
        self.curl = pycurl.Curl()
        self.shape = shape
        self._timeout_seconds = 0.0
        self._head: list[bytes] = []
        self._body: list[bytes] = []
        self._session = ""
        set_option = self.curl.setopt
        for option, value in (*common, *shape.options):
            set_option(option, value)
        set_option(pycurl.HEADERFUNCTION, self._head.append)
        # libcurl sees to its size. Where nobody looks into it, it is dropped.
        kept = self._body if shape.keep_body else deque[bytes](maxlen=0)
        set_option(pycurl.WRITEFUNCTION, kept.append)
        if shape.keep_certificate:
            set_option(pycurl.DEBUGFUNCTION, self._note)

    def begin(self, request: Request, timeout_seconds: float) -> None:
        """Make ready for a request of the same shape."""
        self._head.clear()
        self._body.clear()
        self._session = ""
        self.curl.setopt(pycurl.URL, request.url)
        if self._timeout_seconds != timeout_seconds:
            self._timeout_seconds = timeout_seconds
            self.curl.setopt(pycurl.TIMEOUT_MS, max(1, math.ceil(timeout_seconds * 1000)))

    def answer(self, code: int, message: str) -> Response:
        """What came back; raises UnknownHealthError where this machine is to blame.

        `code` and `message` are libcurl's, 0 for a transfer that it takes for whole.
        """
        info = self.curl.getinfo
        body, failure = b"", None
        if code:
            failure = failure_of(code, message, errno=info(pycurl.OS_ERRNO))
        elif not _has_ended(self._head):
            # An answer that ends among its headers is whole to libcurl.
            failure = _HEAD_CUT_SHORT
        elif self.shape.keep_body:
            body, failure = self._unpacked()
        return Response(
            status=info(pycurl.RESPONSE_CODE),
            http_version=_VERSIONS.get(info(pycurl.INFO_HTTP_VERSION), ""),
            remote_ip=info(pycurl.PRIMARY_IP),
            phases_seconds=_phases(self.curl),
            content_type=self._content_type(),
            headers=tuple(_last_head(self._head)) if self.shape.keep_headers else (),
            body=body,
            certificate=self._certificate(),
            session=self._session,
            failure=failure,
        )

    def _unpacked(self) -> tuple[bytes, Failure | None]:
        body = b"".join(self._body)
        self._body.clear()
        if not (encodings := encodings_of(_last_head(self._head))):
            return body, None
        try:
            return unpack(body, encodings, largest=LARGEST_BODY), None
        except PackedTooLargeError:
            return b"", BODY_TOO_LARGE
        except UnpackingError as error:
            return b"", Failure("protocol", str(error))

    def _content_type(self) -> bytes:
        # Raw: a server may put any bytes there, and the plain call wants them to be text.
        kept = self.shape.keep_body
        return (self.curl.getinfo_raw(pycurl.CONTENT_TYPE) or b"") if kept else b""

    def _certificate(self) -> str:
        if not self.shape.keep_certificate:
            return ""
        chain: Any = self.curl.getinfo_raw(pycurl.INFO_CERTINFO)
        return str(dict(chain[0]).get(b"Cert", b""), "ascii", "replace") if chain else ""

    def _note(self, kind: int, text: bytes) -> None:
        # libcurl tells the protocol and the cipher in no other way.
        if kind == pycurl.INFOTYPE_TEXT and text.startswith(_TLS_SESSION):
            self._session = text[len(_TLS_SESSION) :].decode("ascii", "replace").strip()


def _has_ended(head: Sequence[bytes]) -> bool:
    """Whether the last of the heads that came by has its end; trailers may come after it."""
    if head and head[-1] in _HEAD_ENDS:
        return True
    return any(line in _HEAD_ENDS for line in _last_head(head))


def _last_head(lines: Sequence[bytes]) -> Sequence[bytes]:
    """The lines since the last status line: there may be redirects and interim answers before."""
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].startswith(b"HTTP/"):
            return lines[index:]
    return lines


def _phases(curl: pycurl.Curl) -> tuple[float, float, float, float, float]:
    # libcurl counts each from the beginning, and has 0 for what did not happen.
    info = curl.getinfo
    resolved, connected = info(pycurl.NAMELOOKUP_TIME), info(pycurl.CONNECT_TIME)
    secured, sent = info(pycurl.APPCONNECT_TIME), info(pycurl.PRETRANSFER_TIME)
    answered = info(pycurl.STARTTRANSFER_TIME)
    return (
        resolved,
        connected - resolved if connected > resolved else 0.0,
        secured - connected if secured > connected else 0.0,
        answered - sent if answered > sent else 0.0,
        info(pycurl.TOTAL_TIME),
    )
