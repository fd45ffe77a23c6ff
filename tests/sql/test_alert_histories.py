"""Random histories of checks: the SQL decides what the reference model decides, in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import HealthCheck as Suppress
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

import pulsebase
from tests.sql.alert_histories import Database, Histories, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEGRADED_AT_ONCE = {
    "degraded_open_checks": 1,
    "degraded_open_of": None,
    "degraded_open_seconds": None,
}


@pytest.fixture
def doors(database: str) -> Iterator[Database]:
    with (
        psycopg.connect(database, autocommit=True, prepare_threshold=2) as connection,
        pulsebase.connect(database) as ours,
    ):
        yield Database(connection, ours)


def begun(doors: Database) -> type[Histories]:
    """The machine, in this database."""
    return type("Histories", (Histories,), {"database": doors})


@pytest.fixture
def history(doors: Database) -> Iterator[Histories]:
    """One history by hand, compared when the test is over. Service 1 has two locations, 2 three."""
    machine = begun(doors)()
    machine.begin(policy={})
    yield machine
    machine.teardown()


def hold_to_the_model(doors: Database, *, histories: int, steps: int) -> None:
    """Try so many histories, each a new one, against the model."""
    quiet = [Suppress.too_slow, Suppress.data_too_large, Suppress.filter_too_much]
    run_state_machine_as_test(
        begun(doors),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=quiet,
            report_multiple_bugs=False,
        ),
    )


def test_histories_are_decided_as_by_the_model(doors: Database) -> None:
    hold_to_the_model(doors, histories=300, steps=12)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_ten_thousand_histories_are_decided_as_by_the_model(doors: Database) -> None:
    # Many short runs: hypothesis remembers every choice of a run.
    for _ in range(20):
        hold_to_the_model(doors, histories=500, steps=20)


# Found by the above, and mended: each is the shortest history in which it went wrong.


def test_an_event_does_not_end_before_it_began(history: Histories) -> None:
    """What takes its place may have begun before it, in a location that was silent meanwhile."""
    history.publish_for_all(policy={"location_fresh_seconds": 5})
    history.check([Run(2, 2, "degraded", 2, gap=0)], "statement")
    history.check([Run(2, 0, "down", 3, gap=4), Run(2, 2, "degraded", gap=0)], "statement")


def test_failures_in_a_row_count_although_the_policy_is_new(history: Histories) -> None:
    history.check([Run(0, 0, "degraded", 2)], "statement")
    of_three: dict[str, Any] = {**_DEGRADED_AT_ONCE, "degraded_open_checks": 2}
    history.publish_for_all(policy={**of_three, "degraded_open_of": 3})
    history.check([Run(0, 0, "degraded")], "statement")


def test_a_location_that_looked_at_the_same_moment_votes(history: Histories) -> None:
    history.publish_for_all(policy=_DEGRADED_AT_ONCE)
    history.check([Run(1, 0, "healthy")], "statement")
    history.check([Run(1, 1, "degraded", gap=0)], "statement")


def test_a_location_that_was_heard_of_late_votes(history: Histories) -> None:
    history.hide(Run(1, 1, "healthy"))
    late = Run(1, 0, "healthy", gap=0, late=2)
    history.check([late, Run(1, 1, "degraded", 3, gap=0)], "statement")


def test_locations_are_still_there_after_somebody_resolved(history: Histories) -> None:
    history.publish_for_all(policy=_DEGRADED_AT_ONCE)
    history.check([Run(1, 0, "degraded")], "statement")
    history.resolve(history.names[1], "service_degraded")
    history.check([Run(1, 1, "degraded", gap=0)], "statement")


def test_flapping_is_over_after_a_silence_whatever_ends_it(history: Histories) -> None:
    flapping = {"flapping_within_seconds": 20, "flapping_changes": 2, "degraded_close_checks": 1}
    history.publish_for_all(policy={**_DEGRADED_AT_ONCE, **flapping})
    history.check([Run(0, 0, status) for status in ("degraded", "healthy", "degraded")], "rows")
    history.check([Run(0, 0, "healthy", gap=40)], "statement")
