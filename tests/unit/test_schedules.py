"""Schedules over changes of the clock, against a count of every minute of the days around them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from pulsebase.models.schedules import CronSchedule, Period, WeeklySchedule, plan

MINUTE = timedelta(minutes=1)
EVERY_DAY = (1, 2, 3, 4, 5, 6, 7)

# Days on which clocks are put forward and back, by an hour, by half of one, and at midnight.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("America/Santiago", "2026-04-05"),
    ("America/Santiago", "2026-09-06"),
    ("Asia/Kolkata", "2026-06-01"),
    ("UTC", "2026-03-29"),
]
TIMES = [f"{hour:02}:{minute:02}" for hour in (0, 1, 2, 23) for minute in (0, 15, 30)]


def days_around(day: str) -> tuple[datetime, datetime]:
    """From two days before noon of the day to two days after."""
    noon = datetime.fromisoformat(f"{day}T12:00:00+00:00")
    return noon - timedelta(days=2, hours=12), noon + timedelta(days=2, hours=12)


def minutes(zone: str, since: datetime, until: datetime) -> list[tuple[datetime, datetime]]:
    """Every minute, with what the clocks of the zone show then."""
    counted = []
    moment = since
    while moment < until:
        counted.append((moment, moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)))
        moment += MINUTE
    return counted


def hull(moments: list[datetime]) -> Period:
    """From the first of these minutes to the end of the last."""
    return Period(min(moments), max(moments) + MINUTE)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
def test_a_weekly_window_holds_while_the_clocks_show_its_times(zone: str, day: str) -> None:
    """From the first minute to the last at which they do, for 132 windows around each change."""
    since, until = days_around(day)
    counted = minutes(zone, since - timedelta(days=2), until + timedelta(days=2))
    for from_text in TIMES:
        for until_text in TIMES:
            if from_text == until_text:
                continue
            begin, end = time.fromisoformat(from_text), time.fromisoformat(until_text)
            schedule = WeeklySchedule(days=EVERY_DAY, from_time=begin, until_time=end, zone=zone)
            found = list(schedule.occurrences(since, until))
            assert found == expected_windows(counted, begin, end, since, until), (begin, end)


def expected_windows(
    counted: list[tuple[datetime, datetime]],
    begin: time,
    end: time,
    since: datetime,
    until: datetime,
) -> list[Period]:
    by_day: dict[date, list[datetime]] = {}
    for moment, shown in counted:
        shown_time = shown.time()
        if begin < end:
            if begin <= shown_time < end:
                by_day.setdefault(shown.date(), []).append(moment)
        elif shown_time >= begin:
            by_day.setdefault(shown.date(), []).append(moment)
        elif shown_time < end:
            by_day.setdefault(shown.date() - timedelta(days=1), []).append(moment)
    periods = [hull(by_day[day]) for day in sorted(by_day)]
    return [each for each in periods if since <= each.starts_at < until]


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize(
    "cron",
    ["* * * * *", "*/7 * * * *", "0 * * * *", "15 */2 * * *", "*/20 1-3 * * *", "30 * 29 * *"],
)
def test_a_cron_expression_with_a_star_counts_every_minute_that_fits(
    zone: str, day: str, cron: str
) -> None:
    since, until = days_around(day)
    minute, hour, day_of_month, *_ = cron.split()
    expected = [
        moment
        for moment, shown in minutes(zone, since, until)
        if fits(minute, shown.minute) and fits(hour, shown.hour) and fits(day_of_month, shown.day)
    ]
    assert starts(cron, zone, since, until) == expected


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@pytest.mark.parametrize("minute", [0, 15, 30, 45])
@pytest.mark.parametrize("hour", [0, 1, 2, 3, 23])
def test_a_cron_expression_with_a_fixed_time_comes_once_each_day(
    zone: str, day: str, hour: int, minute: int
) -> None:
    """At the first minute of the day at which the clocks show that time or have passed it."""
    since, until = days_around(day)
    cron = f"{minute} {hour} * * *"
    expected: dict[date, datetime] = {}
    for moment, shown in minutes(zone, since - timedelta(days=1), until):
        if shown.time() >= time(hour, minute):
            expected.setdefault(shown.date(), moment)
    found = starts(cron, zone, since, until)
    assert found == [each for each in expected.values() if since <= each < until]
    assert all(timedelta(hours=22) < b - a < timedelta(hours=26) for a, b in pairwise(found))


def starts(cron: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    schedule = CronSchedule(cron=cron, duration=MINUTE, zone=zone)
    found = list(schedule.occurrences(since, until))
    assert all(each.ends_at - each.starts_at == MINUTE for each in found)
    return [each.starts_at for each in found]


def fits(part: str, value: int) -> bool:
    if part == "*":
        return True
    if part.startswith("*/"):
        return value % int(part[2:]) == 0
    if "-" in part:
        low, high = map(int, part.split("-"))
        return low <= value <= high
    return value == int(part)


def test_a_window_over_midnight_belongs_to_the_day_of_its_beginning() -> None:
    friday = WeeklySchedule(days=(5,), from_time=time(22), until_time=time(6), zone="Europe/Berlin")
    (only,) = friday.occurrences(at("2026-06-01T00:00"), at("2026-06-08T00:00"))
    assert only == Period(at("2026-06-05T20:00"), at("2026-06-06T04:00"))


def test_a_night_in_which_clocks_are_put_forward_is_an_hour_shorter() -> None:
    nights = WeeklySchedule(days=(6,), from_time=time(22), until_time=time(6), zone="Europe/Berlin")
    (spring,) = nights.occurrences(at("2026-03-27T00:00"), at("2026-03-30T00:00"))
    (autumn,) = nights.occurrences(at("2026-10-23T00:00"), at("2026-10-26T00:00"))
    assert spring.ends_at - spring.starts_at == timedelta(hours=7)
    assert autumn.ends_at - autumn.starts_at == timedelta(hours=9)


def test_a_window_that_is_skipped_whole_does_not_come_that_day() -> None:
    window = WeeklySchedule(
        days=(7,), from_time=time(2, 15), until_time=time(2, 45), zone="Europe/Berlin"
    )
    found = list(window.occurrences(at("2026-03-20T00:00"), at("2026-04-06T00:00")))
    assert [each.starts_at.day for each in found] == [22, 5]


def test_the_same_time_twice_means_a_whole_day() -> None:
    sunday = WeeklySchedule(days=(7,), from_time=time(0), until_time=time(0), zone="Europe/Berlin")
    found = list(sunday.occurrences(at("2026-03-21T00:00"), at("2026-04-01T00:00")))
    lengths = [each.ends_at - each.starts_at for each in found]
    assert lengths == [timedelta(hours=24), timedelta(hours=23)]


def test_the_duration_of_cron_is_real_time() -> None:
    """Two hours from half past one are two hours, also where clocks then show half past four."""
    schedule = CronSchedule(cron="30 1 * * *", duration=timedelta(hours=2), zone="America/New_York")
    (only,) = schedule.occurrences(at("2026-03-08T00:00"), at("2026-03-09T00:00"))
    assert only == Period(at("2026-03-08T06:30"), at("2026-03-08T08:30"))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_what_touches_is_planned_as_one_period() -> None:
    always = WeeklySchedule(days=EVERY_DAY, from_time=time(0), until_time=time(0))
    planned = plan(always, since=at("2026-01-01T00:00"), until=at("2026-02-01T00:00"))
    assert planned.periods == (Period(at("2026-01-01T00:00"), at("2026-02-01T00:00")),)
    assert planned.planned_until == at("2026-02-01T00:00")


def test_a_plan_is_bounded_and_goes_on_where_it_ended() -> None:
    """However finely it is cut, the pieces are the whole."""
    schedule = CronSchedule(
        cron="*/5 * * * *", duration=timedelta(minutes=1), zone="Australia/Lord_Howe"
    )
    since, until = at("2026-04-01T00:00"), at("2026-04-15T00:00")
    pieces: list[Period] = []
    count = 0
    moment = since
    while moment < until:
        planned = plan(schedule, since=moment, until=until)
        assert len(planned.periods) <= 1000
        pieces += planned.periods
        assert planned.planned_until > moment
        moment = planned.planned_until
        count += 1
    assert pieces == list(schedule.occurrences(since, until))
    assert count == 5


def test_a_window_for_each_minute_is_planned_in_bounds() -> None:
    schedule = CronSchedule(cron="* * * * *", duration=timedelta(hours=1), zone="Europe/Berlin")
    since = at("2026-10-20T00:00")
    planned = plan(schedule, since=since, until=since + timedelta(days=35))
    (only,) = planned.periods
    assert only.ends_at == planned.planned_until + timedelta(hours=1) - MINUTE
    assert planned.planned_until == since + 10_000 * MINUTE


def test_a_schedule_that_ends_is_cut_there_and_never_planned_again() -> None:
    schedule = WeeklySchedule(
        days=EVERY_DAY, from_time=time(8), until_time=time(10), until=at("2026-06-03T09:00")
    )
    planned = plan(schedule, since=at("2026-06-01T00:00"), until=at("2026-07-01T00:00"))
    assert planned.periods[-1] == Period(at("2026-06-03T08:00"), at("2026-06-03T09:00"))
    assert len(planned.periods) == 3
    assert planned.planned_until.year == 9999
