"""Tables to dataclasses by pydantic, and pydantic's findings in this project's words."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import InvalidFieldsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic_core import ErrorDetails

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.origin import Origin
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["Validation"]

ValueT = TypeVar("ValueT")

_BOUNDS: Final[Mapping[str, str]] = {
    "string_type": "text in quotes",
    "bool_type": "true or false, without quotes",
    "int_type": "a whole number, without quotes",
    "float_type": "a number, without quotes",
    "tuple_type": "a list in brackets",
    "list_type": "a list in brackets",
    "dict_type": "a table",
    "mapping_type": "a table",
    "dataclass_type": "a table",
    "pattern_type": "a regular expression in quotes",
    "pattern_str_type": "a regular expression in quotes",
    "pattern_regex": "a regular expression that Python can compile",
}


def _moment(value: object) -> list[str]:
    """Keep TOML's dates and times, which no field takes, from passing for text."""
    return [str(value)]


# Made once: `json.dumps` with a default makes one for each call.
_ENCODE: Final = json.JSONEncoder(default=_moment).encode


class Validation:
    """Reads tables into dataclasses and hands what is wrong to the complaints."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        # Building one takes longer than reading a thousand services with it.
        self._adapters: dict[type, TypeAdapter[Any]] = {}

    def read(
        self,
        kind: type[ValueT],
        table: object,
        origin: Origin,
        *,
        beside: Iterable[str] = (),
        is_whole: bool = True,
    ) -> ValueT | None:
        """Read one table, or complain and return None.

        `beside` names keys of the same table that somebody else reads; they are suggested too.
        Of a table that is not whole, keys may be missing.
        """
        if (adapter := self._adapters.get(kind)) is None:
            adapter = self._adapters[kind] = TypeAdapter(kind)
        # By way of JSON, since only there does pydantic's strict mode take a table for a dataclass
        # and a list for a tuple, and still refuse "true" for true.
        encoded = _ENCODE(table)
        try:
            return cast("ValueT", adapter.validate_json(encoded, strict=True))
        except ValidationError as error:
            found = error.errors(include_url=False)
        for one in found:
            if is_whole or one["type"] != "missing":
                self._complain(kind, one, origin, beside)
        # A dataclass applies its own rules only when all types are right. Without the entries that
        # are wrong, the rest is looked at once more, so that everything is found in one run.
        wrong = [one["loc"] for one in found if one["loc"] and one["type"] != "missing"]
        if wrong:
            rest = _without(json.loads(encoded), wrong)
            self.read(kind, rest, origin, beside=beside, is_whole=is_whole)
        return None

    @staticmethod
    def required_keys(kind: type) -> list[str]:
        """The keys that must be there, where the kind is a dataclass."""
        if not is_dataclass(kind):
            return []
        return [one.name for one in fields(kind) if one.default is one.default_factory is MISSING]

    def _complain(
        self, kind: type, found: ErrorDetails, origin: Origin, beside: Iterable[str]
    ) -> None:
        where = origin.of(found["loc"])
        context = found.get("ctx", {})
        match found["type"]:
            case "unexpected_keyword_argument" | "extra_forbidden":
                *inner, _ = found["loc"]
                known = [*_keys(kind, inner), *(() if inner else beside)]
                self._complaints.unknown_key(where, known)
            case "missing":
                self._complaints.missing_key(where)
            case "value_error":
                self._refused(found["loc"], origin, context["error"], found["input"])
            case "literal_error":
                bound = f"one of {context['expected']}".replace("'", '"')
                self._complaints.invalid_raw(where, bound, found["input"])
            case other:
                bound = _BOUNDS.get(other, f"valid ({found['msg']})")
                self._complaints.invalid_raw(where, bound, found["input"])

    def _refused(self, entry: KeyPath, origin: Origin, error: Exception, got: object) -> None:
        match error:
            case InvalidFieldsError():
                for one in error.errors:
                    self._refused(entry, origin, one, got)
            case InvalidValueError():
                # The kind has seen to it that its error may be shown.
                where = origin.of((*entry, error.field))
                self._complaints.invalid(where, error.bound, error.value)
            case _:
                where = origin.of(entry)
                bound = str(error).removeprefix("must be ")
                # Behind the rule some say what is wrong with the value, in the value's own words.
                if not self._complaints.may_show(where):
                    bound = bound.partition("; ")[0]
                self._complaints.invalid_raw(where, bound, got)


def _without(table: Any, places: list[KeyPath]) -> Any:
    """Remove the entries at these places, the last of a list first."""
    for *outer, last in reversed(places):
        inner = table
        for part in outer:
            inner = inner[part]
        del inner[last]
    return table


def _keys(kind: Any, place: Iterable[str | int]) -> list[str]:
    """List the keys of the dataclass that stands at this place of another."""
    for part in place:
        inner = get_type_hints(kind).get(str(part)) if is_dataclass(kind) else None
        kind = next(filter(is_dataclass, get_args(inner)), inner)
    if not is_dataclass(kind):
        return []
    hints = get_type_hints(kind, include_extras=True)
    return [_written_name(one.name, hints[one.name]) for one in fields(kind)]


def _written_name(name: str, hint: Any) -> str:
    """What a field is called in the file: `from` is a word that Python keeps to itself."""
    aliases = (getattr(extra, "alias", None) for extra in getattr(hint, "__metadata__", ()))
    return next(filter(None, aliases), name)
