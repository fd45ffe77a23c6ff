"""Schedules over changes of the clock, against PostgreSQL's own clocks and its own zones."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from pulsebase.models.alert_silence import AlertSilenceModel
from pulsebase.models.schedules import CronSchedule, Period, WeeklySchedule, plan
from tests.sql.scripts import rows

if TYPE_CHECKING:
    from tests.support.postgres_server import PostgresServer

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
UNTIL = datetime(2028, 1, 1, tzinfo=UTC)

# Each minute of two years, and what clocks show then. A minute belongs to the day on which its
# window began; a window is from its first minute to its last.
WINDOWS = """
with shown as (
    select moment, moment at time zone %(zone)s as at
    from generate_series(%(since)s - interval '1 day', %(until)s, interval '1 minute') as moment
),
inside as (
    select
        moment,
        case when %(from)s >= %(until_time)s and at::time < %(until_time)s
            then at::date - 1 else at::date
        end as day
    from shown
    where case when %(from)s < %(until_time)s
        then at::time >= %(from)s and at::time < %(until_time)s
        else at::time >= %(from)s or at::time < %(until_time)s
    end
)
select min(moment), max(moment) + interval '1 minute'
from inside
where extract(isodow from day) = any (%(days)s)
group by day
having min(moment) >= %(since)s and min(moment) < %(until)s
order by 1
"""
# The first minute of each day at which clocks show the time, or have passed it.
TIMES = """
select min(moment)
from generate_series(%(since)s - interval '1 day', %(until)s, interval '1 minute') as moment
where (moment at time zone %(zone)s)::time >= %(time)s
group by (moment at time zone %(zone)s)::date
having min(moment) >= %(since)s and min(moment) < %(until)s
order by 1
"""
# Every minute at which clocks show an hour and a minute that fit.
EACH = """
select moment
from generate_series(%(since)s, %(until)s - interval '1 minute', interval '1 minute') as moment
where extract(minute from moment at time zone %(zone)s) = 30
    and extract(hour from moment at time zone %(zone)s)::integer %% 2 = 0
order by 1
"""


@pytest.fixture(scope="module")
def server_url(postgres: PostgresServer) -> str:
    return postgres.url()


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("begin", "end"),
    [("22:00", "06:00"), ("01:45", "02:15"), ("02:00", "03:00"), ("02:15", "02:45")],
)
def test_weekly_windows_over_two_years(server_url: str, zone: str, begin: str, end: str) -> None:
    days = [6, 7]  # clocks change on Sundays
    from_time, until_time = time.fromisoformat(begin), time.fromisoformat(end)
    schedule = WeeklySchedule(
        days=tuple(days), from_time=from_time, until_time=until_time, zone=zone
    )
    arguments = {"from": from_time, "until_time": until_time, "days": days}
    expected = rows(server_url, WINDOWS, _bounds(zone) | arguments)
    planned = plan(schedule, since=SINCE, until=UNTIL)
    assert planned.periods == tuple(Period(*each) for each in expected)
    assert len(planned.periods) in range(206, 211)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("hour", "minute"), [(2, 0), (2, 15), (2, 30), (1, 45), (3, 0)])
def test_a_fixed_time_of_cron_over_two_years(
    server_url: str, zone: str, hour: int, minute: int
) -> None:
    schedule = CronSchedule(cron=f"{minute} {hour} * * *", duration=timedelta(minutes=1), zone=zone)
    expected = rows(server_url, TIMES, _bounds(zone) | {"time": time(hour, minute)})
    found = [each.starts_at for each in schedule.occurrences(SINCE, UNTIL)]
    assert found == [moment for (moment,) in expected]
    assert len(found) == 730


@pytest.mark.parametrize("zone", ZONES)
def test_a_star_of_cron_over_two_years(server_url: str, zone: str) -> None:
    schedule = CronSchedule(cron="30 */2 * * *", duration=timedelta(minutes=1), zone=zone)
    expected = rows(server_url, EACH, _bounds(zone))
    found = [each.starts_at for each in schedule.occurrences(SINCE, UNTIL)]
    assert found == [moment for (moment,) in expected]


@pytest.mark.parametrize("zone", ZONES)
def test_what_is_stored_is_what_was_planned(database: str, zone: str) -> None:
    schedule = WeeklySchedule(
        days=(1, 2, 3, 4, 5, 6, 7), from_time=time(22), until_time=time(6), zone=zone
    )
    with psycopg.connect(database, autocommit=True) as connection:
        silence = AlertSilenceModel.create(connection, by="Ann", matcher={}, schedule=schedule)
        AlertSilenceModel.plan_all(connection, horizon=timedelta(days=400))
        local = connection.execute(
            "select distinct (starts_at at time zone %(zone)s)::time,"
            " (ends_at at time zone %(zone)s)::time, count(*) over ()"
            " from alert_silence_periods where silence_id = %(id)s",
            {"zone": zone, "id": silence.id},
        ).fetchall()
    ((begin, end, count),) = local
    assert (begin, end) == (time(22), time(6))
    assert count in range(399, 403)


def _bounds(zone: str) -> dict[str, object]:
    return {"zone": zone, "since": SINCE, "until": UNTIL}
