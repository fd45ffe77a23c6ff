"""JSONPath (RFC 9535) as a key: refused where a file is read, and careful with any document."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from pulsebase.probes.support.patterns import Regex

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["JsonPath"]

LONGEST_PATH: Final = 1_000
_RULE: Final = 'a JSONPath (RFC 9535) such as "$.status" or "$.checks[*].ok"'


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A path that selects values of a document; two of the same path are equal."""

    path: str
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the path; raises ValueError with the rule when it cannot be."""
        object.__setattr__(self, "_compiled", _compile(self.path))

    def values_in(self, document: Any, *, most: int) -> list[Any]:
        """The values that the path selects, at most so many.

        Raises ValueError for a document that is nested too deeply to be searched.
        """
        from jsonpath import JSONPathError

        try:
            return [found.obj for found in islice(self._compiled.finditer(document), most)]
        except (JSONPathError, RecursionError):
            message = "the document is nested too deeply"
            raise ValueError(message) from None

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        """Tell pydantic, where a configuration file is read, that the field is written as text."""
        # Imported here: only who reads a file has pydantic installed, and it imports slowly.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_read)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: GetJsonSchemaHandler) -> Any:
        """Tell editors the same."""
        return {"type": "string", "pattern": r"^\$", "maxLength": LONGEST_PATH}


def _read(value: object) -> JsonPath:
    match value:
        case JsonPath():
            return value
        case str():
            return JsonPath(value)
        case _:
            message = f"must be {_RULE}, in quotes"
            raise ValueError(message)


def _compile(path: str) -> Any:
    from jsonpath import JSONPathError

    if not 0 < len(path) <= LONGEST_PATH:
        message = f"must be {_RULE} of 1 to {LONGEST_PATH} characters"
        raise ValueError(message)
    try:
        return _environment().compile(path)
    except JSONPathError as error:
        message = f"must be {_RULE}; this one has: {error.args[0] if error.args else error}"
        raise ValueError(message) from None
    except (ValueError, RecursionError):
        message = f"must be {_RULE}"
        raise ValueError(message) from None


@cache
def _environment() -> Any:
    """The strict environment, with RE2 behind `match` and `search`: documents are hostile."""
    from jsonpath import JSONPathEnvironment
    from jsonpath.function_extensions import ExpressionType, FilterFunction

    class Found(FilterFunction):
        @property
        def arg_types(self) -> list[ExpressionType]:
            return [ExpressionType.VALUE, ExpressionType.VALUE]

        @property
        def return_type(self) -> ExpressionType:
            return ExpressionType.LOGICAL

        def __init__(self, form: str) -> None:
            self._form = form

        def __call__(self, value: object, pattern: object) -> bool:
            if not isinstance(value, str) or not isinstance(pattern, str):
                return False
            try:
                return _regex(self._form.format(pattern)).found_in(value)
            except ValueError:  # as the RFC wants it: what is no pattern matches nothing
                return False

    environment = JSONPathEnvironment(strict=True)
    environment.function_extensions["match"] = Found("^(?:{})$")
    environment.function_extensions["search"] = Found("{}")
    return environment


@lru_cache(maxsize=128)  # a pattern may come from the document
def _regex(pattern: str) -> Regex:
    return Regex(pattern)
