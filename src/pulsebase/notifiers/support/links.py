"""Where a message leads to: a URL with the names of the service and of its event in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.redaction import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pulsebase.notifiers.support.message import Notice

__all__ = ["link_of", "link_problem"]

_RULE: Final = (
    "an http:// or https:// URL in printable ASCII; in its path or query it may have "
    "{service}, {event} and {incident}"
)
_PLACEHOLDER: Final = re.compile(r"\{(service|event|incident)\}")


def link_problem(link: str | None, field: str = "link") -> Iterable[InvalidValueError]:
    """What is wrong with a link."""
    if link is not None and not _is_link(link):
        yield InvalidValueError(field, HIDDEN, _RULE)


def link_of(link: str, notice: Notice) -> str:
    """The link for one notice; what is put in is quoted."""
    names = {
        "service": notice.service_name,
        "event": str(notice.event_id),
        "incident": str(notice.incident_id),
    }
    return _PLACEHOLDER.sub(lambda found: _quoted(names[found[1]]), link)


def _quoted(name: str) -> str:
    quoted = quote(name, safe="", errors="replace")
    # A path of dots would lead elsewhere.
    return quoted.replace(".", "%2E") if name.strip(".") == "" else quoted


def _is_link(link: str) -> bool:
    plain = _PLACEHOLDER.sub("x", link)
    if not plain.isascii() or not plain.isprintable() or set(plain) & set(" {}<>\"'`\\^|"):
        return False
    try:
        parts = urlsplit(link)
        parts.port  # noqa: B018 -- raises when it is no number
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"} and bool(parts.hostname) and not set(parts.netloc) & {"{"}
    )
