"""libcurl's errors as the kinds of error that all probes share."""

from __future__ import annotations

import errno as numbers
from typing import TYPE_CHECKING, Final

import pycurl

from pulsebase.probes.support.curl_request import LARGEST_BODY, Failure
from pulsebase.probes.support.faults import KINDS_BY_ERRNO, OWN_ERRNOS, own_trouble
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.probes.support.faults import ErrorKind

__all__ = ["failure_of"]

# pycurl has no names for these.
_E_TOO_LARGE: Final = 100
_E_HTTP2_STREAM: Final = 92
_E_HTTP3: Final = 95
_E_QUIC_CONNECT_ERROR: Final = 96
_E_PROXY: Final = 97
# What the operating system says about a connection is finer than these.
_CONNECTION_BROKE: Final = frozenset(
    {
        pycurl.E_COULDNT_CONNECT,
        pycurl.E_SEND_ERROR,
        pycurl.E_RECV_ERROR,
        pycurl.E_SSL_CONNECT_ERROR,
        _E_QUIC_CONNECT_ERROR,
    }
)
_KINDS: Final[Mapping[int, ErrorKind]] = {
    pycurl.E_COULDNT_RESOLVE_HOST: "dns",
    pycurl.E_COULDNT_RESOLVE_PROXY: "dns",
    pycurl.E_COULDNT_CONNECT: "unreachable",
    pycurl.E_INTERFACE_FAILED: "unreachable",
    pycurl.E_OPERATION_TIMEDOUT: "timeout",
    pycurl.E_SSL_CONNECT_ERROR: "tls",
    pycurl.E_SSL_CIPHER: "tls",
    pycurl.E_PEER_FAILED_VERIFICATION: "tls",
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
    _E_HTTP2_STREAM: "protocol",
    _E_HTTP3: "protocol",
    _E_QUIC_CONNECT_ERROR: "unreachable",
    _E_PROXY: "protocol",
    _E_TOO_LARGE: "headers_too_large",
}
# A file of ours that could be read when the configuration was, and cannot any longer.
_OWN_FILES: Final = frozenset({pycurl.E_SSL_CERTPROBLEM, pycurl.E_SSL_CACERT_BADFILE})
_OWN_MEMORY: Final = frozenset({pycurl.E_OUT_OF_MEMORY, pycurl.E_FAILED_INIT})
# A socket that only waits says this, too.
_OUT_OF_SOMETHING: Final = OWN_ERRNOS - {numbers.EAGAIN}


def failure_of(code: int, message: str, *, errno: int, too_large: bool) -> Failure:
    """Why there is no whole answer; raises UnknownHealthError where this machine is to blame.

    `errno` is what the operating system said last about the connection; `too_large` that we
    stopped the transfer ourselves.
    """
    if code in _OWN_FILES:
        sentence = f"a file for TLS cannot be used ({message}); put it back or change its key"
        raise UnknownHealthError(sentence)
    if code in _OWN_MEMORY or (code in _CONNECTION_BROKE and errno in _OUT_OF_SOMETHING):
        raise own_trouble(errno if errno in _OUT_OF_SOMETHING else numbers.ENOMEM)
    kind = "body_too_large" if too_large else _kind(code, message, errno)
    if kind == "body_too_large":
        return Failure(kind, f"the body is larger than {LARGEST_BODY} bytes")
    return Failure(kind, message or f"libcurl's error {code}")


def _kind(code: int, message: str, errno: int) -> ErrorKind:
    if code == pycurl.E_RECV_ERROR and "response headers" in message:
        # libcurl stops at 300 kB of headers with the code of a broken connection.
        return "headers_too_large"
    if code == pycurl.E_RECV_ERROR and "SSL" in message:
        return "reset"
    finer = KINDS_BY_ERRNO.get(errno)
    return finer if finer and code in _CONNECTION_BROKE else _KINDS.get(code, "other")
