"""Random histories of all that decides who is told: no end is lost, and none comes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck as Suppress
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.sql.alert_ledger import Books
from tests.sql.alerting import Alerting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def alerting(database: str) -> Iterator[Alerting]:
    with psycopg.connect(database, autocommit=True, prepare_threshold=2) as connection:
        yield Alerting(connection)


def begun(alerting: Alerting) -> type[Books]:
    """The machine, in this database."""
    return type("Books", (Books,), {"database": alerting})


def keep_books(
    alerting: Alerting, *, histories: int, steps: int, phases: tuple[Phase, ...] = tuple(Phase)
) -> None:
    """Try so many histories, each a new one."""
    run_state_machine_as_test(
        begun(alerting),
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=[Suppress(member) for member in Suppress],
            report_multiple_bugs=False,
        ),
    )


def test_whoever_is_told_of_a_beginning_is_told_its_end_and_nobody_else(alerting: Alerting) -> None:
    # To make a history that fails shorter takes minutes; `make soak` does.
    keep_books(alerting, histories=100, steps=30, phases=(Phase.generate,))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_it_is_so_in_thousands_of_histories(alerting: Alerting) -> None:
    for _ in range(20):
        keep_books(alerting, histories=150, steps=40)
