"""The schedule: phases, no drift, no overlap."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.monitor.configuration import Service
from pulsebase.monitor.schedule import Schedule, first_delay_seconds
from pulsebase.probes.http import HttpProbe


def service(name: str, interval_seconds: float = 10) -> Service:
    """A service that nobody probes."""
    return Service(
        name=name,
        kind="http",
        interval=timedelta(seconds=interval_seconds),
        timeout=timedelta(seconds=1),
        probe=HttpProbe(url="http://127.0.0.1/"),
    )


def test_first_turns_are_spread_over_the_interval() -> None:
    """A thousand services do not start at once."""
    delays = [first_delay_seconds(service(f"service-{number}")) for number in range(1000)]
    tenths = [sum(index <= delay < index + 1 for delay in delays) for index in range(10)]
    assert min(tenths) > 50
    assert max(tenths) < 150


def test_the_phase_of_a_service_is_the_same_after_a_restart() -> None:
    """It depends on the name alone."""
    assert first_delay_seconds(service("a")) == first_delay_seconds(service("a"))


def test_a_service_is_not_due_again_before_it_came_back() -> None:
    """A slow probe never overlaps the next one."""
    schedule = Schedule([service("a")], now_seconds=0)
    [(taken, turn_at)] = schedule.take_due(100)
    assert schedule.take_due(1000) == []
    assert schedule.next_at_seconds() is None
    schedule.done(taken, turn_at, now_seconds=1000)
    assert schedule.next_at_seconds() is not None


def test_missed_turns_are_left_out_and_the_phase_is_kept() -> None:
    """After a probe of 3.4 intervals the next turn is the fourth, not four at once."""
    schedule = Schedule([service("a")], now_seconds=0)
    phase = first_delay_seconds(service("a"))
    [(taken, turn_at)] = schedule.take_due(phase)
    schedule.done(taken, turn_at, now_seconds=phase + 34)
    assert schedule.next_at_seconds() == pytest.approx(phase + 40)


@given(
    delays=st.lists(st.floats(min_value=0, max_value=25), min_size=1, max_size=50),
    interval=st.floats(min_value=1, max_value=20),
)
def test_turns_never_drift(delays: list[float], interval: float) -> None:
    """However long probes take, every turn lies a whole number of intervals after the first."""
    watched = service("a", interval)
    schedule = Schedule([watched], now_seconds=0)
    first = schedule.next_at_seconds()
    assert first is not None
    for delay in delays:
        now = schedule.next_at_seconds()
        assert now is not None
        turns = (now - first) / watched.interval.total_seconds()
        assert turns == pytest.approx(round(turns), abs=1e-6)
        [(taken, turn_at)] = schedule.take_due(now)
        schedule.done(taken, turn_at, now + delay)
        following = schedule.next_at_seconds()
        assert following is not None
        assert following > now
