"""Which services a policy, a route or a maintenance window is for: `services` and `labels`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from pulsebase.errors import InvalidValueError
from pulsebase.models.fields import service_name
from pulsebase.monitor.configuration.pace import label_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Matching", "matcher_of", "matcher_problems"]

# What the database takes is no larger, with the labels beside it.
_LARGEST_LIST: Final = 32_768


class Matching(Protocol):
    """A table with these two keys."""

    @property
    def services(self) -> tuple[str, ...] | None:
        """Names, of which one must match; `*` is any text, and None any name."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels, all of which must match; `*` in a text is any text."""
        ...


def matcher_of(keys: Matching) -> dict[str, Any] | None:
    """As the database keeps it; None for every service."""
    matcher: dict[str, Any] = {}
    if keys.services is not None:
        matcher["services"] = list(keys.services)
    if keys.labels:
        matcher["labels"] = dict(keys.labels)
    return matcher or None


def matcher_problems(keys: Matching) -> Iterator[InvalidValueError]:
    """What could match no service."""
    if keys.services is not None and not keys.services:
        bound = "at least one name; leave it out for all services"
        yield InvalidValueError("services", [], bound)
    for name in keys.services or ():
        try:
            service_name(name, "services")
        except InvalidValueError as error:
            yield error
    yield from label_problems(keys.labels)
    yield from _size_problem(keys.services or ())


def _size_problem(names: tuple[str, ...]) -> Iterator[InvalidValueError]:
    size = len(json.dumps(names, ensure_ascii=False).encode("utf-8", "replace"))
    if size > _LARGEST_LIST:
        bound = f"at most {_LARGEST_LIST} bytes in all; use * or labels, or write several tables"
        yield InvalidValueError("services", len(names), bound)
