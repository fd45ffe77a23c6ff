"""When nobody is told: maintenance windows as a file has them, and every mistake."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.models.schedules import CronSchedule, WeeklySchedule
from tests.unit.configuration_file import MINIMAL, complaints, load

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.models.alert_silence import MaintenanceWindow


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def window(*lines: str) -> MaintenanceWindow:
    """The window with these lines."""
    text = MINIMAL + "\n".join(['[[maintenance]]\nname = "w"', *lines, ""])
    [found] = load(text).maintenance
    return found


def window_complaints(*lines: str) -> list[str]:
    """What is wrong with them, from the sixth line of the file on."""
    return complaints(MINIMAL + "\n".join(['[[maintenance]]\nname = "w"', *lines, ""]))


def test_windows_by_cron() -> None:
    found = window(
        'services = ["db-*"]',
        'cron = "0 2 * * MON-FRI"',
        'duration = "1h"',
        'zone = "Europe/Berlin"',
        'note = "backup"',
    )
    assert found.name == "w"
    assert found.matcher == {"services": ["db-*"]}
    assert found.note == "backup"
    assert found.schedule == CronSchedule(
        cron="0 2 * * MON-FRI", duration=timedelta(hours=1), zone="Europe/Berlin"
    )


def test_windows_by_days() -> None:
    weekend = window('days = ["sat", "sun"]', 'from = "00:00"', 'until = "24:00"').schedule
    assert weekend == WeeklySchedule(days=(6, 7), from_time=time(0), until_time=time(0))
    nightly = window('from = "22:00"', 'until = "06:00"', 'zone = "Asia/Tokyo"')
    assert nightly.matcher == {}
    assert nightly.schedule == WeeklySchedule(
        days=(1, 2, 3, 4, 5, 6, 7), from_time=time(22), until_time=time(6), zone="Asia/Tokyo"
    )


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (
            "2026-12-01T22:00:00+01:00",
            datetime(2026, 12, 1, 21, tzinfo=UTC),
        ),
        ('"2026-12-01T22:00:00+01:00"', datetime(2026, 12, 1, 21, tzinfo=UTC)),
        ("2026-12-01 22:00:00", datetime(2026, 12, 1, 21, tzinfo=UTC)),
        ('"2026-12-01 22:00"', datetime(2026, 12, 1, 21, tzinfo=UTC)),
        # Clocks in Berlin go from 02:00 to 03:00 that night, and show 02:30 twice in October.
        ("2026-03-29T02:30:00", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("2026-10-25T02:30:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_windows_that_come_once(begin: str, expected: datetime) -> None:
    found = window(
        f"starts_at = {begin}", "ends_at = 2027-01-01T00:00:00Z", 'zone = "Europe/Berlin"'
    )
    assert found.schedule is None
    assert found.starts_at == expected
    assert found.ends_at == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["cron = '0 2 * *'", "duration = '1h'"], "five fields: minute, hour, day of month"),
        (["cron = '0 25 * * *'", "duration = '1h'"], "a cron expression with a valid hour"),
        (["cron = '0 0 30 2 *'", "duration = '1h'"], "a cron expression with a valid day of month"),
        (["duration = '0s'", "cron = '0 2 * * *'"], "more than 0s and at most 30d"),
        (["duration = '31d'", "cron = '0 2 * * *'"], "more than 0s and at most 30d"),
        (["days = ['Monday']", "from = '10:00'", "until = '11:00'"], "one of mon, tue"),
        (["from = '24:00'", "until = '11:00'"], 'at most "23:59"'),
        (["ends_at = 2026-01-01T00:00:00Z", "starts_at = 2026-01-01T00:00:00Z"], "after starts_at"),
        (["starts_at = 2026-01-01", "ends_at = 2026-01-02T00:00:00Z"], "a date with a time"),
        (["starts_at = 'soon'", "ends_at = 2026-01-02T00:00:00Z"], "a date with a time"),
        (["starts_at = 0001-01-01T00:00:00", "ends_at = 2026-01-02T00:00:00Z"], "years 1 to 9999"),
        (["note = 3", "from = '10:00'", "until = '11:00'"], "text in quotes"),
        ([f"note = '{'x' * 2001}'", "from = '10:00'", "until = '11:00'"], "at most 2000"),
        (["labels = { a = '' }", "from = '10:00'", "until = '11:00'"], "1 to 200 readable"),
        (["form = '10:00'", "from = '10:00'", "until = '11:00'"], 'did you mean "from"?'),
        (["crn = '10:00'", "from = '10:00'", "until = '11:00'"], 'did you mean "cron"?'),
    ],
)
def test_a_bad_key_of_a_window_is_named(lines: list[str], said: str) -> None:
    zone = 'zone = "Europe/Berlin"'
    [complaint] = window_complaints(*lines, zone)
    assert complaint.startswith("pulsebase.toml:6: ")
    assert said in complaint


def test_an_unknown_zone_of_a_window() -> None:
    [complaint] = window_complaints("zone = 'Mars'", "from = '10:00'", "until = '11:00'")
    assert complaint == (
        'pulsebase.toml:6: zone in [[maintenance]] "w" must be a time zone that this system '
        'knows, such as "Europe/Berlin"; got "Mars"'
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "does not say when it is; add cron and duration, from and until, or starts_at and"),
        (["cron = '0 2 * * *'"], 'missing key "duration"'),
        (["duration = '1h'"], 'missing key "cron"'),
        (["from = '10:00'"], 'missing key "until"'),
        (["starts_at = 2026-01-01T00:00:00Z"], 'missing key "ends_at"'),
        (
            ["cron = '0 2 * * *'", "duration = '1h'", "from = '10:00'"],
            'from in [[maintenance]] "w" does not go together with cron; say once when it is',
        ),
        (["starts_at = 2026-01-01T00:00:00Z", "days = ['mon']"], "does not go together with days"),
    ],
)
def test_a_window_says_once_when_it_is(lines: list[str], said: str) -> None:
    [complaint] = window_complaints(*lines)
    assert said in complaint


def test_two_windows_of_one_name() -> None:
    one = '[[maintenance]]\nname = "w"\nfrom = "10:00"\nuntil = "11:00"\n'
    [complaint] = complaints(one + one + MINIMAL)
    assert complaint == (
        'pulsebase.toml:6: name in [[maintenance]] "w" is already used on line 2; '
        "every maintenance window needs its own"
    )


def test_a_file_that_is_read_again_says_the_same() -> None:
    """A window gets a new id each time, for the database; that is no change."""
    lines = ("from = '10:00'", "until = '11:00'")
    first, second = window(*lines), window(*lines)
    assert first == second
    assert first.id != second.id
