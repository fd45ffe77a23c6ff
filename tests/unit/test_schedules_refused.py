"""What is no schedule is refused, and says by which field and why."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from pulsebase import InvalidValueError, MissingExtraError
from pulsebase.models.schedules import CronSchedule, WeeklySchedule, schedule_of

HOUR = timedelta(hours=1)
CRON = {"cron": "0 2 * * 0", "duration_seconds": 7200.0, "zone": "Europe/Berlin"}
WEEKLY = {"days": [1, 5], "from": "22:00:00", "until_time": "06:00:00", "zone": "Europe/Berlin"}
END = {"until": "2027-01-01T00:00:00+00:00"}


@pytest.mark.parametrize("written", [CRON, WEEKLY, CRON | END, WEEKLY | END])
def test_a_schedule_is_written_as_it_is_read(written: dict[str, Any]) -> None:
    assert schedule_of(written).as_json() == written


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (CRON | {"cron": "61 * * * *"}, "cron"),
        (CRON | {"cron": "0 2 * *"}, "cron"),
        (CRON | {"cron": "0 0 2 * * 0"}, "cron"),
        (CRON | {"cron": "0 0 30 2 *"}, "cron"),
        (CRON | {"cron": "0 2 * * \u0663"}, "cron"),
        (CRON | {"cron": "\x00"}, "cron"),
        (CRON | {"cron": "1," * 100_000 + "1 * * * *"}, "cron"),
        (CRON | {"cron": 5}, "cron"),
        (CRON | {"cron": None}, "cron"),
        (CRON | {"duration_seconds": 0}, "duration"),
        (CRON | {"duration_seconds": -1}, "duration"),
        (CRON | {"duration_seconds": 1e300}, "duration_seconds"),
        (CRON | {"duration_seconds": float("nan")}, "duration_seconds"),
        (CRON | {"duration_seconds": "an hour"}, "duration_seconds"),
        (CRON | {"duration_seconds": 31 * 86400}, "duration"),
        ({"cron": "0 2 * * *"}, "duration"),
        (CRON | {"zone": "Mars/Phobos"}, "zone"),
        (CRON | {"zone": "../../etc/passwd"}, "zone"),
        (CRON | {"zone": "Europe"}, "zone"),
        (CRON | {"zone": ""}, "zone"),
        (CRON | {"zone": "Europe/Berlin\x00"}, "zone"),
        (CRON | {"zone": "\ud83d"}, "zone"),
        (CRON | {"zone": "x" * 100_000}, "zone"),
        (CRON | {"zone": None}, "zone"),
        (CRON | {"until": "soon"}, "until"),
        (CRON | {"until": "2026-01-01T00:00:00"}, "until"),
        (CRON | {"until": 5}, "until"),
        (CRON | {"days": [1]}, "schedule"),
        (WEEKLY | {"days": []}, "days"),
        (WEEKLY | {"days": [0]}, "days"),
        (WEEKLY | {"days": [8]}, "days"),
        (WEEKLY | {"days": [True]}, "days"),
        (WEEKLY | {"days": ["mon"]}, "days"),
        (WEEKLY | {"days": "12"}, "days"),
        (WEEKLY | {"days": None}, "days"),
        (WEEKLY | {"from": "25:00"}, "from"),
        (WEEKLY | {"from": None}, "from_time"),
        (WEEKLY | {"from": 22}, "from"),
        (WEEKLY | {"until_time": "22:00+01:00"}, "until_time"),
        (WEEKLY | {"until_time": "22:00:00.5"}, "until_time"),
        (WEEKLY | {"hours": 3}, "schedule"),
        ({}, "days"),
        ([], "schedule"),
        ("0 2 * * *", "schedule"),
        (None, "schedule"),
    ],
)
def test_what_is_no_schedule_is_refused(wrong: Any, field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        schedule_of(wrong)
    assert caught.value.field == field
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"])
def test_zones_that_there_are(zone: str) -> None:
    since = datetime(2026, 1, 1, tzinfo=UTC)
    schedule = CronSchedule(cron="0 0 * * *", duration=HOUR, zone=zone)
    assert len(list(schedule.occurrences(since, since + timedelta(days=7)))) == 7


def test_days_are_a_set_in_order() -> None:
    schedule = WeeklySchedule(days=(5, 1, 5), from_time=time(1), until_time=time(2))
    assert schedule.days == (1, 5)


def test_a_cron_expression_needs_its_library_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A weekly schedule does not."""
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with pytest.raises(MissingExtraError, match=r"pulsebase\[monitor\]"):
        CronSchedule(cron="0 2 * * *", duration=HOUR)
    assert WeeklySchedule(days=(1,), from_time=time(1), until_time=time(2)).zone == "UTC"
