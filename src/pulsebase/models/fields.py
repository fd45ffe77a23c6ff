"""The rules that the fields of all tables share, checked before anything is sent.

The database has the same rules as CHECK constraints, for the programs that do not come this way.
"""

from __future__ import annotations

import json
import operator
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from json import encoder
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from pulsebase.errors import InvalidValueError, MalformedResponseError
from pulsebase.transports.request import JsonText, decode_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

LARGEST_INTEGER = 2_147_483_647
LARGEST_PAGE = 1000
LARGEST_OBJECT_BYTES = 65_536
DEEPEST_OBJECT = 100
FUTURE_TOLERANCE = timedelta(minutes=5)

_SERVICE_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}")
_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)
# What `_ENCODER.encode` makes anew for each value, where Python has it in C. Without `markers` a
# circle ends as a RecursionError.
_MAKE_ENCODER: Any = getattr(encoder, "c_make_encoder", None)
_ENCODE = _MAKE_ENCODER and _MAKE_ENCODER(
    *(None, _ENCODER.default, encoder.encode_basestring, None, ": ", ", ", False, False, False)
)
_SERVICE_NAME_RULE = "1 to 100 characters without control characters"
_JSON_RULE = "JSON: texts, finite numbers, booleans, None, lists and dicts with text keys"

# Python writes floats from here on with an exponent; decode_json reads whole numbers up to there.
_SHORTENED_FLOAT = 1e16
_LARGEST_WHOLE_FLOAT = 2.0**63
_SURE_INTEGER = 2**63


def service_name(value: object, field: str = "service_name") -> str:
    """The name, if it is 1 to 100 characters without control characters or lone surrogates."""
    if not isinstance(value, str) or not _SERVICE_NAME.fullmatch(value):
        raise InvalidValueError(field, value, _SERVICE_NAME_RULE)
    return str.__str__(value)  # the text itself: `str` of an Enum's member is its name


def one_of(field: str, value: object, allowed: tuple[str, ...]) -> str:
    """The value, if it is one of the allowed texts."""
    if not isinstance(value, str) or value not in allowed:
        raise InvalidValueError(field, value, f"one of {', '.join(allowed)}")
    return str.__str__(value)


def whole_number(field: str, value: object, lowest: int, highest: int) -> int:
    """The value as an int within the bounds, both included; True and 1.5 are none."""
    bound = f"a whole number from {lowest} to {highest}"
    if isinstance(value, bool):
        raise InvalidValueError(field, value, bound)
    try:
        number = int(operator.index(value))  # type: ignore[arg-type]  # can it? that is the question
    except TypeError:
        raise InvalidValueError(field, value, bound) from None
    if not lowest <= number <= highest:
        raise InvalidValueError(field, value, bound)
    return number


def limit(value: object) -> int:
    """A page size from 1 to 1000."""
    return whole_number("limit", value, 1, LARGEST_PAGE)


def identifier(value: object, field: str = "id") -> str:
    """The text of a UUID, given as one or as its text."""
    if isinstance(value, UUID):
        return str(value)
    try:
        if isinstance(value, str):
            return str(UUID(value))
    except ValueError:
        pass
    raise InvalidValueError(field, value, "a UUID")


