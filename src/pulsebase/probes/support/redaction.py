"""Keep what a service was told in confidence out of what is stored about it."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["redact", "redact_url", "secrets_in_headers", "secrets_in_url"]

HIDDEN: Final = "***"

# What is shorter is no secret, and hiding it everywhere would make a message unreadable.
_SHORTEST: Final = 4
_SECRET_NAME: Final = re.compile(
    r"key|token|secret|passw|pwd|auth|sig|session|credential|jwt|code|access", re.IGNORECASE
)
# Long and without anything that reads like a word, a path or a sentence.
_SECRET_VALUE: Final = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w.~+/=-]{20,}", re.ASCII)


def secrets_in_url(url: str) -> Iterator[str]:
    """User, password and token-like query values, in every form in which a server may echo them."""
    parts = urlsplit(url)
    userinfo, _, _ = parts.netloc.rpartition("@")
    if userinfo:
        yield from (userinfo, unquote(userinfo), b64encode(unquote(userinfo).encode()).decode())
        yield from map(unquote, userinfo.split(":", 1))
        yield from userinfo.split(":", 1)
    for pair in parts.query.split("&"):
        name, _, raw = pair.partition("=")
        value = dict(parse_qsl(pair)).get(unquote(name), "")
        if _SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(value):
            yield from (raw, value)


def secrets_in_headers(headers: Mapping[str, str]) -> Iterator[str]:
    """Each value, and what follows a scheme such as `Bearer`."""
    for value in headers.values():
        yield value.strip()
        yield value.strip().partition(" ")[2]


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret hidden, the longest first."""
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def redact_url(url: str) -> str:
    """A URL that may be shown: without user, password and token-like query values."""
    try:
        parts = urlsplit(url)
        userinfo, _, host = parts.netloc.rpartition("@")
        if userinfo:
            parts = parts._replace(netloc=f"{HIDDEN}@{host}")
        query = "&".join(_redact_pair(pair) for pair in parts.query.split("&"))
        return parts._replace(query=query).geturl()
    except ValueError:  # urlsplit refuses a few, such as one with half a bracket
        return HIDDEN


def _redact_pair(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if value and (_SECRET_NAME.search(name) or _SECRET_VALUE.fullmatch(unquote(value))):
        return f"{name}{equals}{HIDDEN}"
    return pair
