from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from pulsebase.cli.options import DURATION, INSTANT, Options
from pulsebase.cli.output import exit_code, worst


def test_an_instant_may_be_a_duration_before_now() -> None:
    moment = INSTANT.convert("1h30m", None, None)
    assert timedelta(minutes=90) <= datetime.now(UTC) - moment < timedelta(minutes=91)


@pytest.mark.parametrize(
    "text", ["2026-11-24T10:00:00Z", "2026-11-24T11:00:00+01:00", "20261124T100000Z"]
)
def test_an_instant_may_be_iso_8601_in_any_zone(text: str) -> None:
    assert INSTANT.convert(text, None, None) == datetime(2026, 11, 24, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2026-11-24T10:00:00", "2026-11-24", "yesterday", "", "0001-01-01T00:00:00+14:00", "-1h"],
)
def test_no_time_zone_is_guessed_and_nothing_else_is_a_time(text: str) -> None:
    with pytest.raises(click.BadParameter):
        INSTANT.convert(text, None, None)


def test_a_duration_needs_its_unit() -> None:
    assert DURATION.convert("90s", None, None) == timedelta(seconds=90)
    with pytest.raises(click.BadParameter, match="must be a duration"):
        DURATION.convert("90", None, None)


def test_options_do_not_show_what_is_secret() -> None:
    assert "canary" not in repr(Options(url="postgresql://u:canary@h/x", key="canary"))


@pytest.mark.parametrize(
    ("statuses", "expected", "code"),
    [
        ([], "unknown", 3),
        (["healthy"], "healthy", 0),
        (["healthy", "degraded"], "degraded", 1),
        (["degraded", "unknown"], "unknown", 3),
        (["unknown", "down", "healthy"], "down", 2),
    ],
)
def test_the_worst_status_decides(statuses: list[str], expected: str, code: int) -> None:
    assert worst(statuses) == expected
    assert exit_code(expected) == code
