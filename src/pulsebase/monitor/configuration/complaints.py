"""What is wrong with a configuration file, each problem at its line and in people's words."""

from __future__ import annotations

import difflib
import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from pulsebase.monitor.configuration.problems import Problem, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from pulsebase.monitor.configuration.toml_source import KeyPath, TomlSource

__all__ = ["Complaints"]

# Shown neither literally nor when they come from `${…}`: the file may hold the secret itself.
_CONFIDENTIAL: Final = re.compile(
    r"arguments|basic|bearer|body|command|connectivity|cookies?|data|env|environment|form|headers"
    r"|json|link|metadata|payload|query|send|subprotocols|user|username|(?:.*_)?(?:auth|key|passw|proxy|secret|token|ur[il]).*"
)
_SHOWN_CHARACTERS: Final = 60
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class Complaints:
    """Collects the problems of one file, and raises them all at once."""

    def __init__(self, *, source: TomlSource, hidden: Collection[KeyPath]) -> None:
        self._source = source
        # Where something hidden is, or within: thousands of services may name the same secret.
        self._hidden = {path[:length] for path in hidden for length in range(len(path) + 1)}
        self._found: list[tuple[KeyPath, str]] = []
        self._spoiled: set[KeyPath] = set()

    @property
    def count(self) -> int:
        """How many there are so far."""
        return len(self._found)

    def is_about(self, place: KeyPath) -> bool:
        """Whether there is a complaint about a place, or about something within it."""
        return place in self._spoiled

    def may_show(self, place: KeyPath) -> bool:
        """Whether a value may be shown: it is in the file itself, and not under a secret's name."""
        return not (self._is_hidden(place) or _is_confidential(place))

    def shown_name(self, place: KeyPath, name: str) -> str:
        """A name in quotes, unless it came from `${…}`."""
        return _shown(name) if self.may_show(place) else "something from ${…}"

    def about(self, place: KeyPath, problem: str) -> None:
        """Note a problem as `<key in table> <problem>`.

        Only the first at a place, or within it, counts: what follows from a value that could not
        even be found would only confuse.
        """
        self._add(place, f"{self._subject(place)} {problem}")

    def unusable(self, place: KeyPath, reason: str) -> None:
        """Note a value that somebody else refused, with its reason if that may be shown."""
        told = "; check what ${…} stands for" if self._is_hidden(place) else f": {reason}"
        self.about(place, f"cannot be used{told}")

    def invalid(self, place: KeyPath, bound: str, got: object) -> None:
        """Note a value out of its bounds. `got` is shown unless it came from `${…}`."""
        shown = "the value from ${…}" if self._is_hidden(place) else _shown(got)
        self.about(place, f"must be {bound}; got {shown}")

    def invalid_raw(self, place: KeyPath, bound: str, got: object) -> None:
        """Note a value out of its bounds, as the file has it: not shown where it may be secret."""
        if _is_confidential(place):
            self.about(place, f"must be {bound}")
        else:
            self.invalid(place, bound, got)

    def missing_key(self, place: KeyPath) -> None:
        """Note a key that must be there."""
        *table, key = place
        self._add(place, f'missing key "{key}" in {self._table(tuple(table))}; add it')

    def unknown_key(self, place: KeyPath, known: Iterable[str]) -> None:
        """Note a key that nothing reads, with the nearest one that something does."""
        *table, key = place
        known = sorted(known)
        near = difflib.get_close_matches(str(key), known, n=1)
        advice = f'did you mean "{near[0]}"?' if near else f"known are: {', '.join(known)}"
        self._add(place, f"unknown key {_shown(key)} in {self._table(tuple(table))}; {advice}")

    def duplicate_name(self, place: KeyPath, first: KeyPath, *, what: str = "service") -> None:
        """Note a name that another service, channel or the like has."""
        line = self._line(first)
        self.about(place, f"is already used on line {line}; every {what} needs its own")

    def raise_any(self, sources: Mapping[Path, bytes | None]) -> None:
        """Raise UnusableFileError with every problem, in the file's order."""
        if not self._found:
            return
        found = sorted((self._line(place), text) for place, text in self._found)
        name = self._source.name
        raise UnusableFileError(
            [Problem(file=name, line=line, text=text) for line, text in found], sources
        )

    def _add(self, place: KeyPath, text: str) -> None:
        if place not in self._spoiled:
            self._found.append((place, text))
            self._spoiled.update(place[:length] for length in range(len(place), 0, -1))

    def _is_hidden(self, place: KeyPath) -> bool:
        return place in self._hidden

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return self._source.lines()

    def _line(self, place: KeyPath) -> int:
        lines = self._lines
        return next(lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines)

    def _subject(self, place: KeyPath) -> str:
        table, keys = _split(place)
        if not keys:
            return self._table(table)
        return f"{'.'.join(keys)} in {self._table(table)}"

    def _table(self, place: KeyPath) -> str:
        table, keys = _split(place)
        if keys:
            return f'"{".".join(keys)}" of {self._table(table)}'
        match table:
            case ():
                return "the file"
            case (str(name),):
                return f"[{name}]"
            case (str(name), int(index), *_):
                return f"[[{name}]] {self._label(name, index)}"
            case (str(name), str(inner), *numbers):
                header = f"{name}.{inner if _BARE_KEY.fullmatch(inner) else _shown(inner)}"
                return f"[[{header}]] number {int(numbers[0]) + 1}" if numbers else f"[{header}]"
            case _:
                return str(table)

    def _label(self, name: str, index: int) -> str:
        table = self._source.tables[name][index]
        title = table.get("name") if isinstance(table, dict) else None
        if isinstance(title, str) and (name, index, "name") not in self._hidden:
            return _shown(title)
        return f"number {index + 1}"


def _is_confidential(place: KeyPath) -> bool:
    return any(isinstance(part, str) and _CONFIDENTIAL.fullmatch(part) for part in place)


def _split(place: KeyPath) -> tuple[KeyPath, list[str]]:
    """Part a place into its table, `("services", 0)` or `("database",)`, and the keys within."""
    length = _table_length(place)
    # A list's entry is named by its list: "status", not "status.0".
    return place[:length], [part for part in place[length:] if isinstance(part, str)]


def _table_length(place: KeyPath) -> int:
    match place:
        case ("alerts", "policies", int(), *_):
            return 3
        case ("groups", _, *_) | (_, int(), *_) | ("alerts", "down" | "degraded", *_):
            return 2
        case _:
            return 1


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