def instant(field: str, value: object) -> str:
    """An aware datetime as ISO 8601 text in UTC."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidValueError(field, value, "a datetime with a time zone")
    try:
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat()
    except OverflowError:
        raise InvalidValueError(field, value, "a datetime of the years 1 to 9999 in UTC") from None


def optional(check: Callable[[str, object], T], field: str, value: object) -> T | None:
    """None stays None; anything else must pass the check."""
    return None if value is None else check(field, value)


def past_instant(field: str, value: object) -> str:
    """An aware datetime, not more than five minutes in the future, as ISO 8601 text in UTC."""
    text = instant(field, value)
    if isinstance(value, datetime) and value > datetime.now(UTC) + FUTURE_TOLERANCE:
        raise InvalidValueError(field, text, "at most five minutes in the future")
    return text


def duration(field: str, value: object) -> timedelta:
    """A timedelta of more than nothing."""
    if not isinstance(value, timedelta) or value <= timedelta(0):
        raise InvalidValueError(field, value, "a timedelta above zero")
    return value


def ago(field: str, value: object) -> str:
    """The instant that lies a timedelta back, as ISO 8601 text in UTC."""
    try:
        return instant(field, datetime.now(UTC) - duration(field, value))
    except OverflowError:
        raise InvalidValueError(
            field, value, "a timedelta that reaches no further than year 1"
        ) from None


def json_object(field: str, value: object) -> JsonText:
    """The JSON text of a dict that PostgreSQL stores and gives back equal.

    Refused: what is not JSON (NaN, sets, keys that are not texts), what JSON would change (tuples),
    NUL characters, lone surrogates, whole numbers beyond 64 bits, nesting beyond 100 levels, more
    than 64 KiB of text as PostgreSQL writes it.
    """
    if not isinstance(value, dict):
        raise InvalidValueError(field, value, "a JSON object (a dict)")
    try:
        text = _encoded(value)
        size = len(text.encode())
        if size <= LARGEST_OBJECT_BYTES and ("e+" in text or "e-" in text):
            whole = _with_whole_floats(value)
            text = _encoded(whole)
            size = len(text.encode()) + sum(map(_digits_more, _floats(whole)))
        unchanged = _is_plain(value) or decode_json(text) == value
    except UnicodeEncodeError:
        raise InvalidValueError(field, value, "text without lone surrogates") from None
    except (TypeError, ValueError, RecursionError, OverflowError):
        raise InvalidValueError(field, value, _JSON_RULE) from None
    if size > LARGEST_OBJECT_BYTES:
        raise InvalidValueError(field, value, f"at most {LARGEST_OBJECT_BYTES} bytes of JSON")
    if not unchanged:
        rule = "JSON that reads back equal: lists for tuples, text keys, numbers of 64 bits"
        raise InvalidValueError(field, value, rule)
    if text.count("{") + text.count("[") > DEEPEST_OBJECT and _deeper(value, DEEPEST_OBJECT):
        raise InvalidValueError(field, value, f"JSON of at most {DEEPEST_OBJECT} levels")
    if "\\u0000" in text and _has_nul(value):
        raise InvalidValueError(field, value, "text without NUL characters")
    return JsonText(text)


def _encoded(value: dict[Any, Any]) -> str:
    return "".join(_ENCODE(value, 0)) if _ENCODE else _ENCODER.encode(value)


def _is_plain(value: dict[Any, Any]) -> bool:
    """Whether it surely reads back equal: it holds nothing but JSON's own types, and small ones."""
    for key, item in value.items():
        kind = type(item)
        if type(key) is not str:
            return False
        if kind is int:
            if not -_SURE_INTEGER < item < _SURE_INTEGER:
                return False
        elif kind is dict:
            if not _is_plain(item):
                return False
        elif kind is not str and kind is not float and kind is not bool and item is not None:
            return False
    return True


def quoted(text: str) -> str:
    """A text as JSON."""
    return encoder.encode_basestring(text)


def parsed_instant(text: str) -> datetime:
    """The UTC datetime of a `timestamptz` as PostgREST and PostgreSQL write it in JSON."""
    match text:
        case "infinity":
            return datetime.max.replace(tzinfo=UTC)
        case "-infinity":
            return datetime.min.replace(tzinfo=UTC)
    return datetime.fromisoformat(text).astimezone(UTC)


def decoder(build: Callable[[Mapping[str, Any]], T]) -> Callable[[Any], T]:
    """A function that reads one row; raises MalformedResponseError if it is not such a row."""

    def decode(row: Any) -> T:
        try:
            return build(row)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            msg = f"the answer is not a row of this table ({type(error).__name__}: {error})"
            raise MalformedResponseError(msg) from error

    return decode


def optional_row(decode: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Reads a row or null."""
    return lambda row: None if row is None else decode(row)


def rows(decode: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    """Reads an array of rows."""

    def decode_all(answer: Any) -> list[T]:
        if not isinstance(answer, list):
            msg = f"the answer is not a list of rows but {type(answer).__name__}"
            raise MalformedResponseError(msg)
        return [decode(row) for row in answer]

    return decode_all


def count(answer: Any) -> int:
    """Reads a number of rows."""
    if not isinstance(answer, int) or isinstance(answer, bool):
        msg = f"the answer is not a number of rows but {type(answer).__name__}"
        raise MalformedResponseError(msg)
    return answer


def _with_whole_floats(value: Any) -> Any:
    """The value with the floats from 1e16 to 64 bits as the whole numbers that they are.

    PostgreSQL writes 1.2345678901234568e+18 as a whole number with two noughts at its end. That
    would be read as an integer, and as one that the float does not equal.
    """
    if isinstance(value, float):
        return int(value) if _SHORTENED_FLOAT <= abs(value) <= _LARGEST_WHOLE_FLOAT else value
    if isinstance(value, dict):
        return {key: _with_whole_floats(item) for key, item in value.items()}
    return list(map(_with_whole_floats, value)) if isinstance(value, list) else value


def _floats(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _floats(item)


def _digits_more(number: float) -> int:
    """How many more characters PostgreSQL writes, which knows no exponents."""
    text = repr(number)
    return len(format(Decimal(text), "f")) - len(text) if "e" in text else 0


def _deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_deeper(item, levels - 1) for item in items)


def _has_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))
