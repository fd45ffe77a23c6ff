"""A regular expression of a configuration file is quick on any text, or is refused at load."""

from __future__ import annotations

import contextlib
import copy
import pickle
import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from pulsebase.probes.support.patterns import Regex

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Keys:
    pattern: Regex | None = None


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("ok", "all is ok here", True),
        ("^ok$", "all is ok here", False),
        (r'"status":\s*"ok"', '{"status":  "ok"}', True),
        ("(?i)GRÜN", "alles grün", True),
        ("^.$", "ü", True),
        ("b", b"abc", True),
        ("ü", "grün".encode(), True),
        ("ü", "grün".encode("latin-1"), False),
        ("x", "\ud800x\x00", True),
    ],
)
def test_a_pattern_is_found_anywhere(pattern: str, text: str | bytes, *, found: bool) -> None:
    assert Regex(pattern).found_in(text) is found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("[a-z", r"missing \]"),
        ("(a", r"missing \)"),
        ("a**", "bad repetition"),
        ("(?=a)", "no look-around"),
        (r"(a)\1", "no back references"),
        ("", "1 to 1000 characters"),
        ("a" * 1001, "1 to 1000 characters"),
        ("\ud800", "no text"),
        ("((.{0,50}){20})z", "fewer or shorter repetitions"),
        ("(a{1000}){1000}", "repetition"),
    ],
)
def test_a_pattern_that_cannot_serve_is_refused_with_the_reason(pattern: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^must be a regular expression .*{reason}"):
        Regex(pattern)


def test_a_field_reads_a_pattern_and_refuses_what_is_none() -> None:
    adapter = TypeAdapter(Keys)
    read = adapter.validate_json('{"pattern": "^a+$"}', strict=True)
    assert read == Keys(Regex("^a+$"))
    assert adapter.validate_python({"pattern": Regex("a")}) == Keys(Regex("a"))
    for wrong in ('{"pattern": "("}', '{"pattern": 1}', '{"pattern": ["a"]}'):
        with pytest.raises(ValidationError, match="must be a regular expression"):
            adapter.validate_json(wrong, strict=True)
    assert "string" in str(adapter.json_schema())


def test_patterns_are_values() -> None:
    one = Regex("a+")
    assert one == Regex("a+") != Regex("a*")
    assert hash(one) == hash(Regex("a+"))
    assert copy.deepcopy(one) == one == pickle.loads(pickle.dumps(one))  # noqa: S301 -- ours
    assert repr(one) == "Regex(pattern='a+')"


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(x+x+)+y", "(.*)*!", ".*.*.*=x", "(a?){400}a{90}", "(.{0,9}){15}z"],
)
def test_a_text_made_against_the_pattern_takes_no_longer_than_its_length(pattern: str) -> None:
    regex = Regex(pattern)
    for text in ("a" * MEBIBYTE, "xab" * (MEBIBYTE // 3), "x" * MEBIBYTE):
        started = time.process_time()
        regex.found_in(text)
        assert time.process_time() - started < 2


@given(st.text(max_size=30), st.text(max_size=60))
def test_any_text_is_a_pattern_or_is_refused(pattern: str, text: str) -> None:
    with contextlib.suppress(ValueError):
        assert Regex(pattern).found_in(text) in {True, False}
