"""Lists of tables, `[[channels]]` and the like."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["Advice", "NameRegister", "tables_at"]

_MOST_SEARCHES: Final = 20


def tables_at(value: Any, place: KeyPath, complaints: Complaints) -> list[dict[str, Any]]:
    """The tables of a list; none where it is something else, which is complained about."""
    if isinstance(value, list) and all(isinstance(table, dict) for table in value):
        return value
    header = ".".join(map(str, place))
    complaints.about(place, f"is a list of tables; write each as [[{header}]]")
    return []


class Advice:
    """What to do about a name that is not there; found once for all who ask.

    Looking for a similar one among many takes long: whoever has that many wrong has other troubles.
    """

    def __init__(self, known: Iterable[str], *, otherwise: str) -> None:
        self._known = tuple(known)
        self._otherwise = otherwise
        self._found: dict[str, str] = {}

    def about(self, unknown: str) -> str:
        """The nearest name, or what else to do."""
        if unknown not in self._found:
            if len(self._found) == _MOST_SEARCHES:
                return self._otherwise
            near = difflib.get_close_matches(unknown, self._known, n=1)
            advice = f'did you mean "{near[0]}"?' if near else self._otherwise
            self._found[unknown] = advice
        return self._found[unknown]


class NameRegister:
    """Complains about the second table of a list that has the same name."""

    def __init__(self, what: str, complaints: Complaints) -> None:
        self._what = what
        self._complaints = complaints
        self._places: dict[str, KeyPath] = {}

    @property
    def names(self) -> Collection[str]:
        """All of them, those of tables with other mistakes too."""
        return self._places.keys()

    @property
    def visible_names(self) -> list[str]:
        """Those that may be shown, since they stand in the file."""
        return [
            name
            for name, place in self._places.items()
            if self._complaints.may_show((*place, "name"))
        ]

    def add(self, table: dict[str, Any], place: KeyPath) -> None:
        """Note the name of a table, if it has one."""
        name = table.get("name")
        if isinstance(name, str) and (first := self._places.setdefault(name, place)) != place:
            at, first_at = (*place, "name"), (*first, "name")
            self._complaints.duplicate_name(at, first_at, what=self._what)
