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
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pulsebase.errors import ConfigurationError

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
        """`host:port` (or the folder of the embedded server), for messages."""
        if self.scheme == "embedded":
            return self.url
        parts = urlsplit(self.url)
        default_port = {"https": 443, "http": 80}.get(parts.scheme, 5432)
        socket_folder = dict(parse_qsl(parts.query)).get("host")
        return socket_folder or f"{parts.hostname or 'localhost'}:{parts.port or default_port}"

    def __str__(self) -> str:
        """The URL without user, password and parameters."""
        parts = urlsplit(self.url)
        return self.url if self.scheme == "embedded" else f"{parts.scheme}://{self.address}{parts.path}"


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
        msg = f"{source} is an HTTPS address and needs a service key; set {KEY_VARIABLES[1]} or --key"
        raise ConfigurationError(msg)
    if not (key.isascii() and key.isprintable()) or " " in key:
        msg = "the key has characters that no key has; copy it again from the dashboard"
        raise ConfigurationError(msg)
    return key


def _normalized(source: str, text: str) -> tuple[str, bool]:
    """The URL in our spelling, and whether a transaction pooler stands behind it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        msg = f"{source} is not a URL that can be read; expected postgresql://user@host:5432/name"
        raise ConfigurationError(msg) from None
    scheme = parts.scheme.partition("+")[0].lower()
    match scheme:
        case "embedded":
            return text, False
        case "http" | "https" if parts.hostname:
            return text.rstrip("/"), False
        case "postgres" | "postgresql":
            pairs = parse_qsl(parts.query, keep_blank_values=True)
            kept = urlencode([pair for pair in pairs if pair[0] not in _FOREIGN_PARAMETERS])
            pooler = port == _TRANSACTION_POOLER_PORT or ("pgbouncer", "true") in pairs
            return urlunsplit(parts._replace(scheme="postgresql", query=kept)), pooler
    shown = f"{scheme}:" if scheme and scheme.isalnum() else "nothing usable"
    msg = f"{source} starts with {shown}; pulsebase speaks postgresql://, https:// and embedded://"
    raise ConfigurationError(msg)
