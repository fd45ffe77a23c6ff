"""What a transfer is asked and what it answers with, as plain values.

libcurl's options are worked out once for each way to ask, not for each look, and a handle that has
them already is used again as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, assert_never

import pycurl

from pulsebase.probes.support.curl.unpacking import ACCEPTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.faults import ErrorKind

__all__ = [
    "LARGEST_BODY",
    "MOST_REDIRECTS",
    "Failure",
    "HttpVersion",
    "Request",
    "Response",
    "Shape",
    "http_version_option",
    "shape_of",
    "tls_options",
]

LARGEST_BODY: Final = 1024 * 1024
MOST_REDIRECTS: Final = 10

HttpVersion = Literal["1.1", "2", "3"]

_IP_VERSIONS: Final = {4: pycurl.IPRESOLVE_V4, 6: pycurl.IPRESOLVE_V6}


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """All of a request but its URL: libcurl's options, and what is wanted of the answer.

    A body that nobody looks into is neither kept nor unpacked.
    """

    options: tuple[tuple[int, Any], ...]
    keep_body: bool
    keep_headers: bool
    keep_certificate: bool


class Request(NamedTuple):
    """What to ask, where."""

    url: str
    shape: Shape


class Failure(NamedTuple):
    """Why there is no whole answer. The message is libcurl's own and not yet redacted."""

    kind: ErrorKind
    message: str


class Response(NamedTuple):
    """What came back: an answer, or a failure and what was seen before it.

    `phases_seconds` holds how long `dns`, `connect`, `tls`, `first_byte` and `total` took; one
    that did not happen is 0. `certificate` is the server's, in PEM, and `session` what libcurl says
    about protocol and cipher; both are empty where they were not kept.
    """

    status: int
    http_version: str
    remote_ip: str
    phases_seconds: tuple[float, float, float, float, float]
    content_type: bytes
    headers: tuple[bytes, ...]
    body: bytes
    certificate: str
    session: str
    failure: Failure | None

    @property
    def total_seconds(self) -> float:
        """The time of the whole answer."""
        return self.phases_seconds[4]


@lru_cache(maxsize=1024)
def shape_of(
    *,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (),
    body: str | None = None,
    follow_redirects: bool = True,
    proxy: str = "",
    ip_version: int | None = None,
    http_version: int | None = None,
    tls: tuple[tuple[int, Any], ...] = (),
    keep_body: bool = False,
    keep_headers: bool = False,
    keep_certificate: bool = False,
) -> Shape:
    """The same object for the same arguments, so that services that are asked alike share it."""
    options: list[tuple[int, Any]] = [
        (pycurl.HTTPHEADER, tuple(_header_lines(headers, body, accepts_packed=keep_body))),
        # What is watched is written in the file; a variable of the shell must not change it.
        (pycurl.PROXY, proxy),
        (pycurl.NOPROXY, ""),
        *_method_options(method, body),
        *tls,
    ]
    if method != "HEAD":
        options.append((pycurl.MAXFILESIZE, LARGEST_BODY))
    if follow_redirects:
        options += [(pycurl.FOLLOWLOCATION, 1), (pycurl.MAXREDIRS, MOST_REDIRECTS)]
    if ip_version is not None:
        options.append((pycurl.IPRESOLVE, _IP_VERSIONS[ip_version]))
    if http_version is not None:
        options.append((pycurl.HTTP_VERSION, http_version))
    if keep_certificate:
        options += [(pycurl.OPT_CERTINFO, 1), (pycurl.VERBOSE, 1)]
    return Shape(tuple(options), keep_body, keep_headers, keep_certificate)


def _header_lines(
    headers: tuple[tuple[str, str], ...], body: str | None, *, accepts_packed: bool
) -> Iterator[bytes]:
    given = {name.lower() for name, _ in headers}
    for name, value in headers:
        # "Name:" would remove a header; libcurl's way to send an empty one is "Name;".
        yield (f"{name}: {value}" if value else f"{name};").encode()
    if body is not None:
        # Neither a pause for "100 Continue" nor a guess that the body is a form.
        yield b"Expect:"
        if "content-type" not in given:
            yield b"Content-Type:"
    if accepts_packed and "accept-encoding" not in given:
        yield ACCEPTED
    if "connection" not in given:
        # The side that closes first remembers the connection for a minute, and runs out of ports.
        yield b"Connection: close"


def _method_options(method: str, body: str | None) -> Iterator[tuple[int, Any]]:
    if method == "HEAD":
        yield pycurl.NOBODY, 1
        return
    if body is not None or method == "POST":
        yield pycurl.POSTFIELDS, (body or "").encode()
    # A POST named by CUSTOMREQUEST would stay one after a 303.
    if method not in {"GET", "POST"} or (method == "GET" and body):
        yield pycurl.CUSTOMREQUEST, method


def tls_options(
    *,
    verify: bool = True,
    ca_file: str | None = None,
    certificate_file: str | None = None,
    key_file: str | None = None,
) -> tuple[tuple[int, Any], ...]:
    """Whom to trust, and as whom to come; the key may be in the certificate's file."""
    options: list[tuple[int, Any]] = []
    if not verify:
        options += [(pycurl.SSL_VERIFYPEER, 0), (pycurl.SSL_VERIFYHOST, 0)]
    if ca_file is not None:
        options.append((pycurl.CAINFO, ca_file))
    if certificate_file is not None:
        options.append((pycurl.SSLCERT, certificate_file))
        options.append((pycurl.SSLKEY, key_file or certificate_file))
    return tuple(options)


def http_version_option(version: HttpVersion | None, url: str) -> int | None:
    """What libcurl calls a version; without TLS, the second cannot be agreed on but only begun."""
    match version:
        case None:
            return None
        case "1.1":
            return pycurl.CURL_HTTP_VERSION_1_1
        case "2" if url.startswith("http:"):
            return pycurl.CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE
        case "2":
            return pycurl.CURL_HTTP_VERSION_2TLS
        case "3":
            return pycurl.CURL_HTTP_VERSION_3ONLY
        case _:
            assert_never(version)
