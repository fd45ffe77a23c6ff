"""The rules of the fields: what passes, what is refused, and that it names field and bound."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.errors import InvalidValueError, MalformedResponseError
from pulsebase.models import fields
from pulsebase.transports.request import decode_json

LARGEST = fields.LARGEST_INTEGER


class Name(str, Enum):  # noqa: UP042 -- its `str` differs from its value, StrEnum's does not
    """A name kept as an enumeration, as applications do."""

    OPENAI = "openai"


class NewName(StrEnum):
    """The newer kind of the same."""

    OPENAI = "openai"


class Latency(IntEnum):
    """A number kept as an enumeration."""

    FAST = 12


class Nowhere(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _: datetime | None, /) -> timedelta | None:
        """Say nothing."""

    def dst(self, _: datetime | None, /) -> timedelta | None:
        """Say nothing."""

    def tzname(self, _: datetime | None, /) -> str:
        """Its name."""
        return "nowhere"


def refused(check: Any, *arguments: Any) -> InvalidValueError:
    with pytest.raises(InvalidValueError) as caught:
        check(*arguments)
    return caught.value


@pytest.mark.parametrize(
    "name",
    ["a", "x" * 100, "😀" * 100, "שלום", " a ", "a/b:c", "\u200b", "\xa0", "'; drop table x"],
)
def test_a_service_name_may_be_any_text_of_100_characters(name: str) -> None:
    assert fields.service_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "x" * 101, "a\nb", "a\x00", "\x7f", "\x85", "\ud83d", "a" * 2_000_000, None, 1, b"a"],
    ids=lambda name: ascii(name)[:12],
)
def test_a_service_name_is_refused_with_field_and_bound(name: object) -> None:
    error = refused(fields.service_name, name)
    assert (error.field, error.value) == ("service_name", name)
    assert str(error).startswith("service_name must be 1 to 100 characters without control")


@pytest.mark.parametrize("member", [Name.OPENAI, NewName.OPENAI])
def test_an_enumeration_counts_as_its_value(member: str) -> None:
    for text in (fields.service_name(member), fields.one_of("f", member, ("openai",))):
        assert type(text) is str
        assert text == "openai"


@pytest.mark.parametrize("value", ["HEALTHY", "", "unknown", None, 1, ["down"], "down\x00"])
def test_a_status_is_one_of_its_words(value: object) -> None:
    error = refused(fields.one_of, "status", value, ("healthy", "down"))
    assert "one of healthy, down" in str(error)


@pytest.mark.parametrize("value", [0, 1, LARGEST, Latency.FAST])
def test_a_whole_number_may_touch_its_bounds(value: int) -> None:
    number = fields.whole_number("latency_ms", value, 0, LARGEST)
    assert type(number) is int
    assert number == value


@pytest.mark.parametrize(
    "value",
    [-1, LARGEST + 1, 10**5000, True, False, 1.0, 1.5, float("nan"), float("inf"), "1", None, []],
    ids=lambda value: type(value).__name__,
)
def test_a_whole_number_is_refused_beyond_its_bounds(value: object) -> None:
    error = refused(fields.whole_number, "latency_ms", value, 0, LARGEST)
    assert "from 0 to 2147483647" in str(error)


@pytest.mark.parametrize("value", [0, 1001, -1, None])
def test_a_limit_is_1_to_1000(value: object) -> None:
    assert "limit must be a whole number from 1 to 1000" in str(refused(fields.limit, value))


def test_an_identifier_is_a_uuid_or_its_text() -> None:
    value = uuid4()
    assert fields.identifier(value) == fields.identifier(str(value).upper()) == str(value)


@pytest.mark.parametrize("value", ["", "x", "0" * 31, "0" * 33, 5, None, b"0" * 32, "\x00" * 32])
def test_an_identifier_is_refused_if_it_is_none(value: object) -> None:
    assert refused(fields.identifier, value).field == "id"


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=14))),
        datetime(
            2026, 1, 2, 3, 4, 5, tzinfo=timezone(-timedelta(hours=23, minutes=59, seconds=59))
        ),
        datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
    ids=str,
)
def test_an_instant_is_written_in_utc(moment: datetime) -> None:
    # In UTC: Python finds no moment of another zone equal to one that a clock shows twice.
    assert fields.parsed_instant(fields.instant("since", moment)) == moment.astimezone(UTC)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2),  # noqa: DTZ001 -- naive on purpose
        datetime(2026, 1, 2, tzinfo=Nowhere()),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=1))),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        "2026-01-02",
        1.0,
        None,
    ],
    ids=str,
)
def test_an_instant_without_a_zone_or_beyond_the_calendar_is_refused(value: object) -> None:
    assert refused(fields.instant, "since", value).field == "since"


def test_an_instant_may_lie_five_minutes_ahead_and_no_more() -> None:
    now = datetime.now(UTC)
    fields.past_instant("checked_at", now + timedelta(minutes=4, seconds=59))
    fields.past_instant("checked_at", datetime.min.replace(tzinfo=UTC))
    for late in (now + timedelta(minutes=5, seconds=9), datetime.max.replace(tzinfo=UTC)):
        assert "five minutes in the future" in str(refused(fields.past_instant, "checked_at", late))


@pytest.mark.parametrize("value", [timedelta(0), -timedelta(seconds=1), 5, None, "5m"])
def test_a_duration_is_more_than_nothing(value: object) -> None:
    assert "above zero" in str(refused(fields.duration, "age", value))


def test_an_age_reaches_no_further_than_the_calendar() -> None:
    assert "year 1" in str(refused(fields.ago, "age", timedelta.max))


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"": ""},
        {"a": [1, 2.5, True, False, None, "x", {"b": []}]},
        {"quotes": "\"'\\/%s {} $1", "lines": "\n\r\t\b\f\x01\x7f", "\\u0000": "\\u0000"},
        {"astral": "😀", "right to left": "\u202e\u05e9\u05dc\u05d5\u05dd", "separator": "\u2028"},
        {"floats": [1e308, 5e-324, -0.0, 0.1, 1e16, 1e22, 1e23, 1.7976931348623157e308]},
        {"long": [2**63 - 1, -(2**63), 2**53 + 1]},
        {"long floats": [1.2345678901234568e18, 2.0**63, -(2.0**63), 2.0**53 + 2, 2.0**64]},
    ],
    ids=lambda value: next(iter(value), "empty"),
)
def test_a_json_object_reads_back_equal(value: dict[str, Any]) -> None:
    assert decode_json(fields.json_object("details", value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_reads_back_equal_although_postgresql_knows_no_exponents(number: float) -> None:
    text = fields.json_object("details", {"n": number})
    stored = _as_postgresql_writes_it(text)
    assert decode_json(stored) == {"n": number}


@given(st.integers())
def test_every_integer_reads_back_equal_or_is_refused(number: int) -> None:
    try:
        text = fields.json_object("details", {"n": number})
    except InvalidValueError:
        assert abs(number) > 2**63
    else:
        assert decode_json(_as_postgresql_writes_it(text)) == {"n": number}


def _as_postgresql_writes_it(text: str) -> str:
    """The object with its one number as `numeric` writes it: without an exponent."""
    from decimal import Decimal

    digits = text.removeprefix('{"n": ').removesuffix("}")
    return f'{{"n": {Decimal(digits):f}}}'


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (None, "a dict"),
        ([], "a dict"),
        ("{}", "a dict"),
        ({"a": float("nan")}, "finite numbers"),
        ({"a": float("-inf")}, "finite numbers"),
        ({"a": {1, 2}}, "texts, finite"),
        ({"a": b"x"}, "texts, finite"),
        ({"a": datetime.now(UTC)}, "texts, finite"),
        ({"a": (1, 2)}, "lists for tuples"),
        ({1: 2}, "text keys"),
        ({None: 2}, "text keys"),
        ({"a": 2**64 + 1}, "64 bits"),
        ({"a": -(2**64) - 1}, "64 bits"),
        ({"a": 10**400}, "64 bits"),
        ({"a": 10**5000}, "finite numbers"),
        ({"a": "\x00"}, "NUL"),
        ({"a\x00": 1}, "NUL"),
        ({"a": ["x", {"b": "\x00"}]}, "NUL"),
        ({"a": "\ud800"}, "surrogates"),
        ({"\udc00": 1}, "surrogates"),
        ({"a": "x" * 2_000_000}, "65536 bytes"),
        ({"a": "x" * 65_528}, "65536 bytes"),
        ({"a": [1e300] * 300}, "65536 bytes"),
        (_nested(101), "100 levels"),
        (_nested(900), "100 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 20 else "value",
)
def test_a_json_object_that_would_change_is_refused(value: Any, rule: str) -> None:
    error = refused(fields.json_object, "probe_details", value)
    assert error.field == "probe_details"
    assert rule in str(error)


def test_a_json_object_may_touch_its_bounds() -> None:
    fields.json_object("details", {"a": "x" * 65_527})
    fields.json_object("details", {"a": [1e300] * 200})
    fields.json_object("details", _nested(100))


def test_an_object_that_holds_itself_is_refused() -> None:
    value: dict[str, Any] = {}
    value["a"] = value
    refused(fields.json_object, "details", value)


def test_an_object_deeper_than_python_can_walk_is_refused() -> None:
    value = _nested(100_000)
    try:
        refused(fields.json_object, "details", value)
    finally:
        while value:  # by hand: freeing it at once would overflow the stack on some builds
            value = value.pop("a")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T20:33:22.148911+00:00", datetime(2026, 11, 23, 20, 33, 22, 148911, UTC)),
        ("2026-11-23 20:33:22.148911+00", datetime(2026, 11, 23, 20, 33, 22, 148911, UTC)),
        ("2026-11-23T20:33:22.1+05:30", datetime(2026, 11, 23, 15, 3, 22, 100000, UTC)),
        ("0001-01-01T00:00:00+00:00", datetime.min.replace(tzinfo=UTC)),
        ("infinity", datetime.max.replace(tzinfo=UTC)),
        ("-infinity", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_every_server_s_timestamps_are_read(text: str, moment: datetime) -> None:
    assert fields.parsed_instant(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", None, 5),
        *("294276-12-31T23:59:59+00:00", "0044-03-15T00:00:00+00:00 BC"),
        "0001-01-01T00:00:00+05:00",
    ],
)
def test_an_answer_with_another_time_is_malformed(text: object) -> None:
    decode = fields.decoder(lambda row: fields.parsed_instant(row["t"]))
    with pytest.raises(MalformedResponseError):
        decode({"t": text})


@pytest.mark.parametrize("answer", [None, {}, "rows", 3, [None], [1], [{"id": "x"}], [[]]])
def test_an_answer_of_another_shape_is_malformed(answer: object) -> None:
    decode = fields.rows(fields.decoder(lambda row: UUID(row["id"])))
    with pytest.raises(MalformedResponseError):
        decode(answer)


@pytest.mark.parametrize("answer", [None, "1", 1.5, [], {}, True])
def test_an_answer_that_is_no_number_is_malformed(answer: object) -> None:
    with pytest.raises(MalformedResponseError):
        fields.count(answer)


def test_the_text_of_the_json_is_what_was_checked() -> None:
    value = {"a": [1]}
    text = fields.json_object("details", value)
    value["a"].append(2)
    assert json.loads(text) == {"a": [1]}
