"""What `pulsebase doctor` finds out without asking anybody: the parts, the address, the key."""

from __future__ import annotations

import os
import platform
import sys
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from json import loads
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

from pulsebase.cli.text import joined, time_text
from pulsebase.settings import KEY_VARIABLES, URL_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.cli.options import Options
    from pulsebase.settings import Target

__all__ = ["Finding", "address_findings", "clock_finding", "installation_findings", "key_findings"]

Level: TypeAlias = Literal["ok", "warning", "problem"]

_EXTRAS: Final = {
    "monitor": (("pycurl", "pydantic"), "pulsebase run, check and demo"),
    "embedded": (("fasteners", "platformdirs"), "the embedded database and pulsebase demo"),
}
_SHOWN_OF_A_KEY: Final = 6
_JWT_PARTS: Final = 3
_EXPIRES_SOON: Final = timedelta(days=30)
_PGBOUNCER_PORT: Final = 6432
_CLOCK_TOLERANCE: Final = timedelta(seconds=10)
_LARGEST_CLOCK_ERROR: Final = timedelta(minutes=5)  # beyond it the database refuses our checks
_SERVICE_KEY: Final = "copy the service (secret) key from the dashboard into SUPABASE_SECRET_KEY"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `remedy` is the command or step that mends it."""

    topic: str
    level: Level
    text: str
    remedy: str = ""


def installation_findings() -> Iterator[Finding]:
    """The versions, and the optional parts that are there."""
    from pulsebase import __version__

    python = f"Python {platform.python_version()} on {sys.platform}"
    yield Finding("installation", "ok", f"pulsebase {__version__}, {python}")
    for extra, (modules, purpose) in _EXTRAS.items():
        broken = [fault for module in modules if (fault := _import_fault(module))]
        remedy = f'pip install "pulsebase[{extra}]"'
        if broken:
            text = f"{joined(broken)}; needed only for {purpose}"
            yield Finding(f"extra {extra}", "ok", text, remedy)
        else:
            yield Finding(f"extra {extra}", "ok", "installed")


def _import_fault(module: str) -> str:
    try:
        import_module(module)
    except ModuleNotFoundError:
        return f"{module} is not installed"
    except ImportError as error:  # a compiled module without its library
        return f"{module} cannot be loaded ({error.msg})"
    return ""


def address_findings(options: Options, target: Target) -> Iterator[Finding]:
    """Which database was chosen, why, and whether its URL is one that works well."""
    set_names = [name for name in URL_VARIABLES if os.environ.get(name)]
    chosen = "--url" if options.url else next(iter(set_names), "")
    text = f"{target} (from {chosen})" if chosen else f"{target} (no URL is set)"
    yield Finding("address", "ok", text)
    ignored = [name for name in set_names if name != chosen]
    if chosen and ignored:
        is_or_are = "is" if len(ignored) == 1 else "are"
        yield Finding("address", "ok", f"{joined(ignored)} {is_or_are} set, too, and not used")
    yield from _encryption(target)
    parts = urlsplit(target.url)
    if target.transaction_pooler:
        text = "a transaction pooler: no prepared statements, timeouts set in each transaction"
        yield Finding("pooler", "ok", text)
    elif target.scheme == "postgresql" and parts.port == _PGBOUNCER_PORT:
        text = "port 6432 is usually PgBouncer's, and the URL does not say pgbouncer=true"
        yield Finding("pooler", "warning", text, "append ?pgbouncer=true to the URL")


def _encryption(target: Target) -> Iterator[Finding]:
    """Whether a key or a password may travel in the clear."""
    host = urlsplit(target.url).hostname or ""
    if target.scheme == "http" and not _is_local(host):
        text = "the key travels unencrypted to another machine"
        yield Finding("encryption", "problem", text, "use the https:// address")
    mode = parse_qs(urlsplit(target.url).query).get("sslmode", [""])[0]
    if target.scheme == "postgresql" and mode in {"disable", "allow"} and not _is_local(host):
        text = f"sslmode={mode} lets the password and the data travel unencrypted"
        yield Finding("encryption", "warning", text, "use sslmode=verify-full, or at least require")


def _is_local(host: str) -> bool:
    return host in {"", "localhost", "::1"} or host.startswith("127.")


def key_findings(options: Options, target: Target) -> Iterator[Finding]:
    """Whether the key has the form of a service key, for this project, and how long it is valid."""
    if not target.key:
        return
    names = (name for name in KEY_VARIABLES if os.environ.get(name))
    source = "--key" if options.key else next(names, "the environment")
    start = f"{target.key[:_SHOWN_OF_A_KEY]}… (from {source})"
    if target.key.startswith("sb_publishable_"):
        text = f"{start} is a publishable key, made for browsers"
        yield Finding("key", "problem", text, _SERVICE_KEY)
    elif target.key.startswith("sb_"):
        yield Finding("key", "ok", f"{start} is a secret key")
    elif (claims := _claims(target.key)) is None:
        text = f"{start} is neither an sb_secret_ key nor a JWT"
        yield Finding("key", "problem", text, _SERVICE_KEY)
    else:
        yield from _jwt_findings(start, claims, target)


def _claims(key: str) -> dict[str, Any] | None:
    """What a JWT says; whether its signature is right only the server knows."""
    parts = key.split(".")
    if len(parts) != _JWT_PARTS:
        return None
    try:
        claims = loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return None
    return claims if isinstance(claims, dict) else None


def _jwt_findings(start: str, claims: dict[str, Any], target: Target) -> Iterator[Finding]:
    role = claims.get("role")
    if role in {"anon", "authenticated"}:
        text = f"{start} is a JWT of the role {role}, which may not see the tables"
        yield Finding("key", "problem", text, _SERVICE_KEY)
    else:
        yield Finding("key", "ok", f"{start} is a JWT of the role {str(role)[:40]}")
    project = str(claims.get("ref") or "")
    host = urlsplit(target.url).hostname or ""
    if project and host.endswith(".supabase.co") and not host.startswith(f"{project}."):
        text = f"the key belongs to another project than {host}"
        yield Finding("key", "problem", text, _SERVICE_KEY)
    yield from _expiry_findings(claims.get("exp"))


def _expiry_findings(expires: object) -> Iterator[Finding]:
    if not isinstance(expires, int | float):
        return
    try:
        moment = datetime.fromtimestamp(expires, UTC)
    except (ValueError, OverflowError, OSError):
        return
    now = datetime.now(UTC)
    if moment <= now:
        yield Finding("key", "problem", f"the key expired at {time_text(moment)}", _SERVICE_KEY)
    elif moment - now < _EXPIRES_SOON:
        text = f"the key expires at {time_text(moment)}"
        yield Finding("key", "warning", text, "make a new secret key in the dashboard")


def clock_finding(ours: datetime, theirs: datetime, whose: str) -> Finding:
    """Whether this machine's clock agrees with another one."""
    difference = ours - theirs
    seconds = f"{abs(difference.total_seconds()):.1f} s"
    direction = "ahead of" if difference > timedelta(0) else "behind"
    text = f"this machine is {seconds} {direction} {whose}"
    remedy = "synchronise the clocks (NTP), such as with: timedatectl set-ntp true"
    if abs(difference) > _LARGEST_CLOCK_ERROR:
        return Finding("clock", "problem", text, remedy)
    if abs(difference) > _CLOCK_TOLERANCE:
        return Finding("clock", "warning", f"{text}; ages are off by as much", remedy)
    return Finding("clock", "ok", f"agrees with {whose} (to {seconds})")
