"""Regular expressions as keys: refused where a file is read, and quick on whatever a server says.

Python's own engine can be kept busy for years by a text made for the pattern, and holds the whole
process meanwhile. RE2 takes a time that grows with the text alone; it knows neither look-around nor
back references. `Regex` is the type of a dataclass field that takes a pattern in a configuration
file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import re2

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["Regex"]

LONGEST_PATTERN: Final = 1_000
# RE2's time is the length of the text times, at worst, that of the pattern with its repetitions
# written out. This keeps a mebibyte under two seconds for the worst; most take milliseconds.
LARGEST_PROGRAM: Final = 2_000
_RULE: Final = "a regular expression (RE2's syntax: no look-around, no back references)"


@dataclass(frozen=True, slots=True)
class Regex:
    """A pattern that may be found anywhere in a text; two of the same pattern are equal."""

    pattern: str
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the pattern; raises ValueError with the rule when it cannot be."""
        object.__setattr__(self, "_compiled", _compile(self.pattern))

    def found_in(self, text: str | bytes) -> bool:
        """Whether the text, if bytes in UTF-8, holds a match; any text will do, valid or not."""
        encoded = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        return self._compiled.search(encoded) is not None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        """Tell pydantic, where a configuration file is read, that the field is written as text."""
        # Imported here: only who reads a file has pydantic installed, and it imports slowly.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_read)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> Any:
        """Tell editors the same. Not as a `regex`: theirs is of another syntax."""
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_PATTERN}


def _read(value: object) -> Regex:
    match value:
        case Regex():
            return value
        case str():
            return Regex(value)
        case _:
            message = f"must be {_RULE}, in quotes"
            raise ValueError(message)


def _compile(pattern: str) -> Any:
    if not 0 < len(pattern) <= LONGEST_PATTERN:
        message = f"must be {_RULE} of 1 to {LONGEST_PATTERN} characters"
        raise ValueError(message)
    options = re2.Options()
    options.log_errors = False  # it would write them to stderr
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError) as error:
        message = f"must be {_RULE}; {_reason(error)}"
        raise ValueError(message) from None
    if compiled.programsize > LARGEST_PROGRAM:
        message = f"must be {_RULE} with fewer or shorter repetitions {{…}}"
        raise ValueError(message)
    return compiled


def _reason(error: Exception) -> str:
    match error.args:
        case (bytes() as reason,):
            return f"this one has: {reason.decode('utf-8', 'replace')}"
        case _:
            return "this one is no text"
