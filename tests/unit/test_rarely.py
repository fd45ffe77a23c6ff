"""What happens a thousand times a second is said once a minute."""

from __future__ import annotations

import pytest

from pulsebase.monitor import rarely
from pulsebase.monitor.rarely import Rarely, often


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rarely, "steady_seconds", lambda: clock.now)
    return clock


def test_the_same_is_said_once_a_minute_with_how_often_it_was(clock: Clock) -> None:
    said = Rarely()
    assert [said.times("a") for _ in range(500)] == [1, *[0] * 499]
    assert said.times("b") == 1
    clock.now += 61
    assert said.times("a") == 500
    assert said.times("a") == 0
    assert (often(1), often(500)) == ("", " (500 times like this in the last minute or so)")


def test_any_number_of_different_things_fills_neither_memory_nor_log(clock: Clock) -> None:
    """And does not keep quiet for ever."""
    said = Rarely()
    assert sum(said.times(f"service {number} is odd") for number in range(100_000)) == 1000
    assert len(said._said) == 1000
    clock.now += 61
    assert said.times("something else") == 1
