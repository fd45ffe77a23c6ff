"""Keep what a channel was told in confidence out of what is shown about it."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, unquote_plus, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HIDDEN", "redact", "secrets_in_url"]

HIDDEN: Final = "***"

# What is shorter is no secret, and hiding it everywhere would make a message unreadable.
_SHORTEST: Final = 4


def secrets_in_url(url: str) -> Iterator[str]:
    """All of a URL but its scheme and host, in every form in which somebody may echo it.

    Many services put the only secret that there is into the path.
    """
    parts = urlsplit(url)
    userinfo, _, _ = parts.netloc.rpartition("@")
    if userinfo:
        yield from (userinfo, b64encode(unquote(userinfo).encode()).decode())
        yield from _forms(userinfo.split(":", 1))
    yield from (parts.query, parts.fragment)
    yield from _forms(parts.path.split("/"))
    yield from _forms(pair.partition("=")[2] for pair in parts.query.split("&"))


def _forms(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (text, unquote(text), unquote_plus(text))


def redact(text: str, secrets: Iterable[str]) -> str:
    """The text with every secret hidden, the longest first."""
    for secret in sorted({s for s in secrets if len(s) >= _SHORTEST}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
