"""The kind `http`: ask a URL and judge the answer."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping  # noqa: TC003 - pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.curl.driver import CurlDriver
from pulsebase.probes.support.curl.request import (
    HttpVersion,
    Request,
    Response,
    http_version_option,
    shape_of,
    tls_options,
)
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.http.details import details_seen
from pulsebase.probes.support.http.expectation import (
    HEADER_NAME,
    HeaderExpectation,
    HttpExpectation,
    JsonExpectation,
    Unmet,
)
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.tls_contexts import TlsFiles
from pulsebase.probes.support.outcome import Outcome, Status
from pulsebase.probes.support.redaction import redact_url, secrets_in_headers, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look

__all__ = [
    "BasicAuth",
    "HeaderExpectation",
    "HttpExpectation",
    "HttpProbe",
    "JsonExpectation",
    "Method",
]

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_URL_RULE: Final = "an http:// or https:// URL with a host, in printable ASCII (percent-encoded)"
_PROXY_RULE: Final = "a URL with a host, of http, https, socks4, socks4a, socks5 or socks5h"
_PROXY_SCHEMES: Final = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_WEB_SCHEMES: Final = frozenset({"http", "https"})
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_USER_IN_URL: Final = re.compile(r"[^/]*//[^/?#]*@")
_TOKEN: Final = re.compile(r"[!-~]+")
_HIGHEST_PORT: Final = 65_535
_NO_FILES: Final = TlsFiles()
# Longer bodies are judged beside the event loop, since that may take more than a moment.
_LONG_BODY_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class BasicAuth:
    """Who we are, for a server that asks for user and password."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    username: str
    password: str

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if ":" in self.username:
            field_name = "username"
            raise InvalidValueError(field_name, "***", "without a colon, which ends it")

    def __repr__(self) -> str:
        """Show neither."""
        return "BasicAuth(…)"

    @property
    def encoded(self) -> str:
        """Both, as they are sent."""
        return b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HttpProbe(LatencyLimits):
    """Ask a URL, and judge its answer by status, headers, body, certificate and time.

    `degraded_above` and `down_above` are compared with the time of the whole answer.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    method: Method = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str | None = None
    basic_auth: BasicAuth | None = None
    bearer_token: str | None = None
    expect: HttpExpectation = field(default_factory=HttpExpectation)
    follow_redirects: bool = True
    verify_tls: bool = True
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    proxy: str | None = None
    ip_version: Literal[4, 6] | None = None
    http_version: HttpVersion | None = None
    degraded_days_left: int | None = None
    down_days_left: int | None = None
    _request: Request = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time, and work out what is asked each time."""
        refuse(self._problems())
        object.__setattr__(self, "_request", self._requested())

    def __repr__(self) -> str:
        """Name the target without what is secret about it."""
        return f"HttpProbe({self.method} {redact_url(self.url)})"

    @property
    def host(self) -> str | None:
        """The host of the URL."""
        return urlsplit(self.url).hostname

    async def probe(self, look: Look) -> Outcome:
        """Ask once; the timeout covers everything, redirects and the body too."""
        checked_at = datetime.now(UTC)
        driver = look.tools.use(CurlDriver)
        response = await driver.fetch(self._request, timeout_seconds=look.timeout_seconds)
        details = details_seen(response, checked_at)
        if failure := response.failure:
            details["error"] = {"kind": failure.kind, "message": self._shown(failure.message)}
            return Outcome(status="down", latency_ms=None, checked_at=checked_at, details=details)
        status, found = await self._judge(response, details, look)
        details.update(found)
        latency_ms = round(response.total_seconds * 1000)
        return Outcome(status=status, latency_ms=latency_ms, checked_at=checked_at, details=details)

    async def _judge(
        self, response: Response, details: Mapping[str, Any], look: Look
    ) -> tuple[Status, dict[str, Any]]:
        unmet = self.expect.unmet_by_head(response)
        if unmet is None and self.expect.looks_into_body:
            try:
                unmet = await self._unmet_by_body(response, look)
            except TimeoutError:
                message = "the body could not be judged within the timeout"
                return "down", {"error": {"kind": "timeout", "message": message}}
        if unmet is None and self.http_version not in {None, response.http_version}:
            unmet = Unmet("http_version", str(self.http_version), response.http_version)
        if unmet is not None:
            return "down", failed(unmet.expectation, *map(self._shown, unmet[1:]))
        return self._judge_days(details, self.judge_latency(response.total_seconds))

    async def _unmet_by_body(self, response: Response, look: Look) -> Unmet | None:
        if len(response.body) <= _LONG_BODY_BYTES:
            return self.expect.unmet_by_body(response)
        async with asyncio.timeout(look.timeout_seconds - response.total_seconds):
            return await asyncio.to_thread(self.expect.unmet_by_body, response)

    def _judge_days(
        self, details: Mapping[str, Any], latency: tuple[Status, dict[str, Any]]
    ) -> tuple[Status, dict[str, Any]]:
        """Judge how long the certificate still holds, beside what the latency says."""
        days_left = details.get("tls", {}).get("days_left")
        if days_left is None or latency[0] == "down":
            return latency
        if self.down_days_left is not None and days_left < self.down_days_left:
            return "down", _too_few_days("down_days_left", self.down_days_left, days_left)
        if self.degraded_days_left is not None and days_left < self.degraded_days_left:
            least = self.degraded_days_left
            return "degraded", _too_few_days("degraded_days_left", least, days_left)
        return latency

    def _shown(self, text: str) -> str:
        return excerpt(text, self._secrets())

    def _secrets(self) -> Iterator[str]:
        yield from secrets_in_url(self.url)
        yield from secrets_in_headers(self.headers)
        if self.proxy is not None:
            yield from secrets_in_url(self.proxy)
        if self.bearer_token is not None:
            yield self.bearer_token
        if self.basic_auth is not None:
            yield from (self.basic_auth.password, self.basic_auth.encoded)

    def _requested(self) -> Request:
        keeps_certificate = self.url.startswith("https:")
        return Request(
            self.url,
            shape_of(
                method=self.method,
                headers=(*self.headers.items(), *self._authorization()),
                body=self.body,
                follow_redirects=self.follow_redirects,
                proxy=self.proxy or "",
                ip_version=self.ip_version,
                http_version=http_version_option(self.http_version, self.url),
                tls=tls_options(
                    verify=self.verify_tls,
                    ca_file=self.ca_file,
                    certificate_file=self.certificate_file,
                    key_file=self.key_file,
                ),
                keep_body=self.expect.looks_into_body,
                keep_headers=bool(self.expect.headers),
                keep_certificate=keeps_certificate,
            ),
        )

    def _authorization(self) -> Iterator[tuple[str, str]]:
        if self.basic_auth is not None:
            yield "Authorization", f"Basic {self.basic_auth.encoded}"
        if self.bearer_token is not None:
            yield "Authorization", f"Bearer {self.bearer_token}"

    def _problems(self) -> Iterator[InvalidValueError]:
        if not _is_url(self.url, _WEB_SCHEMES):
            yield InvalidValueError("url", redact_url(self.url), _URL_RULE)
        if self.proxy is not None and not _is_url(self.proxy, _PROXY_SCHEMES):
            yield InvalidValueError("proxy", redact_url(self.proxy), _PROXY_RULE)
        for name, value in self.headers.items():
            if not HEADER_NAME.fullmatch(name):
                yield InvalidValueError("headers", name, "named by letters, digits and hyphens")
            elif not _HEADER_VALUE.fullmatch(value):
                yield InvalidValueError("headers", f"{name}: …", "one line of text each")
        if self.method == "HEAD" and (self.body is not None or self.expect.looks_into_body):
            yield InvalidValueError("method", "HEAD", "one that has a body, since one is given")
        yield from self._authorization_problems()
        yield from self._tls_problems()
        yield from self.latency_problems()

    def _authorization_problems(self) -> Iterator[InvalidValueError]:
        if self.bearer_token is not None and not _TOKEN.fullmatch(self.bearer_token):
            yield InvalidValueError("bearer_token", "***", "a word of printable ASCII")
        ways = (
            _USER_IN_URL.match(self.url),
            "authorization" in map(str.lower, self.headers),
            self.bearer_token is not None,
        )
        if self.basic_auth is not None and any(ways):
            bound = "the only way to log in: no user in url, no bearer_token, no Authorization"
            yield InvalidValueError("basic_auth", "***", bound)
        elif self.bearer_token is not None and any(ways[:2]):
            bound = "the only way to log in: no user in url, no Authorization in headers"
            yield InvalidValueError("bearer_token", "***", bound)

    def _tls_problems(self) -> Iterator[InvalidValueError]:
        files = TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )
        if files != _NO_FILES:
            yield from files.problems()
        if not self.verify_tls and self.ca_file is not None:
            yield InvalidValueError("ca_file", self.ca_file, "left out where verify_tls is false")
        if self.http_version == "3" and not self.url.startswith("https:"):
            yield InvalidValueError("http_version", "3", '"1.1" or "2" for an http:// URL')
        degraded, down = self.degraded_days_left, self.down_days_left
        for name, days in (("degraded_days_left", degraded), ("down_days_left", down)):
            if days is not None and days < 0:
                yield InvalidValueError(name, days, "0 or more")
            elif days is not None and not self.url.startswith("https:"):
                yield InvalidValueError(name, days, "left out for an http:// URL")
        if degraded and down is not None and degraded <= down:
            bound = "more than down_days_left, or 0"
            yield InvalidValueError("degraded_days_left", degraded, bound)


def _is_url(url: str, schemes: frozenset[str]) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in schemes
        and bool(parts.hostname)
        and (port is None or 0 < port <= _HIGHEST_PORT)
    )


def _too_few_days(expectation: str, least: int, got: int) -> dict[str, Any]:
    return failed(expectation, f"at least {least} days left", f"{got} days left")
