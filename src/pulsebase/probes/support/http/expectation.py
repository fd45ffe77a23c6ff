"""What an HTTP answer must be: its status, headers, body and JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.http.json_path import JsonPath  # noqa: TC001 -- resolved at run time
from pulsebase.probes.support.patterns import Regex  # noqa: TC001 -- resolved at run time

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pulsebase.probes.support.curl.request import Response

__all__ = ["HEADER_NAME", "HeaderExpectation", "HttpExpectation", "JsonExpectation", "Unmet"]

HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)

Scalar: TypeAlias = str | int | float | bool

_STATUS_RANGE: Final = re.compile(r"([1-5])xx|([1-5]\d\d)(?:-([1-5]\d\d))?", re.ASCII)
_STATUS_RULE: Final = 'a list with entries such as "2xx", "200" or "200-299"'
_LATIN: Final = re.compile(rb"charset=\"?(?:iso-8859-1|windows-1252)", re.IGNORECASE)
_MOST_VALUES: Final = 10_000


class Unmet(NamedTuple):
    """An expectation that does not hold."""

    expectation: str
    expected: str
    got: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderExpectation:
    """What a header must be, in one of its lines where it has several; just there, if no more."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    name: str
    equals: str | None = None
    contains: str | None = None
    matches: Regex | None = None
    absent: bool = False

    def __post_init__(self) -> None:
        """Refuse what no header can be."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        if not HEADER_NAME.fullmatch(self.name):
            yield InvalidValueError("name", self.name, "a name of letters, digits and hyphens")
        if _count(self.equals, self.contains, self.matches, self.absent or None) > 1:
            bound = 'with at most one of "equals", "contains", "matches" and "absent"'
            yield InvalidValueError("name", self.name, bound)

    def unmet(self, headers: Sequence[tuple[str, str]]) -> Unmet | None:
        """What is wrong with the headers, if anything is."""
        wanted = self.name.lower()
        values = [value for name, value in headers if name == wanted]
        held = not values if self.absent else any(map(self._holds, values))
        return None if held else Unmet("headers", self._rule(), ", ".join(values) or "no header")

    def _holds(self, value: str) -> bool:
        if self.equals is not None:
            return value == self.equals
        if self.contains is not None:
            return self.contains in value
        return self.matches is None or self.matches.found_in(value)

    def _rule(self) -> str:
        if self.equals is not None:
            return f"{self.name} equals {self.equals}"
        if self.contains is not None:
            return f"{self.name} contains {self.contains}"
        if self.matches is not None:
            return f"{self.name} matches {self.matches.pattern}"
        return f"{self.name} {'absent' if self.absent else 'present'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonExpectation:
    """What every value at a path of the body must be; there must be one at least."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    path: JsonPath
    equals: Scalar | None = None
    matches: Regex | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Refuse rules that exclude each other."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        bounded = None if self.at_least is None and self.at_most is None else True
        if _count(self.equals, self.matches, bounded) > 1:
            bound = 'with one of "equals", "matches" and "at_least"/"at_most" only'
            yield InvalidValueError("path", self.path.path, bound)
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            yield InvalidValueError("at_least", self.at_least, "at most at_most")

    def unmet(self, document: Any) -> Unmet | None:
        """What is wrong with the document, if anything is."""
        values = self.path.values_in(document, most=_MOST_VALUES)
        wrong = [value for value in values if not self._holds(value)]
        if values and not wrong:
            return None
        return Unmet("json", self._rule(), _written(wrong[0]) if wrong else "no value")

    def _holds(self, value: Any) -> bool:
        if self.equals is not None:
            # In JSON, true is not 1.
            same_type = isinstance(value, bool) == isinstance(self.equals, bool)
            return same_type and bool(value == self.equals)
        if self.matches is not None:
            return isinstance(value, str) and self.matches.found_in(value)
        return (self.at_least is None and self.at_most is None) or self._is_within(value)

    def _is_within(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        above = self.at_least is None or value >= self.at_least
        return above and (self.at_most is None or value <= self.at_most)

    def _rule(self) -> str:
        rules = [
            f"{word} {value if isinstance(value, str) else _written(value)}"
            for word, value in (
                ("equals", None if self.equals is None else _written(self.equals)),
                ("matches", self.matches and self.matches.pattern),
                ("at least", self.at_least),
                ("at most", self.at_most),
            )
            if value is not None
        ]
        return f"{self.path.path} {' and '.join(rules) or 'present'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpExpectation:
    """What an answer must be for the service to be up; all of it must hold."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    status: tuple[str, ...] = ("2xx",)
    headers: tuple[HeaderExpectation, ...] = ()
    body_contains: str | None = None
    body_not_contains: str | None = None
    body_matches: Regex | None = None
    json: tuple[JsonExpectation, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can never hold."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        for wrong in [text for text in self.status if _status_range(text) is None]:
            yield InvalidValueError("status", wrong, _STATUS_RULE)
        if not self.status:
            yield InvalidValueError("status", self.status, _STATUS_RULE)
        for name in ("body_contains", "body_not_contains"):
            if getattr(self, name) == "":
                yield InvalidValueError(name, "", "at least one character")

    @property
    def looks_into_body(self) -> bool:
        """Whether the body itself decides anything."""
        return bool(self.body_contains or self.body_not_contains or self.body_matches or self.json)

    def unmet_by_head(self, response: Response) -> Unmet | None:
        """The first expectation of status and headers that does not hold."""
        if response.status not in _codes(self.status):
            return Unmet("status", ", ".join(self.status), str(response.status))
        if not self.headers:
            return None
        headers = [_header(line) for line in response.headers[1:]]
        return next(filter(None, (one.unmet(headers) for one in self.headers)), None)

    def unmet_by_body(self, response: Response) -> Unmet | None:
        """The first expectation of the body that does not hold."""
        text = _text(response)
        if self.body_contains is not None and self.body_contains not in text:
            return Unmet("body_contains", self.body_contains, text)
        if self.body_not_contains is not None and self.body_not_contains in text:
            return Unmet("body_not_contains", self.body_not_contains, text)
        if self.body_matches is not None and not self.body_matches.found_in(text):
            return Unmet("body_matches", self.body_matches.pattern, text)
        return self._unmet_by_json(text) if self.json else None

    def _unmet_by_json(self, text: str) -> Unmet | None:
        try:
            document = json.loads(text, parse_constant=_refuse_constant)
            return next(filter(None, (one.unmet(document) for one in self.json)), None)
        except (ValueError, RecursionError):
            return Unmet("json", self.json[0].path.path, f"no JSON that can be searched: {text}")


def _status_range(text: str) -> range | None:
    match = _STATUS_RANGE.fullmatch(text)
    if match is None:
        return None
    hundreds, first, last = match.groups()
    if hundreds:
        return range(int(hundreds) * 100, int(hundreds) * 100 + 100)
    found = range(int(first), int(last or first) + 1)
    return found or None


@lru_cache(maxsize=256)
def _codes(status: tuple[str, ...]) -> frozenset[int]:
    return frozenset(code for text in status for code in _status_range(text) or ())


def _header(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "replace").partition(":")
    return name.strip().lower(), value.strip()


def _text(response: Response) -> str:
    # Only these two are common beside UTF-8; others in Python's list are slow or no text at all.
    latin = _LATIN.search(response.content_type)
    return response.body.decode("cp1252" if latin else "utf-8-sig", "replace")


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _refuse_constant(name: str) -> None:
    message = f"{name} is no JSON"
    raise ValueError(message)


def _count(*rules: object) -> int:
    return sum(rule is not None for rule in rules)
