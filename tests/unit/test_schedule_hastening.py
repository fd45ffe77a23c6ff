"""Turns that another monitor missed are made up for, and nothing else moves."""

from __future__ import annotations

import pytest

from tests.unit.test_schedule import Clocks, off_phase, service


def test_a_hastened_service_is_due_now_and_keeps_its_place() -> None:
    """The extra turn comes at once; the regular ones stay where they were."""
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 60), service("b", 60)])
    schedule.hasten(["b"])
    [extra] = schedule.take_due()
    assert (extra.service.name, extra.is_extra) == ("b", True)
    schedule.done(extra)
    clocks.steady += 59
    turns = schedule.take_due()
    assert all(off_phase(clocks, each.at_seconds, each.service.name, 60) < 0.001 for each in turns)
    assert not any(turn.is_extra for turn in turns)


def test_what_is_under_way_or_unknown_is_not_hastened() -> None:
    """A service is never probed twice at once."""
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 10)])
    [turn] = clocks.go_to_next_turn(schedule)
    schedule.hasten(["a", "unknown"])
    assert schedule.take_due() == []
    schedule.done(turn)
    assert schedule.next_at_seconds() == pytest.approx(turn.at_seconds + 10)


def test_hastening_twice_gives_one_turn() -> None:
    clocks = Clocks()
    schedule = clocks.schedule([service("a", 60), service("b", 60)])
    schedule.hasten(["a", "b"])
    schedule.hasten(["a"])
    assert sorted(turn.service.name for turn in schedule.take_due()) == ["a", "b"]
    assert schedule.next_at_seconds() is None
