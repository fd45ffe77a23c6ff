"""The kind `websocket`: open a WebSocket, say something, and judge what comes back."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import port_problem, text_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.connecting import travel
from pulsebase.probes.support.network.tls_contexts import TlsContexts, TlsFiles
from pulsebase.probes.support.patterns import Regex  # noqa: TC001 -- as above
from pulsebase.probes.support.redaction import redact_url, secrets_in_headers, secrets_in_url
from pulsebase.probes.support.websocket_session import (
    LARGEST_MESSAGE,
    RefusedUpgradeError,
    open_websocket,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from pulsebase.probes.support.network.connecting import Journey, Verdict
    from pulsebase.probes.support.network.tls_contexts import Verification
    from pulsebase.probes.support.outcome import Look, Outcome
    from pulsebase.probes.support.websocket_session import WebSocketSession

__all__ = ["MessageExpectation", "WebsocketProbe"]

_URL_RULE: Final = (
    "a ws:// or wss:// URL with a host and without #…, in printable ASCII (percent-encoded)"
)
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f-\U0010ffff]*")
_OURS: Final = re.compile(r"sec-websocket-.*|upgrade|connection|content-length", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
# What is kept of the timeout to say which message was the wrong one.
_LAST_WORD: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageExpectation:
    """What a message must be for the service to be up; all of it must hold for one message."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    contains: str | None = None
    matches: Regex | None = None

    def __post_init__(self) -> None:
        """Refuse what every message fulfils."""
        if self.contains == "":
            refuse([InvalidValueError("contains", "", "at least one character")])

    @property
    def is_anything(self) -> bool:
        """Whether every message is good."""
        return self.contains is None and self.matches is None

    def failed(self, message: str) -> tuple[str, str] | None:
        """The first expectation that does not hold, as (name, expected)."""
        if self.contains is not None and self.contains not in message:
            return "contains", self.contains
        if self.matches is not None and not self.matches.found_in(message):
            return "matches", self.matches.pattern
        return None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class WebsocketProbe(LatencyLimits):
    """Open a WebSocket as a client would, and wait for the message that is expected.

    `degraded_above` and `down_above` are compared with the time until that message, or until the
    WebSocket is open where none is waited for.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: MessageExpectation = field(default_factory=MessageExpectation)
    verify_tls: bool = True
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the target without what is secret about it."""
        return f"WebsocketProbe({redact_url(self.url)})"

    @property
    def host(self) -> str | None:
        """The host of the URL."""
        return urlsplit(self.url).hostname

    async def probe(self, look: Look) -> Outcome:
        """Open, listen and let go; the timeout covers everything."""
        return await travel(look, self._ask, secrets=self._secrets())

    async def _ask(self, journey: Journey) -> Verdict:
        try:
            session = await open_websocket(
                journey,
                self.url,
                headers=self.headers,
                subprotocols=self.subprotocols,
                context=self._context(journey),
            )
        except RefusedUpgradeError as error:
            journey.details["http_status"] = error.status
            journey.answered()
            return "down", failed("status", "101", str(error.status))
        async with session:
            unfit = await self._unfit(session, journey)
            seconds = journey.answered()
            await session.say_goodbye()
        return ("down", unfit) if unfit else self.judge_latency(seconds)

    async def _unfit(self, session: WebSocketSession, journey: Journey) -> dict[str, Any] | None:
        """What speaks against the agreement or the messages."""
        if agreed := session.subprotocol:
            journey.details["subprotocol"] = agreed
        elif self.subprotocols:
            return failed("subprotocols", ", ".join(self.subprotocols), "none")
        if self.send is not None:
            await session.send(self.send)
        if self.send is None and self.expect.is_anything:
            return None
        return await self._unfit_messages(session, journey)

    async def _unfit_messages(
        self, session: WebSocketSession, journey: Journey
    ) -> dict[str, Any] | None:
        """None once a message is as expected; what was wrong with the last when time is up."""
        wrong: tuple[str, str, str] | None = None
        last_word_seconds = journey.look.timeout_seconds * _LAST_WORD
        try:
            async with asyncio.timeout(journey.seconds_left - last_word_seconds):
                # The clock is read too: in a flood the loop comes to its timers late.
                while wrong is None or journey.seconds_left > last_word_seconds:
                    message = (await session.receive()).decode("utf-8", "replace")
                    if (unmet := self.expect.failed(message)) is None:
                        return None
                    wrong = (*unmet, message)
        except TimeoutError:
            if wrong is None:  # not a word, which is another matter than the wrong words
                raise
        expectation, expected, got = wrong
        return failed(expectation, expected, excerpt(got, self._secrets()))

    def _context(self, journey: Journey) -> ssl.SSLContext | None:
        if not self.url.startswith("wss:"):
            return None
        verification: Verification = "full" if self.verify_tls else "none"
        return journey.look.tools.use(TlsContexts).use(self._tls_files, verification)

    @property
    def _tls_files(self) -> TlsFiles:
        return TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )

    def _secrets(self) -> tuple[str, ...]:
        return (*secrets_in_url(self.url), *secrets_in_headers(self.headers))

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from _url_problems(self.url)
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or _OURS.fullmatch(name):
                bound = "named by letters, digits and hyphens, and not those of the handshake"
                yield InvalidValueError("headers", name, bound)
            elif not _HEADER_VALUE.fullmatch(value):
                yield InvalidValueError("headers", f"{name}: …", "one line of ASCII each")
        for name in self.subprotocols:
            if not _TOKEN.fullmatch(name):
                yield InvalidValueError("subprotocols", name, "a word as in an HTTP header")
        yield from text_problem(self.send, "send")
        if self.send is not None and len(self.send.encode("utf-8", "replace")) > LARGEST_MESSAGE:
            yield InvalidValueError("send", "…", f"at most {LARGEST_MESSAGE} bytes")
        if any((self.ca_file, self.certificate_file, self.key_file)) and not self.url.startswith(
            "wss:"
        ):
            bound = "wss://, since files for TLS are given"
            yield InvalidValueError("url", redact_url(self.url), bound)
        yield from self._tls_files.problems()
        yield from self.latency_problems()


def _url_problems(url: str) -> Iterator[InvalidValueError]:
    shown = redact_url(url)
    if not url.isascii() or not url.isprintable() or " " in url:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    # Half of a user and password would be none.
    half = (parts.username is None) != (parts.password is None)
    if not url.startswith(("ws://", "wss://")) or not parts.hostname or "#" in url or half:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    yield from port_problem(_DEFAULT_PORTS[parts.scheme] if port is None else port, "url")
