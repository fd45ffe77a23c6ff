"""libcurl's errors as the kinds of error that all probes share."""

from __future__ import annotations

import errno as numbers
import socket
from typing import TYPE_CHECKING, Final

import pycurl

from pulsebase.probes.support.curl.request import LARGEST_BODY, Failure
from pulsebase.probes.support.faults import KINDS_BY_ERRNO, OWN_ERRNOS, own_trouble
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.probes.support.faults import ErrorKind

__all__ = ["BODY_TOO_LARGE", "failure_of"]

BODY_TOO_LARGE: Final = Failure("body_too_large", f"the body is larger than {LARGEST_BODY} bytes")

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
_BEFORE_CONNECTING: Final = frozenset(
    {pycurl.E_COULDNT_CONNECT, pycurl.E_COULDNT_RESOLVE_HOST, pycurl.E_COULDNT_RESOLVE_PROXY}
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
_OWN_FILES: Final = frozenset(
    {
        pycurl.E_SSL_CERTPROBLEM,
        pycurl.E_SSL_CACERT_BADFILE,
        pycurl.E_BAD_FUNCTION_ARGUMENT,  # of a key's file, the only argument that may change
    }
)
_OWN_MEMORY: Final = frozenset({pycurl.E_OUT_OF_MEMORY, pycurl.E_FAILED_INIT})
# A socket that only waits says this, too.
_OUT_OF_SOMETHING: Final = OWN_ERRNOS - {numbers.EAGAIN}


def failure_of(code: int, message: str, *, errno: int) -> Failure:
    """Why there is no whole answer; raises UnknownHealthError where this machine is to blame.

    `errno` is what the operating system said last about the connection.
    """
    _raise_own(code, message, errno)
    if code == pycurl.E_FILESIZE_EXCEEDED:
        return BODY_TOO_LARGE
    return Failure(_kind(code, message, errno), message or f"libcurl's error {code}")


def _raise_own(code: int, message: str, errno: int) -> None:
    if code in _OWN_FILES:
        sentence = f"a file for TLS cannot be used ({message}); put it back or change its key"
        raise UnknownHealthError(sentence)
    if code in _OWN_MEMORY:
        raise own_trouble(numbers.ENOMEM)
    if code in _CONNECTION_BROKE and errno in _OUT_OF_SOMETHING:
        raise own_trouble(errno)
    if code in _BEFORE_CONNECTING and not errno:
        # libcurl keeps no errno of a socket or a lookup that it could not even begin.
        if (missing := _errno_of_new_socket()) is not None:
            raise own_trouble(missing)
        if code == pycurl.E_COULDNT_CONNECT:
            sentence = f"this machine could not open a socket ({message}); see its limits"
            raise UnknownHealthError(sentence)


def _errno_of_new_socket() -> int | None:
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno if error.errno in _OUT_OF_SOMETHING else None
    return None


def _kind(code: int, message: str, errno: int) -> ErrorKind:
    if code == pycurl.E_RECV_ERROR and "response headers" in message:
        # libcurl stops at 300 kB of headers with the code of a broken connection.
        return "headers_too_large"
    if code == pycurl.E_RECV_ERROR and "SSL" in message:
        return "reset"
    if code == pycurl.E_SEND_ERROR and message.startswith("Failed to connect"):
        return "refused"  # HTTP/3 goes by datagrams: only the answer to one says so
    finer = KINDS_BY_ERRNO.get(errno)
    return finer if finer and code in _CONNECTION_BROKE else _KINDS.get(code, "other")
