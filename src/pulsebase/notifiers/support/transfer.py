"""One POST by libcurl: within bounds, and to no address that is not allowed.

Whoever may name a URL could otherwise let this machine ask what only it can reach. A check before
the request would not do: a name may have another address a moment later, and an answer may lead
elsewhere. So libcurl asks here for every socket that it is about to connect, with the very address.
"""

from __future__ import annotations

import math
import socket
import ssl
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

import certifi
import pycurl

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from threading import Event

__all__ = ["Answer", "Post", "TransferError", "post"]

# What is worth showing of an answer, and what is read of it at most.
_LARGEST_ANSWER: Final = 8 * 1024
_MOST_REDIRECTS: Final = 3
# The redirects that keep the method and the body; after any other there is nothing to deliver.
_REDIRECTS: Final = frozenset({307, 308})
_WEB_ONLY: Final = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ADDRESS_ADVICE: Final = (
    "is no public address; if it is meant, set allow_private_addresses = true for this channel"
)


class TransferError(Exception):
    """There is no whole answer. `is_final` says that there will not be one later either."""

    def __init__(self, message: str, *, is_final: bool = False) -> None:
        self.is_final = is_final
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What to send, where; `own_headers` go only to the host and port of the URL itself."""

    url: str
    headers: Mapping[str, str]
    own_headers: Mapping[str, str]
    body: bytes
    ca_file: str | None = None


class Answer(NamedTuple):
    """The last answer: `headers` by lower-case names, and the beginning of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def post(
    what: Post,
    *,
    timeout_seconds: float,
    allows: Callable[[str], bool],
    given_up: Event,
) -> Answer:
    """The answer to one POST, a few redirects included; raises TransferError where there is none.

    `allows` is asked about each address before it is connected to. When `given_up` is set, the
    transfer ends within a second.
    """
    deadline = time.monotonic() + timeout_seconds
    base, authorization = _without_user(what.url)
    own = {**authorization, **what.own_headers}
    url = base
    for _ in range(_MOST_REDIRECTS + 1):
        headers = {**what.headers, **(own if _origin(url) == _origin(base) else {})}
        exchange = _Exchange(allows, given_up)
        answer = exchange.perform(url, headers, what, deadline - time.monotonic())
        location = answer.headers.get("location", "")
        if answer.status not in _REDIRECTS or not location:
            return answer
        url = _next_url(url, location)
    message = f"the receiver redirects more than {_MOST_REDIRECTS} times"
    raise TransferError(message, is_final=True)


