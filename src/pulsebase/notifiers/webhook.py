"""The kind `webhook`: POST a JSON document, signed, to a URL of `https://` or `http://`."""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from pulsebase.durations import Duration  # noqa: TC001 -- pydantic resolves the fields at run time
from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.addresses import is_public_address
from pulsebase.notifiers.support.fields import CLOSED, refuse, timeout_problem
from pulsebase.notifiers.support.redaction import HIDDEN
from pulsebase.notifiers.support.signature import secret_problem
from pulsebase.notifiers.support.texts import MessageTexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.notifiers.support.message import Message

__all__ = ["WebhookNotifier"]

_URL_RULE: Final = "an http:// or https:// URL with a host, in printable ASCII (percent-encoded)"
_ADDRESS_RULE: Final = "at a public address, or allow_private_addresses = true given with it"
_HEADER_NAME: Final = re.compile(r"[0-9A-Za-z!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]*")
_OUR_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "idempotency-key",
        "transfer-encoding",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)
_HIGHEST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotifier(MessageTexts):
    """POST each message as JSON; every attempt carries the same `Idempotency-Key`."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    timeout: Duration = timedelta(seconds=10)
    allow_private_addresses: bool = False
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail when something is to be told."""
        refuse(self._problems())

    async def send(self, message: Message) -> None:
        """POST it once, redirects included."""
        raise NotImplementedError

    def _problems(self) -> Iterator[InvalidValueError]:
        if not _is_web_url(self.url):
            # Of a webhook, all of the URL may be secret.
            yield InvalidValueError("url", HIDDEN, _URL_RULE)
        elif not self.allow_private_addresses and _is_surely_private(self.url):
            yield InvalidValueError("url", HIDDEN, _ADDRESS_RULE)
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                yield InvalidValueError("headers", name, "named by letters, digits and hyphens")
            elif name.lower() in _OUR_HEADERS:
                yield InvalidValueError("headers", name, "others than those that pulsebase sets")
            elif not _HEADER_VALUE.fullmatch(value):
                yield InvalidValueError("headers", f"{name}: …", "one line of text each")
        yield from secret_problem(self.secret)
        yield from timeout_problem(self.timeout)
        yield from self.text_problems()


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


def _is_surely_private(url: str) -> bool:
    """Whether it can be seen already at load; every connection is judged anyway."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    looks_like_address = ":" in host or host.replace(".", "").isdigit()
    return looks_like_address and not is_public_address(host)
