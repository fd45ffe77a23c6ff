"""The schedule: places by the wall clock, pace by the steady one, no overlap, reload."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pulsebase.monitor.configuration import Service
from pulsebase.monitor.looking.schedule import Schedule, Turn, phase_seconds
from pulsebase.probes.http import HttpProbe

if TYPE_CHECKING:
    from collections.abc import Iterable

NEW_YEAR = 1_767_225_600.0


class Clocks:
    """A steady clock that only goes on, and a wall clock that somebody may set."""

    def __init__(self) -> None:
        self.steady = 1000.0
        self.wall_ahead = NEW_YEAR

    def schedule(self, services: Iterable[Service] = ()) -> Schedule:
        return Schedule(services, clock=lambda: self.steady, wall_clock=self.wall)

    def wall(self) -> float:
        return self.steady + self.wall_ahead

    def go_to_next_turn(self, schedule: Schedule) -> list[Turn]:
        """Wait for the next turn and take it."""
        due_at = schedule.next_at_seconds()
        assert due_at is not None
        self.steady = max(self.steady, due_at)
        return schedule.take_due()


def service(name: str = "a", interval_seconds: float = 10, retry_seconds: float = 0) -> Service:
    """A service that nobody probes."""
    return Service(
        name=name,
        kind="http",
        interval=timedelta(seconds=interval_seconds),
        timeout=timedelta(seconds=1),
        retry_interval=timedelta(seconds=retry_seconds) if retry_seconds else None,
        probe=HttpProbe(url="http://127.0.0.1/"),
    )


def off_phase(clocks: Clocks, turn_at: float, name: str, interval: float) -> float:
    """How far a moment is from the place of a turn of this service."""
    beside = (turn_at + clocks.wall_ahead - phase_seconds(name, interval)) % interval
    return min(beside, interval - beside)


def test_turns_are_spread_over_the_interval() -> None:
    """A thousand services do not start at once."""
    phases = [phase_seconds(f"service-{number}", 10) for number in range(1000)]
    tenths = [sum(index <= phase < index + 1 for phase in phases) for index in range(10)]
    assert min(tenths) > 50
    assert max(tenths) < 150


@given(started=st.floats(0, 1e6), wall=st.floats(0, 4e9), interval=st.integers(1, 60))
def test_every_monitor_has_the_same_turns_whenever_it_started(
    started: float, wall: float, interval: int
) -> None:
    clocks = Clocks()
    clocks.steady, clocks.wall_ahead = started, wall
    schedule = clocks.schedule([service("a", interval)])
    [turn] = clocks.go_to_next_turn(schedule)
    assert started < turn.at_seconds <= started + interval + 1e-3
    assert off_phase(clocks, turn.at_seconds, "a", interval) < 1e-3


def test_a_service_is_not_due_again_before_it_came_back() -> None:
    """A slow probe never overlaps the next one."""
    clocks = Clocks()
    schedule = clocks.schedule([service()])
    [turn] = clocks.go_to_next_turn(schedule)
    clocks.steady += 1000
    assert schedule.take_due() == []
    assert schedule.next_at_seconds() is None
    schedule.done(turn)
    assert schedule.next_at_seconds() is not None


def test_missed_turns_are_left_out_and_the_phase_is_kept() -> None:
    """After a probe of 3.4 intervals the next turn is the fourth, not four at once."""
    clocks = Clocks()
    schedule = clocks.schedule([service()])
    [turn] = clocks.go_to_next_turn(schedule)
    clocks.steady += 34
    schedule.done(turn)
    assert schedule.next_at_seconds() == pytest.approx(turn.at_seconds + 40)


def test_after_a_long_sleep_of_the_machine_the_turns_are_still_spread() -> None:
    """What is a whole interval late is left out, so that not everything begins at once."""
    clocks = Clocks()
    services = [service(f"s{number}", 60) for number in range(1000)]
    schedule = clocks.schedule(services)
    clocks.steady += 8 * 3600
    assert schedule.take_due() == []
    assert schedule.left_out == 1000
    clocks.steady += 30
    first_half = schedule.take_due()
    assert 400 < len(first_half) < 600


def test_a_turn_that_is_a_little_late_is_taken() -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("daily", 86_400)])
    clocks.go_to_next_turn(schedule)  # the first look
    clocks = Clocks()
    schedule = clocks.schedule([service("often", 10)])
    due_at = schedule.next_at_seconds()
    assert due_at is not None
    clocks.steady = due_at + 9.9
    assert len(schedule.take_due()) == 1


def test_nobody_waits_over_a_minute_for_the_first_look() -> None:
    """A service that is probed daily is seen soon, and has its turn at its place all the same."""
    clocks = Clocks()
    schedule = clocks.schedule([service(f"daily-{number}", 86_400) for number in range(200)])
    firsts: list[Turn] = []
    while len(firsts) < 200:
        firsts += clocks.go_to_next_turn(schedule)
    assert clocks.steady <= 1060
    assert len({round(turn.at_seconds, 3) for turn in firsts}) > 190
    for turn in firsts:
        schedule.done(turn)
    [regular, *_] = clocks.go_to_next_turn(schedule)
    assert not regular.is_extra
    assert off_phase(clocks, regular.at_seconds, regular.service.name, 86_400) < 1e-3


def test_after_a_failure_extra_turns_come_and_the_regular_ones_stay() -> None:
    """10 s apart within the minute; the next regular turn is where it would have been anyway."""
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 60, retry_seconds=25)])
    [turn] = clocks.go_to_next_turn(schedule)
    moments: list[tuple[float, bool]] = []
    for _ in range(5):
        clocks.steady += 1
        schedule.done(turn, retry=True)
        [again] = clocks.go_to_next_turn(schedule)
        moments.append((round(again.at_seconds - turn.at_seconds, 3), again.is_extra))
        turn = again
    assert moments == [(25, True), (25, True), (10, False), (25, True), (25, True)]
    schedule.done(turn)
    [turn] = clocks.go_to_next_turn(schedule)
    assert not turn.is_extra


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 17.0, -17.0, 0.7, 5e8, -5e8])
def test_a_clock_that_is_set_moves_no_turn_that_is_planned_and_never_stops_the_turns(
    jump: float,
) -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 60)])
    [turn] = clocks.go_to_next_turn(schedule)
    schedule.done(turn)
    planned = schedule.next_at_seconds()
    clocks.wall_ahead += jump
    clocks.steady += 1
    assert schedule.take_due() == []
    assert schedule.next_at_seconds() == planned
    before = clocks.go_to_next_turn(schedule)[0]
    for _ in range(3):
        schedule.done(before)
        [turn] = clocks.go_to_next_turn(schedule)
        assert 30 <= turn.at_seconds - before.at_seconds <= 90
        assert off_phase(clocks, turn.at_seconds, "a", 60) < 1e-3
        before = turn


def test_a_process_that_was_stopped_between_two_readings_sees_no_jump(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks()

    def wall_after_a_stop() -> float:
        clocks.steady += 5
        return clocks.wall()

    schedule = Schedule([service()], clock=lambda: clocks.steady, wall_clock=clocks.wall)
    schedule._wall_clock = wall_after_a_stop
    schedule.take_due()
    assert "the clock was set" not in caplog.text
    schedule._wall_clock = lambda: clocks.wall() + 5
    schedule.take_due()
    assert "the clock was set by +5.0 s" in caplog.text


def test_a_reload_does_not_touch_what_is_equal() -> None:
    clocks = Clocks()
    services = [service(f"s{number}", 10) for number in range(20)]
    schedule = clocks.schedule(services)
    [turn] = clocks.go_to_next_turn(schedule)
    planned = schedule.next_at_seconds()
    schedule.update([replace(one) for one in services])
    assert schedule.next_at_seconds() == planned
    assert schedule.is_current(turn)
    schedule.done(turn)
    clocks.steady += 10
    assert len(schedule.take_due()) == 20


def test_a_changed_service_keeps_its_place_and_drops_what_is_under_way() -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 10)])
    [turn] = clocks.go_to_next_turn(schedule)
    changed = replace(service("a", 10), probe=HttpProbe(url="http://127.0.0.2/"))
    schedule.update([changed])
    assert not schedule.is_current(turn)
    assert schedule.next_at_seconds() is None, "the look under way has not ended"
    clocks.steady += 1
    schedule.done(turn)
    [following] = clocks.go_to_next_turn(schedule)
    assert following.service is changed
    assert following.at_seconds == pytest.approx(turn.at_seconds + 10)


def test_a_removed_service_vanishes_also_when_it_is_under_way() -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("a"), service("b")])
    [turn] = clocks.go_to_next_turn(schedule)
    schedule.update([])
    assert schedule.next_at_seconds() is None
    assert not schedule.is_current(turn)
    schedule.done(turn)
    assert schedule.next_at_seconds() is None


def test_a_service_that_comes_back_while_its_old_look_runs_is_not_probed_twice_at_once() -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("a")])
    [turn] = clocks.go_to_next_turn(schedule)
    schedule.update([])
    schedule.update([service("a")])
    clocks.steady += 100
    assert schedule.take_due() == []
    schedule.done(turn)
    schedule.done(turn)  # once is enough
    assert len(clocks.go_to_next_turn(schedule)) == 1


class ScheduleUnderFire(RuleBasedStateMachine):
    """Whatever comes in whatever order: never early, never twice at once, always in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.clocks = Clocks()
        self.watched = {f"s{number}": service(f"s{number}", 1 + 7 * number) for number in range(8)}
        self.schedule = self.clocks.schedule(self.watched.values())
        self.busy: dict[str, Turn] = {}
        self.last: dict[str, float] = {}

    @rule(seconds=st.floats(0, 200))
    def time_goes_by(self, seconds: float) -> None:
        self.clocks.steady += seconds

    @rule()
    def take(self) -> None:
        for turn in self.schedule.take_due():
            name = turn.service.name
            assert name in self.watched, "it was removed"
            assert name not in self.busy, "twice at once"
            assert turn.at_seconds <= self.clocks.steady, "too early"
            assert turn.is_extra or turn.at_seconds > self.last.get(name, 0.0), (
                "the same turn twice"
            )
            interval = turn.service.interval.total_seconds()
            assert self.clocks.steady - turn.at_seconds < interval, "caught up"
            if not turn.is_extra:
                assert off_phase(self.clocks, turn.at_seconds, name, interval) < 1e-3
            self.busy[name], self.last[name] = turn, turn.at_seconds

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), retry=st.booleans())
    def end(self, data: st.DataObject, *, retry: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.busy)))
        self.schedule.done(self.busy.pop(name), retry=retry)

    @rule(name=st.sampled_from([f"s{number}" for number in range(10)]), interval=st.integers(1, 90))
    def define(self, name: str, interval: int) -> None:
        self.watched[name] = service(name, interval, retry_seconds=interval / 3)
        self.schedule.update(self.watched.values())

    @rule(names=st.sets(st.sampled_from([f"s{number}" for number in range(10)])))
    def hasten(self, names: set[str]) -> None:
        self.take()
        self.schedule.hasten(names)
        self.take()
        assert not names & self.watched.keys() - self.busy.keys(), "not due at once"

    @precondition(lambda self: self.watched)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        del self.watched[data.draw(st.sampled_from(sorted(self.watched)))]
        self.schedule.update(self.watched.values())

    @invariant()
    def everything_that_is_not_under_way_is_planned(self) -> None:
        planned = self.schedule._heap
        assert len(planned) == len(self.watched.keys() - self.busy.keys())
        for at_seconds, _, watch in planned:
            assert at_seconds <= self.clocks.steady + watch.interval + 1e-3, "a gap"


TestScheduleUnderFire = ScheduleUnderFire.TestCase
