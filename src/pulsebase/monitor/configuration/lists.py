"""Lists of tables, `[[channels]]` and the like."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["NameRegister", "nearest_of", "tables_at"]


def tables_at(value: Any, place: KeyPath, complaints: Complaints) -> list[dict[str, Any]]:
    """The tables of a list; none where it is something else, which is complained about."""
    if isinstance(value, list) and all(isinstance(table, dict) for table in value):
        return value
    header = ".".join(map(str, place))
    complaints.about(place, f"is a list of tables; write each as [[{header}]]")
    return []


def nearest_of(name: str, known: Collection[str], otherwise: str) -> str:
    """What to do about a name that is not known."""
    near = difflib.get_close_matches(name, known, n=1)
    return f'did you mean "{near[0]}"?' if near else otherwise


class NameRegister:
    """Complains about the second table of a list that has the same name."""

    def __init__(self, what: str, complaints: Complaints) -> None:
        self._what = what
        self._complaints = complaints
        self._places: dict[str, KeyPath] = {}

    def add(self, table: dict[str, Any], place: KeyPath) -> None:
        """Note the name of a table, if it has one."""
        name = table.get("name")
        if isinstance(name, str) and (first := self._places.setdefault(name, place)) != place:
            at, first_at = (*place, "name"), (*first, "name")
            self._complaints.duplicate_name(at, first_at, what=self._what)
