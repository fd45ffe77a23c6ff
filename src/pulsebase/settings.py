"""Where the database is: arguments, then the environment, then the embedded server.

    an argument or --url
    PULSEBASE_URL                        any of the three kinds of URL
    DATABASE_URL                         postgresql://…
    SUPABASE_URL                         https://…, with a key
    nothing                              the embedded server

A key comes from an argument, PULSEBASE_KEY, SUPABASE_SECRET_KEY, SUPABASE_SERVICE_ROLE_KEY or
SUPABASE_SERVICE_KEY, in this order.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pulsebase.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEY_VARIABLES", "URL_VARIABLES", "Scheme", "Target", "resolve"]

Scheme = Literal["postgresql", "http", "https", "embedded"]

URL_VARIABLES = ("PULSEBASE_URL", "DATABASE_URL", "SUPABASE_URL")
KEY_VARIABLES = (
    "PULSEBASE_KEY",
    "SUPABASE_SECRET_KEY",
    "SUPABASE_SERVICE_ROLE_KEY",
    "SUPABASE_SERVICE_KEY",
)
EMBEDDED = "embedded://"

_TRANSACTION_POOLER_PORT = 6543
_PORT = re.compile(r":(\d{1,5})$")
_HOST = re.compile(r"(\[[0-9A-Za-z:.%]+\]|[\w.%-]*)(:\d{1,5})?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
# Other tools put their own words into DATABASE_URL; libpq refuses what it does not know.
_FOREIGN_PARAMETERS = frozenset(
    {"pgbouncer", "connection_limit", "pool_timeout", "schema", "statement_cache_size", "supa"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """A database to talk to. Its `repr` and `str` never show a password or a key."""

    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
    connect_timeout_seconds: float = 5.0
    statement_timeout_seconds: float = 30.0
    transaction_pooler: bool = False

    @property
    def scheme(self) -> Scheme:
        """The URL's scheme; `resolve` lets no other through."""
        return cast("Scheme", urlsplit(self.url).scheme)

    @property
    def address(self) -> str:
        """`host:port` (or the folder of a socket or of the embedded server), for messages."""
        if self.scheme == "embedded":
            return self.url
        parts = urlsplit(self.url)
        default_port = {"https": 443, "http": 80}.get(parts.scheme, 5432)
        hosts = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
        if hosts.startswith("/"):
            return hosts
        named = (hosts or "localhost").split(",")
        return ",".join(host if _port(host) else f"{host}:{default_port}" for host in named)

    def __str__(self) -> str:
        """The URL without user, password and parameters."""
        parts = urlsplit(self.url)
        return (
            self.url
            if self.scheme == "embedded"
            else f"{parts.scheme}://{self.address}{parts.path}"
        )


def resolve(
    url: str | None = None,
    key: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    connect_timeout_seconds: float = 5.0,
    statement_timeout_seconds: float = 30.0,
) -> Target:
    """The database that the arguments or the environment name, else the embedded server.

    Raises ConfigurationError when a URL cannot be used or an HTTPS one comes without a key.
    """
    environ = os.environ if environ is None else environ
    source, text = ("the URL", url) if url else _first(environ, URL_VARIABLES)
    text, transaction_pooler = _normalized(source, (text or EMBEDDED).strip())
    if text.startswith(("http://", "https://")):
        key = _required_key(source, key or _first(environ, KEY_VARIABLES)[1])
    return Target(
        url=text,
        key=key,
        connect_timeout_seconds=connect_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        transaction_pooler=transaction_pooler,
    )


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str | None]:
    return next(((name, environ[name]) for name in names if environ.get(name)), ("", None))


def _required_key(source: str, key: str | None) -> str:
    key = (key or "").strip()
    if not key:
        msg = (
            f"{source} is an HTTPS address and needs a service key; set {KEY_VARIABLES[1]} or --key"
        )
        raise ConfigurationError(msg)
    if not (key.isascii() and key.isprintable()) or " " in key:
        msg = "the key has characters that no key has; copy it again from the dashboard"
        raise ConfigurationError(msg)
    return key


def _normalized(source: str, text: str) -> tuple[str, bool]:
    """The URL in our spelling, and whether a transaction pooler stands behind it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _unreadable(source) from None
    scheme = parts.scheme.partition("+")[0].lower()
    match scheme:
        case "embedded":
            return text, False
        case "http" | "https":
            return _web_address(source, parts), False
        case "postgres" | "postgresql" if "://" in text and not _UNPRINTABLE.search(text):
            return _postgres_url(source, parts)
        case "postgres" | "postgresql":
            raise _unreadable(source)
    shown = f"{scheme}:" if scheme.isalnum() and "://" in text else "nothing usable"
    msg = f"{source} starts with {shown}; pulsebase speaks postgresql://, https:// and embedded://"
    raise ConfigurationError(msg)


def _web_address(source: str, parts: SplitResult) -> str:
    try:
        usable = bool(parts.hostname) and not _UNPRINTABLE.search(parts.geturl())
        parts.port  # noqa: B018 -- raises when it is no number
    except ValueError:
        raise _unreadable(source) from None
    if not usable:
        raise _unreadable(source)
    if "@" in parts.netloc or parts.query or parts.fragment:
        # httpx would log them, and no server of this kind reads them.
        key = f"{KEY_VARIABLES[1]} or --key"
        msg = f"{source} must be scheme, host and path only; give the key by {key}"
        raise ConfigurationError(msg)
    return parts.geturl().rstrip("/")


def _postgres_url(source: str, parts: SplitResult) -> tuple[str, bool]:
    # The text of each parameter stays as it is: libpq does not read a "+" as a space.
    pairs = [pair for pair in parts.query.split("&") if pair]
    user, _, place = parts.netloc.rpartition("@")
    hosts = place.split(",")
    if (
        not all(map(_HOST.fullmatch, hosts))
        or "@" in user + parts.path
        or parts.fragment
        or not all("=" in pair for pair in pairs)
        or _UNPRINTABLE.search(parts.geturl())
    ):
        # Most likely a character of the password; guessing on would show it as a host or a port.
        msg = (
            f"{source} cannot be read; write / ? # @ : % and spaces in a password as %2F %3F %23 …"
        )
        raise ConfigurationError(msg)
    kept = [pair for pair in pairs if pair.partition("=")[0] not in _FOREIGN_PARAMETERS]
    query = f"?{'&'.join(kept)}" if kept else ""
    pooler = _TRANSACTION_POOLER_PORT in map(_port, hosts) or "pgbouncer=true" in pairs
    return f"postgresql://{parts.netloc}{parts.path}{query}", pooler


def _port(host: str) -> int | None:
    found = _PORT.search(host)
    return int(found[1]) if found else None


def _unreadable(source: str) -> ConfigurationError:
    msg = f"{source} is not a URL that can be read; expected postgresql://user@host:5432/name"
    return ConfigurationError(msg)
