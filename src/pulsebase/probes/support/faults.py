"""Errors of sockets and libraries as one of a few stable kinds, and ours told from theirs.

`error.kind` is what people filter and alert by, so the words are few and the same for every kind of
probe. An error that says that *this machine* is out of something (file descriptors, memory, ports)
says nothing about the service: it becomes UnknownHealthError.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final, Literal

from pulsebase.probes.support.cleaning import clean_text
from pulsebase.probes.support.outcome import UnknownHealthError
from pulsebase.probes.support.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "KINDS_BY_ERRNO",
    "OWN_ERRNOS",
    "ErrorKind",
    "excerpt",
    "failed",
    "fault",
    "kind_of",
    "own_trouble",
]

ErrorKind = Literal[
    "dns",  # the name could not be resolved
    "refused",  # nobody listens
    "unreachable",  # there is no way to the address
    "timeout",  # no whole answer within the timeout
    "tls",  # the handshake failed, or the certificate does not hold
    "reset",  # the connection was closed or broken without a whole answer
    "protocol",  # the answer is not of the protocol
    "incomplete",  # the answer ended before its announced end
    "too_many_redirects",
    "headers_too_large",
    "body_too_large",
    "authentication",  # the service refused who we say we are
    "query",  # the service refused what we asked
    "exception",  # code of the service's owner raised
    "other",
]

LONGEST_EXCERPT: Final = 200

KINDS_BY_ERRNO: Final[Mapping[int, ErrorKind]] = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.ECONNABORTED: "reset",
    errno.EPIPE: "reset",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.EHOSTDOWN: "unreachable",
    errno.ETIMEDOUT: "timeout",
}
# What this machine has run out of.
OWN_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN}
)

# The first that fits counts: several of these are OSErrors.
_KINDS_BY_CLASS: Final[tuple[tuple[tuple[type[BaseException], ...], ErrorKind], ...]] = (
    ((TimeoutError,), "timeout"),
    ((ssl.SSLError,), "tls"),
    ((socket.gaierror,), "dns"),
    ((asyncio.IncompleteReadError, EOFError), "incomplete"),
    ((ConnectionRefusedError,), "refused"),
    ((ConnectionError,), "reset"),
)


def kind_of(error: BaseException) -> ErrorKind:
    """The kind of an error of a socket, of TLS or of asyncio's streams."""
    for classes, kind in _KINDS_BY_CLASS:
        if isinstance(error, classes):
            return kind
    number = error.errno if isinstance(error, OSError) else None
    return KINDS_BY_ERRNO.get(number or 0, "other")


def own_trouble(number: int) -> UnknownHealthError:
    """The error for an errno of OWN_ERRNOS."""
    reason = os.strerror(number)
    return UnknownHealthError(
        f"this machine is out of something ({reason}); raise its limits or lower concurrency"
    )


def fault(
    error: BaseException, *, kind: ErrorKind | None = None, secrets: Iterable[str] = ()
) -> dict[str, Any]:
    """`{"error": {kind, message}}` of an exception; raises UnknownHealthError where it is ours."""
    if (number := _own_errno(error)) is not None:
        raise own_trouble(number) from error
    message = str(error) or type(error).__name__
    if isinstance(error, TimeoutError):
        message = "no whole answer within the timeout"
    return {"error": {"kind": kind or kind_of(error), "message": excerpt(message, secrets)}}


def _own_errno(error: BaseException) -> int | None:
    match error:
        case socket.gaierror():  # numbers of its own
            return errno.ENOMEM if error.errno == socket.EAI_MEMORY else None
        case OSError() if error.errno in OWN_ERRNOS and not isinstance(error, ssl.SSLError):
            return error.errno
        case _:
            return None


def failed(expectation: str, expected: str, got: str) -> dict[str, Any]:
    """`{"failed": {expectation, expected, got}}`; pass what a server said through `excerpt`."""
    return {"failed": {"expectation": expectation, "expected": expected, "got": got}}


def excerpt(text: str, secrets: Iterable[str] = ()) -> str:
    """What may be stored of a text that a server had a hand in: redacted, then cut."""
    # In this order: half a secret would no longer be found.
    return clean_text(redact(text, secrets), longest=LONGEST_EXCERPT)
