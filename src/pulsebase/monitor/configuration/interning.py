"""Lets equal values of many services be one object: fifty thousand of them fit into less memory.

Only what is frozen in fact: defaults, durations, and texts in tuples and tables, which nothing
changes after a file was read. Other equal values need not mean the same: in JSON, 1 is not true.
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Interning"]

ValueT = TypeVar("ValueT")


class Interning:
    """Remembers the first of equal values while one file is read."""

    def __init__(self) -> None:
        self._values: dict[Any, Any] = {}
        self._defaults: dict[type, dict[str, Any]] = {}

    def value(self, value: ValueT) -> ValueT:
        """The first value that was equal to this one, or the value itself."""
        match value:
            case timedelta():
                key: Any = value
            case dict() if _are_texts(value.values()):
                key = (dict, *value.items())
            case tuple() if _are_texts(value):
                key = (tuple, *value)
            case _:
                return value
        first: ValueT = self._values.setdefault(key, value)
        return first

    def within(self, probe: object) -> None:
        """Replace the fields of a probe that was just made by equal values seen before."""
        kind = type(probe)
        if (defaults := self._defaults.get(kind)) is None:
            defaults = self._defaults[kind] = _defaults(kind)
        for name, default in defaults.items():
            value = getattr(probe, name)
            shared = default if value == default else self.value(value)
            if shared is not value:
                # Frozen it is, but nobody else has seen it yet.
                object.__setattr__(probe, name, shared)


def _defaults(kind: type) -> dict[str, Any]:
    """What fields are when nothing is said; those that are texts or numbers are shared anyway."""
    if not is_dataclass(kind):
        return {}
    return {
        one.name: one.default_factory() if one.default_factory is not MISSING else one.default
        for one in fields(kind)
        if one.init and not isinstance(one.default, (str, int, float))
    }


def _are_texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
