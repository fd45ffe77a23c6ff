"""The kind `http`: ask a URL and judge the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.probes.support.curl import CurlDriver, Request, Response
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import CLOSED, refuse
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.outcome import Outcome, Status
from pulsebase.probes.support.redaction import redact_url, secrets_in_headers, secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look

__all__ = ["HttpExpectation", "HttpProbe", "Method"]

Method = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

_STATUS_RANGE: Final = re.compile(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", re.ASCII)
_STATUS_RULE: Final = 'a list with entries such as "2xx", "200" or "200-299"'
_URL_RULE: Final = "an http:// or https:// URL with a host, in printable ASCII (percent-encoded)"
_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpExpectation:
    """What an answer must be for the service to be up; all of it must hold."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    status: tuple[str, ...] = ("2xx",)
    body_contains: str | None = None
    body_matches: re.Pattern[str] | None = None

    def __post_init__(self) -> None:
        """Refuse status ranges that cannot be read."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        for wrong in [text for text in self.status if _status_range(text) is None]:
            yield InvalidValueError("status", wrong, _STATUS_RULE)
        if not self.status:
            yield InvalidValueError("status", self.status, _STATUS_RULE)
        if self.body_contains == "":
            yield InvalidValueError("body_contains", "", "at least one character")

    @property
    def looks_into_body(self) -> bool:
        """Whether the body itself decides anything."""
        return self.body_contains is not None or self.body_matches is not None

    def failed(self, response: Response) -> tuple[str, str, str] | None:
        """The first expectation that does not hold, as (name, expected, got)."""
        if not any(response.status in (_status_range(text) or ()) for text in self.status):
            return "status", ", ".join(self.status), str(response.status)
        if not self.looks_into_body:
            return None
        body = _text(response)
        if self.body_contains is not None and self.body_contains not in body:
            return "body_contains", self.body_contains, body
        if self.body_matches is not None and not self.body_matches.search(body):
            return "body_matches", self.body_matches.pattern, body
        return None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HttpProbe(LatencyLimits):
    """Ask a URL, and judge its answer by status, body and time.

    `degraded_above` and `down_above` are compared with the time of the whole answer.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    method: Method = "GET"
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: str | None = None
    expect: HttpExpectation = field(default_factory=HttpExpectation)
    follow_redirects: bool = True
    verify_tls: bool = True

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

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
        response = await look.tools.use(CurlDriver).fetch(self._request(look.timeout_seconds))
        status, details = self._judge(response)
        answered = response.failure is None
        return Outcome(
            status=status,
            latency_ms=round(response.total_seconds * 1000) if answered else None,
            checked_at=checked_at,
            details=_seen(response) | details,
        )

    def _request(self, timeout_seconds: float) -> Request:
        return Request(
            url=self.url,
            method=self.method,
            headers=self.headers,
            body=self.body,
            timeout_seconds=timeout_seconds,
            follow_redirects=self.follow_redirects,
            verify_tls=self.verify_tls,
            keep_body=self.expect.looks_into_body,
        )

    def _judge(self, response: Response) -> tuple[Status, dict[str, Any]]:
        if failure := response.failure:
            message = self._shown(failure.message)
            return "down", {"error": {"kind": failure.kind, "message": message}}
        if unmet := self.expect.failed(response):
            expectation, expected, got = unmet
            return "down", failed(expectation, self._shown(expected), self._shown(got))
        return self.judge_latency(response.total_seconds)

    def _shown(self, text: str) -> str:
        return excerpt(text, (*secrets_in_url(self.url), *secrets_in_headers(self.headers)))

    def _problems(self) -> Iterator[InvalidValueError]:
        if not _is_web_url(self.url):
            yield InvalidValueError("url", redact_url(self.url), _URL_RULE)
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                yield InvalidValueError("headers", name, "named by letters, digits and hyphens")
            elif not _HEADER_VALUE.fullmatch(value):
                yield InvalidValueError("headers", f"{name}: …", "one line of text each")
        if self.method == "HEAD" and (self.body is not None or self.expect.looks_into_body):
            yield InvalidValueError("method", "HEAD", "one that has a body, since one is given")
        yield from self.latency_problems()


def _is_web_url(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(parts.hostname)
        and (port is None or 0 < port <= _HIGHEST_PORT)
    )


def _status_range(text: str) -> range | None:
    match = _STATUS_RANGE.fullmatch(text)
    if match is None:
        return None
    hundreds, first, last = match.groups()
    if hundreds:
        return range(int(hundreds) * 100, int(hundreds) * 100 + 100)
    found = range(int(first), int(last or first) + 1)
    return found or None


def _text(response: Response) -> str:
    # Only these two are common beside UTF-8; others in Python's list are slow or no text at all.
    latin = re.search(r"charset=\"?(iso-8859-1|windows-1252)", response.content_type, re.IGNORECASE)
    return response.body.decode("cp1252" if latin else "utf-8", "replace")


def _seen(response: Response) -> dict[str, Any]:
    seen: dict[str, Any] = {
        "http_status": response.status,
        "http_version": response.http_version,
        "remote_ip": response.remote_ip,
        "phases_ms": {
            name: milliseconds
            for name, seconds in response.phases_seconds.items()
            if (milliseconds := round(seconds * 1000, 2))
        },
    }
    return {name: value for name, value in seen.items() if value}
