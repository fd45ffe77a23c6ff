"""Whatever somebody wrote into the database is a schedule that can be planned, or refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pulsebase import InvalidValueError
from pulsebase.models.schedules import MOST_PERIODS, Period, plan, schedule_of

_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.just("y" * 5000)
)
_ANYTHING = st.one_of(
    _LEAVES, st.lists(_LEAVES, max_size=3), st.dictionaries(st.text(max_size=5), _LEAVES)
)
_CRON_PART = st.one_of(
    st.sampled_from(["*", "*/2", "*/7", "0", "59", "1-5", "1,2", "L", "MON#2", "5L", "LW", "JAN"]),
    st.integers(0, 70).map(str),
    st.text("0123456789*/-,#L", min_size=1, max_size=6),
)
_CRON = st.lists(_CRON_PART, min_size=5, max_size=5).map(" ".join)
_TIMES = st.times().map(lambda each: each.replace(microsecond=0).isoformat())
_ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/Havana", "Etc/GMT+12"]
)
_UNTIL = st.one_of(st.none(), st.datetimes(timezones=st.just(UTC)).map(str))
_BY_CRON = st.fixed_dictionaries(
    {
        "cron": _CRON,
        "duration_seconds": st.one_of(st.floats(0.001, 2e6), st.integers(1, 4000)),
        "zone": _ZONES,
        "until": _UNTIL,
    }
)
_WEEKLY = st.fixed_dictionaries(
    {
        "days": st.lists(st.integers(1, 7), min_size=1),
        "from": _TIMES,
        "until_time": _TIMES,
        "zone": _ZONES,
        "until": _UNTIL,
    }
)
_HOSTILE = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("cron", "duration_seconds", "days", "from", "until_time", "zone", "until"), _ANYTHING
    ),
)
_WEEKS = timedelta(days=35)


@settings(max_examples=1500, deadline=None, database=None)
@given(st.one_of(_BY_CRON, _WEEKLY, _HOSTILE, _ANYTHING), st.integers(0, 800))
def test_what_is_written_is_planned_or_refused(written: Any, day: int) -> None:
    try:
        schedule = schedule_of(written)
    except InvalidValueError:
        return
    assert schedule_of(schedule.as_json()) == schedule
    since = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    planned = plan(schedule, since=since, until=since + _WEEKS)
    assert_in_order(planned.periods, since)
    assert planned.planned_until > since


def assert_in_order(periods: tuple[Period, ...], since: datetime) -> None:
    assert len(periods) <= MOST_PERIODS
    end = since
    for number, each in enumerate(periods):
        assert each.starts_at < each.ends_at
        assert each.starts_at > end or number == 0
        assert since <= each.starts_at < since + _WEEKS
        end = each.ends_at
