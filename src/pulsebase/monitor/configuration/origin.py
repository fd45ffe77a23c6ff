"""What a service has from its group, and where in the file each of its entries stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["Origin", "joined"]


@dataclass(frozen=True, slots=True)
class Origin:
    """Finds the place of an entry of a table that is joined from two: its own and another's."""

    place: KeyPath
    own: Mapping[str, Any] = field(default_factory=dict[str, Any])
    other_place: KeyPath = ()
    other: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def of(self, entry: KeyPath) -> KeyPath:
        """The place in the file; of an entry that neither has, where it would have to be."""
        own: Any = self.own
        other: Any = self.other
        for part in entry:
            if not isinstance(own, dict):
                break
            inherited = other.get(part) if isinstance(other, dict) else None
            if part not in own and inherited is not None:
                return (*self.other_place, *entry)
            own, other = own.get(part), inherited
        return (*self.place, *entry)


def joined(inherited: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables as one: the own entries win, tables within are joined key by key."""
    result = {**inherited}
    for key, value in own.items():
        before = result.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            result[key] = joined(_without(value, before) if key == "headers" else before, value)
        else:
            result[key] = value
    return result


def _without(own: Mapping[str, Any], inherited: Mapping[str, Any]) -> Mapping[str, Any]:
    """The inherited headers that are not among the own: upper and lower case are one to HTTP."""
    names = {name.lower() for name in own}
    return {name: value for name, value in inherited.items() if name.lower() not in names}
