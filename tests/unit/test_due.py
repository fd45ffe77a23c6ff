"""When the next report of a job is due: periods, cron, and the nights when clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsebase.probes.support.due import CronDues, PeriodDues, zone_of


@pytest.mark.parametrize(
    ("cron", "newest", "due"),
    [
        ("30 2 * * *", "2026-11-23T02:31+01:00", "2026-11-24T02:30+01:00"),
        # The hour that a spring night skips: at its end, once.
        ("30 2 * * *", "2026-03-28T02:31+01:00", "2026-03-29T03:00+02:00"),
        ("30 2 * * *", "2026-03-29T03:01+02:00", "2026-03-30T02:30+02:00"),
        # The hour that an autumn night has twice: the first time only.
        ("30 2 * * *", "2026-10-24T02:31+02:00", "2026-10-25T02:30+02:00"),
        ("30 2 * * *", "2026-10-25T02:31+02:00", "2026-10-26T02:30+01:00"),
        ("30 2 * * *", "2026-10-25T02:10+01:00", "2026-10-26T02:30+01:00"),
        # Every half hour goes by the clock on the wall, so four times in that night.
        ("*/30 * * * *", "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00"),
        ("*/30 * * * *", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00"),
        ("0 9 * * MON-FRI", "2026-11-20T09:00+01:00", "2026-11-23T09:00+01:00"),
        ("0 9 L * *", "2026-02-01T00:00+01:00", "2026-02-28T09:00+01:00"),
        # A job whose clock runs a little ahead of the database's has reported for its own time.
        ("0 9 * * *", "2026-11-23T08:59:56+01:00", "2026-11-24T09:00+01:00"),
    ],
)
def test_cron_goes_by_the_clock_of_its_time_zone(cron: str, newest: str, due: str) -> None:
    dues = CronDues(cron, zone_of("Europe/Berlin"))
    moment = datetime.fromisoformat(newest).astimezone(UTC)
    assert dues.first_after(moment) == datetime.fromisoformat(due).astimezone(UTC)


MOMENTS = st.datetimes(
    datetime(2024, 1, 1),  # noqa: DTZ001 -- made aware by the strategy
    datetime(2032, 1, 1),  # noqa: DTZ001 -- made aware by the strategy
    timezones=st.just(UTC),
)
CRONS = st.sampled_from(
    ["30 2 * * *", "*/7 * * * *", "15 1-4 * * *", "0 0 1 * *", "0 12 * * SUN", "0 3 L * *"]
)


@settings(deadline=None)
@given(CRONS, MOMENTS, st.timedeltas(timedelta(0), timedelta(days=60)))
def test_the_last_due_time_is_one_that_walking_there_would_reach(
    cron: str, newest: datetime, later: timedelta
) -> None:
    dues = CronDues(cron, zone_of("America/New_York"))
    moment = newest + later
    last = dues.last_until(newest, moment)
    first = dues.first_after(newest)
    assert last >= first > newest
    if first <= moment:
        assert last <= moment
        assert dues.first_after(last - timedelta(seconds=6)) == last


@settings(deadline=None)
@given(st.timedeltas(timedelta(seconds=1), timedelta(days=40)), MOMENTS, st.integers(0, 10**7))
def test_the_last_due_time_of_a_period_is_a_whole_number_of_periods_away(
    period: timedelta, newest: datetime, seconds: int
) -> None:
    moment = newest + timedelta(seconds=seconds)
    last = PeriodDues(period).last_until(newest, moment)
    assert (last - newest) % period == timedelta(0)
    assert last == newest + period or moment - period < last <= moment
