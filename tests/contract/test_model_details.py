"""Details of any shape: what the models accept, the database stores, and it reads back equal.

test_model_hostile.py asks whether anything but a typed error can happen; here the bound is tighter:
what has passed the models' own checks must never be refused by the database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck as Suppress
from hypothesis import given, settings
from hypothesis import strategies as st

import pulsebase
from pulsebase import AlertEventModel, HealthCheckModel, InvalidValueError, NewHealthCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase import Connection
    from tests.contract.callers import Door

_AT_ONCE = 100

# Where floats and integers change their spelling: 15 to 20 digits, exponents, the ends of 64 bits.
_EDGES = [2.0**power for power in (52, 53, 54, 62, 63, 64)] + [
    1e15,
    1e16,
    1e17,
    1e18,
    1e19,
    1e22,
    1e23,
]
_FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(1e15, 2e19),
    st.sampled_from([sign * edge for edge in _EDGES for sign in (1, -1)]),
)
_INTEGERS = st.one_of(st.integers(), st.integers(-(2**63), 2**63), st.integers(2**53, 2**64))
_TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Co", "Cn"]), max_size=8),
    st.text('"\\/{}[],:eE+-.0123456789', max_size=12),
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _FLOATS, _INTEGERS, _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(_TEXTS, inner, max_size=5)
    ),
    max_leaves=15,
)
_DETAILS = st.dictionaries(_TEXTS, _VALUES, max_size=5)


@pytest.fixture(params=["direct", "postgrest"])
def connection(request: pytest.FixtureRequest) -> Iterator[Connection]:
    """The doors that promise exact numbers; `@supabase/lite` reads them as JavaScript does."""
    door: Door = request.getfixturevalue(f"{request.param}_door")
    with pulsebase.connect(door.url, key=door.key) as opened:
        yield opened


def _try(connection: Connection, examples: int) -> int:
    """Store so many details, a hundred in a request; how many were accepted and stored."""
    service = f"details-{uuid4().hex}"
    waiting: list[NewHealthCheck] = []
    stored = 0

    def store() -> None:
        nonlocal stored
        assert HealthCheckModel.create_many(connection, checks=waiting).inserted == len(waiting)
        found = HealthCheckModel.find_by_service(connection, service, limit=len(waiting) or 1)
        assert {row.id: row.probe_details for row in found} == {
            new.id: new.probe_details for new in waiting
        }
        stored += len(waiting)
        waiting.clear()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[Suppress.too_slow, Suppress.data_too_large],
    )
    @given(_DETAILS)
    def check(details: dict[str, Any]) -> None:
        if new := _accepted(service, details):
            waiting.append(new)
        if len(waiting) == _AT_ONCE:
            store()

    check()
    store()
    return stored


def _accepted(service: str, details: dict[str, Any]) -> NewHealthCheck | None:
    try:
        return NewHealthCheck(service_name=service, status="healthy", probe_details=details)
    except InvalidValueError:
        return None


def test_accepted_details_are_stored_and_read_back_equal(connection: Connection) -> None:
    """Some hundreds; the soak tries as many thousands."""
    assert _try(connection, 800) > 400


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_tens_of_thousands_of_accepted_details(connection: Connection) -> None:
    """Enough to meet every edge of every number's spelling."""
    assert _try(connection, 34_000) > 20_000


@pytest.mark.parametrize(
    "details",
    [
        {"text": "x" * 65_520},
        {"text": "é" * 32_760},
        {"numbers": [1e300] * 210},
        {"numbers": [5e-324] * 190},
        {"numbers": [1.2345678901234568e18] * 2700},
        {"controls": "\x01" * 10_900},
        {"nested": [[[[[[[[[[]]]]]]]]]]},
        {f"key {number}": None for number in range(3000)},
    ],
    ids=lambda details: next(iter(details)),
)
def test_details_may_be_as_large_as_promised(
    connection: Connection, details: dict[str, Any]
) -> None:
    event = AlertEventModel.create(
        connection, service_name="large", alert_type="recovery", status="resolved", details=details
    )
    assert event.details == details


def test_details_may_be_as_deep_as_promised(connection: Connection) -> None:
    details: dict[str, Any] = {}
    for _ in range(99):
        details = {"a": details}
    check = HealthCheckModel.create(
        connection, service_name="deep", status="healthy", probe_details=details
    )
    assert check.probe_details == details
