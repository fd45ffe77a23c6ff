"""The kind `webhook`: POST a JSON document, signed, to a URL of `https://` or `http://`."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from threading import Event
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.notifiers.support.addresses import is_public_address
from pulsebase.notifiers.support.cleaning import one_line
from pulsebase.notifiers.support.fields import timeout_problem
from pulsebase.notifiers.support.outcome import DeliveryFailedError, DeliveryRefusedError
from pulsebase.notifiers.support.payload import encoded_body
from pulsebase.notifiers.support.redaction import HIDDEN, redact, secrets_in_url
from pulsebase.notifiers.support.retry_after import retry_after_seconds
from pulsebase.notifiers.support.signature import secret_problem, signature_headers
from pulsebase.notifiers.support.texts import Limits, MessageTexts
from pulsebase.notifiers.support.threads import in_thread
from pulsebase.notifiers.support.transfer import Answer, Post, TransferError, post

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

# Room for the thread to tell what happened when all the time was used.
_GRACE_SECONDS: Final = 1.0
_LIMITS: Final = Limits(title=250, body=32_768)
_LONGEST_EXCERPT: Final = 200
# What is sent of a digest to a receiver that takes no more.
_FEW_NOTICES: Final = 100
_DELIVERED: Final = range(200, 300)
_REDIRECTED: Final = range(300, 400)
# What is for good. Anything outside, 5xx above all, may be otherwise in a moment; so may these.
_JUDGED: Final = range(300, 500)
_TEMPORARY: Final = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


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
        """POST it once, redirects included; any answer of 2xx means that it has arrived."""
        given_up = Event()
        seconds = self.timeout.total_seconds()
        try:
            answer = await in_thread(
                partial(self._post, message, given_up),
                timeout_seconds=seconds + _GRACE_SECONDS,
            )
        except TimeoutError:
            reason = f"no whole answer within {format_duration(self.timeout)}"
            raise DeliveryFailedError(reason) from None
        except TransferError as error:
            reason = self._shown(str(error))
            raise (DeliveryRefusedError if error.is_final else DeliveryFailedError)(
                reason
            ) from None
        finally:
            given_up.set()
        self._judge(answer)

    def _post(self, message: Message, given_up: Event) -> Answer:
        deadline = time.monotonic() + self.timeout.total_seconds()
        facts = self.facts_in(message)
        texts = self.texts_of(message, facts, form="text", limits=_LIMITS)
        body = encoded_body(message, facts, texts)
        answer = self._post_body(message, body, deadline, given_up)
        if answer.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and len(facts) > _FEW_NOTICES:
            # When everything is down at once is no time to say nothing.
            body = encoded_body(message, facts, texts, most_notices=_FEW_NOTICES)
            answer = self._post_body(message, body, deadline, given_up)
        return answer

    def _post_body(self, message: Message, body: bytes, deadline: float, given_up: Event) -> Answer:
        return post(
            Post(
                url=self.url,
                headers=self._headers(str(message.id), body),
                own_headers=self.headers,
                body=body,
                ca_file=self.ca_file,
            ),
            timeout_seconds=deadline - time.monotonic(),
            allows=_anything if self.allow_private_addresses else is_public_address,
            given_up=given_up,
        )

    def _headers(self, message_id: str, body: bytes) -> dict[str, str]:
        headers = {
            "User-Agent": "pulsebase",
            "Content-Type": "application/json",
            "Idempotency-Key": message_id,
        }
        if self.secret is None:
            return headers
        return headers | signature_headers(message_id, int(time.time()), body, self.secret)

    def _judge(self, answer: Answer) -> None:
        status = answer.status
        if status in _DELIVERED:
            return
        reason = f"the receiver answered {status}{_phrase(status)}"
        if said := self._shown(answer.body.decode("utf-8", "replace")):
            reason += f": {said}"
        if status in _TEMPORARY or status not in _JUDGED:
            raise DeliveryFailedError(reason, retry_after_seconds(answer.headers))
        if status in _REDIRECTED:
            reason = f"{reason}; redirects are followed by 307 and 308 only, so set the new URL"
        raise DeliveryRefusedError(reason)

    def _shown(self, text: str) -> str:
        secrets = (*secrets_in_url(self.url), self.secret or "", *_values(self.headers))
        return one_line(redact(text, secrets), longest=_LONGEST_EXCERPT)

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
        if self.ca_file is not None and not _is_ca_file(self.ca_file):
            yield InvalidValueError("ca_file", self.ca_file, "a file of certificates in PEM")
        yield from timeout_problem(self.timeout)
        yield from self.text_problems()


def _anything(_: str) -> bool:
    return True


def _values(headers: Mapping[str, str]) -> Iterator[str]:
    for value in headers.values():
        yield value.strip()
        yield value.strip().partition(" ")[2]


def _phrase(status: int) -> str:
    try:
        return f" ({HTTPStatus(status).phrase})"
    except ValueError:
        return ""


def _is_ca_file(path: str) -> bool:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError):
        return False
    return True


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
