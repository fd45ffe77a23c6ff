"""How a kind refuses keys that could only fail at probe time."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from pulsebase.errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "host_problem",
    "port_problem",
    "text_problem",
]

_HOST_NAME: Final = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._-]{0,252}")
_HIGHEST_PORT: Final = 65_535


def host_problem(host: str, field: str = "host") -> Iterable[InvalidValueError]:
    """What is wrong with a host, given without brackets and port: a name in ASCII or an address."""
    if not _HOST_NAME.fullmatch(host) and not _is_ipv6_address(host):
        bound = "a host name in ASCII (xn--… for other letters) or an IP address, without a port"
        yield InvalidValueError(field, host, bound)


def _is_ipv6_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def port_problem(port: int, field: str = "port") -> Iterable[InvalidValueError]:
    """What is wrong with a port, which is a field of its own or a part of another one."""
    if not 0 < port <= _HIGHEST_PORT:
        rule = f"a whole number from 1 to {_HIGHEST_PORT}"
        bound = rule if field == "port" else f"an address whose port is {rule}"
        yield InvalidValueError(field, port, bound)


def text_problem(text: str | None, field: str) -> Iterable[InvalidValueError]:
    """What is wrong with a text that is to be sent: a variable or a file may hold any bytes."""
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        yield InvalidValueError(field, "…", "text in UTF-8, which a part of it is not")
