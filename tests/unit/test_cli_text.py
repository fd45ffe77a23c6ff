from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.cli.text import age_text, clean, clean_lines, display_width, joined, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("日本語", "日本語"),
        ("שלום", "שלום"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("x\u202ey", "x\\u202ey"),
        ("\u200b\ufeff\u2066", "\\u200b\\ufeff\\u2066"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
        ("👩\u200d🚀", "👩\u200d🚀"),
    ],
)
def test_what_is_invisible_is_written_as_an_escape(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text())
def test_a_cleaned_text_is_clean(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert "\x1b" not in clean(text)
    assert clean_lines(text).count("\n") == text.count("\n")


def test_wide_characters_fill_two_columns() -> None:
    assert [display_width(text) for text in ("ab", "日本", "e\u0301", "ｶﾅ")] == [2, 4, 1, 2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (119.4, "119s"),
        (120, "2m"),
        (3600, "1h 0m"),
        (90_000, "1d 1h"),
        (-5, "0s"),
        (3_000_000, "34d 17h"),
    ],
)
def test_an_age_is_told_in_its_largest_units(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


def test_a_text_that_is_cut_says_so() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"


def test_words_are_joined_as_in_a_sentence() -> None:
    assert [joined(words) for words in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
