"""Take keys and passwords out of anything that is about to be shown."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from pulsebase.settings import KEY_VARIABLES, URL_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["HIDDEN", "Redactor"]

HIDDEN: Final = "***"

# What is shorter is no secret, and hiding it everywhere would make a message unreadable.
_SHORTEST: Final = 4
_FORMS: Final = (
    re.compile(r"sb_secret_[\w-]+", re.ASCII),
    re.compile(r"eyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?", re.ASCII),
    re.compile(r"(?i)(?<=\bbearer )\s*[^\s\"',;]+"),
    # The password of a URL reaches to the last @: people forget to escape what it holds.
    re.compile(r"(?<=://)[^\s/?#:@]*:[^\s\"']*(?=@)"),
    re.compile(r"(?i)(?<![a-z])(?:password|passwd|pwd|sslpassword)\s*=\s*('[^']*'|[^\s&'\"]+)"),
    re.compile(r"(?i)(?:authorization|apikey)['\"]?\s*[:=]\s*(?:(?:basic|bearer)\s+)?[^\s,;]+"),
)
_SECRET_NAME: Final = re.compile(r"(?i)password|passwd|secret|authorization|apikey|api_key|token")
# A password that is one of our own words protects nothing; hiding it would garble every sentence.
_NO_SECRETS: Final = frozenset(
    {"postgres", "postgresql", "pulsebase", "password", "supabase", "secret", "localhost", "test"}
)


@dataclass(frozen=True, slots=True)
class Redactor:
    """Hides the secrets that it knows, and whatever looks like one."""

    secrets: tuple[str, ...] = ()

    @classmethod
    def for_process(
        cls, *, urls: Iterable[str | None] = (), keys: Iterable[str | None] = ()
    ) -> Redactor:
        """One that knows the given URLs and keys and those of the environment."""
        keys = [*keys, *map(os.environ.get, (*KEY_VARIABLES, "PGPASSWORD"))]
        urls = [*urls, *map(os.environ.get, URL_VARIABLES)]
        found = {secret for secret in keys if secret}
        found.update(secret for text in urls if text for secret in _secrets_of(text))
        spellings = {form for secret in found for form in _spellings(secret)}
        longest_first = sorted(spellings - _NO_SECRETS, key=lambda text: (-len(text), text))
        return cls(tuple(text for text in longest_first if len(text) >= _SHORTEST))

    def text(self, text: str) -> str:
        """The text with every secret hidden."""
        for secret in self.secrets:
            text = text.replace(secret, HIDDEN)
        for form in _FORMS:
            text = form.sub(HIDDEN, text)
        return text

    def value(self, value: Any) -> Any:
        """The same for texts inside of dicts and lists; anything else by its `repr`."""
        match value:
            case None | bool() | int() | float():
                return value
            case str():
                return self.text(value)
            case dict():
                return {
                    self.text(str(name)): self._member(name, item) for name, item in value.items()
                }
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return self.text(repr(value))

    def _member(self, name: Any, item: Any) -> Any:
        return HIDDEN if _SECRET_NAME.search(str(name)) else self.value(item)


def _secrets_of(url: str) -> Iterator[str]:
    """The password of a URL, also one that cannot be read as a URL."""
    authority = url.partition("://")[2]
    user_info, at, _ = re.split(r"[/?#]", authority, maxsplit=1)[0].rpartition("@")
    if not at:  # an unescaped / or # in a password ends the authority too early
        user_info = authority.rpartition("@")[0]
    password = user_info.partition(":")[2]
    yield password
    yield from re.split(r"[/?#]", password)  # what a parser takes it apart at shows up in pieces
    try:
        pairs = parse_qsl(urlsplit(url).query)
    except ValueError:
        return
    yield from (value for name, value in pairs if _SECRET_NAME.search(name))


def _spellings(secret: str) -> Iterator[str]:
    secret = secret.strip()
    plain = unquote(secret)
    yield from (secret, plain, quote(secret), quote(plain), quote(plain, safe=""))
    yield from (repr(secret)[1:-1], repr(plain)[1:-1])