@dataclass(slots=True)
class _Exchange:
    """One request and its answer, on a connection of its own."""

    allows: Callable[[str], bool]
    given_up: Event
    head: list[bytes] = field(default_factory=list[bytes])
    body: bytearray = field(default_factory=bytearray)
    refused: list[str] = field(default_factory=list[str])
    sockets: list[socket.socket] = field(default_factory=list[socket.socket])

    def perform(
        self, url: str, headers: Mapping[str, str], what: Post, timeout_seconds: float
    ) -> Answer:
        curl = pycurl.Curl()
        try:
            self._prepare(curl, url, headers, what, timeout_seconds)
            curl.perform()
        except pycurl.error as error:
            # Whoever has said "200 OK" has the message, whatever becomes of the rest.
            if not self._has_ended_head():
                raise self._failure(error) from None
        finally:
            status = curl.getinfo(pycurl.RESPONSE_CODE)
            curl.close()
            # libcurl works with a copy of each, and this one would keep the connection.
            for one in self.sockets:
                one.close()
        if not self._has_ended_head():
            message = "the connection was closed before the end of the answer's headers"
            raise TransferError(message)
        return Answer(status, _headers(self.head), bytes(self.body[:_LARGEST_ANSWER]))

    def _prepare(
        self,
        curl: pycurl.Curl,
        url: str,
        headers: Mapping[str, str],
        what: Post,
        timeout_seconds: float,
    ) -> None:
        options: tuple[tuple[int, Any], ...] = (
            (pycurl.URL, url),
            (pycurl.POST, 1),
            (pycurl.POSTFIELDS, what.body),
            (pycurl.HTTPHEADER, _lines(headers)),
            (pycurl.TIMEOUT_MS, max(1, math.ceil(timeout_seconds * 1000))),
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, _WEB_ONLY),
            (pycurl.FOLLOWLOCATION, 0),
            # A proxy would connect in our place, and to whatever it likes.
            (pycurl.PROXY, ""),
            (pycurl.NOPROXY, "*"),
            (pycurl.CAINFO, what.ca_file or _authorities()),
            (pycurl.OPENSOCKETFUNCTION, self._open),
            (pycurl.HEADERFUNCTION, self._note),
            (pycurl.WRITEFUNCTION, self._read),
            (pycurl.NOPROGRESS, 0),
            (pycurl.XFERINFOFUNCTION, lambda *_: self.given_up.is_set()),
        )
        for option, value in options:
            curl.setopt(option, value)

    def _open(self, _: int, address: Any) -> socket.socket | int:
        family, kind, protocol, place = address
        if family not in {socket.AF_INET, socket.AF_INET6} or not self.allows(place[0]):
            self.refused.append(str(place[0]))
            return pycurl.SOCKET_BAD
        try:
            opened = socket.socket(family, kind, protocol)
        except OSError:  # of this machine's limits; libcurl says that it could not connect
            return pycurl.SOCKET_BAD
        self.sockets.append(opened)
        return opened

    def _note(self, line: bytes) -> None:
        if line.startswith(b"HTTP/"):
            self.head.clear()  # the one before it was an interim answer
        self.head.append(line)

    def _read(self, part: bytes) -> int | None:
        self.body += part
        return -1 if len(self.body) > _LARGEST_ANSWER else None

    def _has_ended_head(self) -> bool:
        is_final = bool(self.head) and b" 1" not in self.head[0][:12]
        return is_final and any(line in {b"\r\n", b"\n"} for line in self.head)

    def _failure(self, error: pycurl.error) -> TransferError:
        code, message = error.args[0], str(error.args[-1])
        if self.refused and not self.sockets:
            return TransferError(f"{self.refused[0]} {_ADDRESS_ADVICE}", is_final=True)
        if code == pycurl.E_ABORTED_BY_CALLBACK:
            return TransferError("the attempt was given up")
        return TransferError(
            message or f"libcurl's error {code}", is_final=code == pycurl.E_URL_MALFORMAT
        )


def _lines(headers: Mapping[str, str]) -> list[bytes]:
    # "Name:" would remove a header; libcurl's way to send an empty one is "Name;".
    given = [f"{name}: {value}" if value else f"{name};" for name, value in headers.items()]
    # Neither a pause for "100 Continue" nor a connection that is kept for nobody.
    return [line.encode() for line in (*given, "Expect:", "Connection: close")]


def _headers(head: list[bytes]) -> dict[str, str]:
    pairs = (line.decode("latin-1").partition(":") for line in head[1:] if b":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """The URL without user and password, and the header that they make."""
    parts = urlsplit(url)
    userinfo, _, place = parts.netloc.rpartition("@")
    plain = parts._replace(netloc=place, fragment="").geturl()
    encoded = b64encode(unquote(userinfo).encode()).decode()
    return plain, {"Authorization": f"Basic {encoded}"} if userinfo else {}


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _next_url(url: str, location: str) -> str:
    following = ""
    before = after = _origin(url)
    try:
        following = urljoin(url, location)
        after = _origin(following)
        is_usable = bool(after[1]) and "@" not in urlsplit(following).netloc
    except ValueError:
        is_usable = False
    if not is_usable or not following.isascii() or not following.isprintable() or " " in following:
        message = "the receiver redirects to something that is no usable URL"
        raise TransferError(message, is_final=True)
    if after[0] != before[0]:
        message = f"the receiver redirects from {before[0]} to {after[0][:20]}; set the new URL"
        raise TransferError(message, is_final=True)
    return following


def _authorities() -> str:
    # One file and no folder: only then does libcurl keep the parsed certificates.
    return ssl.get_default_verify_paths().cafile or certifi.where()
