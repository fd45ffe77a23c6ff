"""Hostile values: each is stored as it is, or refused with a typed error, and nothing else happens.

The suite tries a few thousand; `make soak` tries a hundred thousand.
"""

from __future__ import annotations

import math
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck as Suppress
from hypothesis import given, settings
from hypothesis import strategies as st

from pulsebase import (
    HealthCheck,
    HealthCheckModel,
    InvalidValueError,
    NewHealthCheck,
    PulsebaseError,
    connect,
)
from pulsebase.connection import Connection, Many

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.connection import Steps
    from tests.support.postgrest_server import PostgrestServer

_ROWS_AT_ONCE = 100

# Everything that Unicode has, the halves of pairs and NUL included, and shapes that people forget.
_TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "\x00",
            "\\u0000",
            "\ud83d",
            "\U0001f600",
            "\u202eesrever",
            "' or 1=1 --",
            "$1",
            "%s",
            "{}",
            "null",
            "é",
            "e\u0301",
            "x" * 100,
            "x" * 101,
            "\x7f",
            "\x85",
            "\ufeff",
            "\uffff",
            "a\nb",
        ]
    ),
    st.just("y" * 2_000_000),
)
_NUMBERS = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from(
        [
            0,
            -1,
            -0.0,
            1e23,
            1e308,
            5e-324,
            sys.float_info.max,
            math.nan,
            math.inf,
            2**31,
            2**53 + 1,
            2**63 - 1,
            2**63,
            -(2**63),
            -(2**63) - 1,
            10**400,
            True,
        ]
    ),
)
_LEAVES = st.one_of(st.none(), st.booleans(), _NUMBERS, _TEXTS)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(_TEXTS, inner, max_size=4), st.tuples(inner)
    ),
    max_leaves=12,
)
_ZONES = st.one_of(
    st.none(),
    st.just(UTC),
    st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone),
)
_ROWS = st.fixed_dictionaries(
    {
        "service_name": st.one_of(_TEXTS, st.just("svc"), st.none(), st.integers()),
        "status": st.one_of(st.sampled_from(["healthy", "degraded", "down", "up", ""]), _TEXTS),
    },
    optional={
        "latency_ms": st.one_of(_NUMBERS, st.integers(0, 5000), _TEXTS),
        "checked_at": st.one_of(
            st.datetimes(timezones=_ZONES),
            st.just(datetime.now(UTC)),
            st.none(),
            _TEXTS,
        ),
        "probe_details": st.one_of(
            st.none(), st.dictionaries(_TEXTS, _JSON, max_size=4), _JSON, st.just(_ROWS_AT_ONCE)
        ),
    },
)


@pytest.fixture(scope="module")
def postgrest_door(postgrest: PostgrestServer) -> Iterator[Connection]:
    """The session's PostgREST."""
    with connect(postgrest.url, key=postgrest.service_key) as connection:
        yield connection


@pytest.fixture(scope="module")
def direct_door(http_database: str) -> Iterator[Connection]:
    """The same database, directly."""
    with connect(http_database) as connection:
        yield connection


def examples(count: int) -> settings:
    """So many lists of rows, without hypothesis's own clock: servers take their time."""
    quiet = [Suppress.too_slow, Suppress.data_too_large, Suppress.large_base_example]
    return settings(max_examples=count, deadline=None, suppress_health_check=quiet, database=None)


@pytest.mark.parametrize("door", ["direct_door", "postgrest_door"])
def test_a_value_is_stored_as_it_is_or_refused(door: str, request: pytest.FixtureRequest) -> None:
    """A few thousand hostile rows."""
    hold_to_the_promise(request.getfixturevalue(door), count=40)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("door", ["direct_door", "postgrest_door"])
def test_a_hundred_thousand_values(door: str, request: pytest.FixtureRequest) -> None:
    """50,000 hostile rows through each door."""
    tried = 0
    # Many short runs: hypothesis remembers every choice of a run, gigabytes for a long one.
    while tried < 50_000:
        tried += hold_to_the_promise(request.getfixturevalue(door), count=40)


def hold_to_the_promise(connection: Connection, *, count: int) -> int:
    """Try so many lists of rows; how many rows that were."""
    tried = 0

    @examples(count)
    @given(st.lists(_ROWS, min_size=_ROWS_AT_ONCE // 2, max_size=_ROWS_AT_ONCE))
    def check(rows: list[dict[str, Any]]) -> None:
        nonlocal tried
        tried += len(rows)
        accepted = [new for row in rows if (new := accepted_by_the_model(row))]
        stored = [new for new in accepted if is_stored(connection, new)]
        found = connection.run(find_all(stored))
        for new, row in zip(stored, found, strict=True):
            assert row is not None
            assert as_given(row) == (
                new.service_name,
                new.status,
                new.latency_ms,
                new.checked_at,
                new.probe_details,
            )

    check()
    return tried


def accepted_by_the_model(row: dict[str, Any]) -> NewHealthCheck | None:
    """The row as a value, or None when the model refuses it with its own error."""
    try:
        return NewHealthCheck(**row)
    except InvalidValueError as error:
        told = str(error)
    assert told.isprintable()
    assert len(told) < 500
    return None


def is_stored(connection: Connection, new: NewHealthCheck) -> bool:
    """Whether the database took it; what it does not take, it refuses with a typed error."""
    try:
        return HealthCheckModel.create_many(connection, checks=[new]).inserted == 1
    except PulsebaseError:
        return False


def find_all(checks: list[NewHealthCheck]) -> Steps[list[HealthCheck | None]]:
    """Every one of the checks, by its id."""
    found: list[HealthCheck | None] = yield Many(
        HealthCheckModel.find_by_id.call(check.id) for check in checks
    )
    return found


def as_given(row: HealthCheck) -> tuple[object, ...]:
    """The fields that came from the caller."""
    return (row.service_name, row.status, row.latency_ms, row.checked_at, row.probe_details)
