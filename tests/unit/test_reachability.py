"""Since when the database answers."""

from __future__ import annotations

from datetime import UTC, datetime

from pulsebase.monitor.reachability import Reachability


def test_before_the_first_call_it_is_the_time_of_the_beginning() -> None:
    before = datetime.now(UTC)
    reachability = Reachability()
    assert reachability.since is not None
    assert before <= reachability.since <= datetime.now(UTC)


def since(reachability: Reachability) -> datetime | None:
    """What it says now; type checkers take it for unchanged otherwise."""
    return reachability.since


def test_a_success_after_a_failure_begins_anew_and_the_next_ones_do_not() -> None:
    reachability = Reachability()
    first = since(reachability)
    reachability.succeeded()
    assert since(reachability) == first
    reachability.failed()
    assert since(reachability) is None
    reachability.failed()
    reachability.succeeded()
    again = since(reachability)
    assert again is not None
    assert first is not None
    assert again > first
    reachability.succeeded()
    assert since(reachability) == again
