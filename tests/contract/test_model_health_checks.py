"""Every verb of HealthCheckModel keeps its promise over every door, in both colours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pulsebase import HealthCheckModel, InvalidValueError, NewHealthCheck, StatusCounts
from pulsebase.models.health_check import CreatedMany, HealthCheck, LatestHealthCheck

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.contract.callers import Caller

DETAILS = {
    "http_status": 503,
    "phases_ms": {"dns": 1.25, "connect": [1, 2, None, True]},
    "text": '"quotes", \\ and %s, Ünïcode 😀, \n\t\x01',
    "": {},
}


def _ago(**parts: float) -> datetime:
    return datetime.now(UTC) - timedelta(**parts)


def _checks(service: str, count: int, **fields: Any) -> Iterator[NewHealthCheck]:
    start = _ago(hours=20)
    for number in range(count):
        moment = start + timedelta(seconds=number)
        values = {"status": "healthy", "latency_ms": number, "checked_at": moment, **fields}
        yield NewHealthCheck(service_name=service, **values)


def test_a_check_is_stored_with_every_field(call: Caller, service: str) -> None:
    given = uuid4()
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    before = datetime.now(UTC)
    check = call(
        HealthCheckModel.create,
        service_name=service,
        status="degraded",
        latency_ms=2147483647,
        checked_at=moment,
        probe_details=DETAILS,
        id=given,
    )
    assert check == HealthCheck(
        id=given,
        service_name=service,
        status="degraded",
        latency_ms=2147483647,
        checked_at=moment,
        probe_details=DETAILS,
        created_at=check.created_at,
    )
    assert abs(check.created_at - before) < timedelta(minutes=1)
    assert check.checked_at.tzinfo is UTC
    assert call(HealthCheckModel.find_by_id, given) == check


def test_what_is_left_out_has_its_default(call: Caller, service: str) -> None:
    check = call(HealthCheckModel.create, service_name=service, status="healthy")
    assert check.id.version == 7
    assert (check.latency_ms, check.probe_details) == (None, None)
    assert check.checked_at == check.created_at


def test_a_check_that_is_stored_already_is_returned_as_it_is(call: Caller, service: str) -> None:
    first = call(HealthCheckModel.create, service_name=service, status="healthy", latency_ms=1)
    again = call(HealthCheckModel.create, service_name=service, status="down", id=first.id)
    assert again == first
    assert call(HealthCheckModel.count_by_status, service_name=service).total == 1


@pytest.mark.parametrize("count", [0, 1, 2500])
def test_many_checks_are_stored_once_however_often_they_are_sent(
    call: Caller, service: str, count: int
) -> None:
    checks = list(_checks(service, count, probe_details={"n": 1}))
    assert call(HealthCheckModel.create_many, checks=checks) == CreatedMany(count, 0)
    assert call(HealthCheckModel.create_many, checks=iter(checks)) == CreatedMany(0, count)
    assert call(HealthCheckModel.count_by_status, service_name=service).healthy == count


def test_a_repeat_stores_what_was_not_there(call: Caller, service: str) -> None:
    checks = list(_checks(service, 10))
    call(HealthCheckModel.create_many, checks=checks[:4])
    assert call(HealthCheckModel.create_many, checks=checks) == CreatedMany(
        inserted=6, duplicates=4
    )
    assert call(HealthCheckModel.create_many, checks=checks[:2] * 3) == CreatedMany(0, 6)


def test_huge_details_are_sent_in_bounded_batches(call: Caller, service: str) -> None:
    """65 checks of 64 KiB are more than four requests of 1 MB."""
    checks = list(_checks(service, 65, probe_details={"text": "é" * 32_000}))
    assert call(HealthCheckModel.create_many, checks=checks) == CreatedMany(65, 0)
    stored = call(HealthCheckModel.find_by_id, checks[-1].id)
    assert stored.probe_details == checks[-1].probe_details


def test_each_stored_check_equals_the_one_that_was_given(call: Caller, service: str) -> None:
    given = [
        NewHealthCheck(service_name=service, status="down", probe_details=DETAILS),
        NewHealthCheck(
            service_name=service, status="healthy", latency_ms=0, checked_at=_ago(days=1)
        ),
    ]
    call(HealthCheckModel.create_many, checks=given)
    for check in given:
        stored = call(HealthCheckModel.find_by_id, str(check.id))
        for name in ("id", "service_name", "status", "latency_ms", "checked_at", "probe_details"):
            assert getattr(stored, name) == getattr(check, name)


@pytest.mark.parametrize("thing", [{"service_name": "x"}, None, "x"])
def test_only_new_health_checks_are_stored(call_some: Caller, thing: object) -> None:
    with pytest.raises(InvalidValueError, match="checks must be"):
        call_some(HealthCheckModel.create_many, checks=[thing])


def test_an_unknown_id_is_none(call: Caller) -> None:
    assert call(HealthCheckModel.find_by_id, uuid4()) is None
    assert call(HealthCheckModel.find_by_id, "00000000-0000-0000-0000-000000000000") is None


def test_a_service_is_read_newest_first(call: Caller, service: str) -> None:
    checks = list(_checks(service, 5))
    call(HealthCheckModel.create_many, checks=[checks[number] for number in (2, 0, 4, 1, 3)])
    found = call(HealthCheckModel.find_by_service, service)
    assert [check.id for check in found] == [check.id for check in reversed(checks)]
    assert call(HealthCheckModel.find_by_service, f"{service}-other") == []


def test_a_range_includes_its_beginning_and_not_its_end(call: Caller, service: str) -> None:
    checks = list(_checks(service, 5))
    call(HealthCheckModel.create_many, checks=checks)
    bounds = {"since": checks[1].checked_at, "until": checks[3].checked_at}
    found = call(HealthCheckModel.find_by_service, service, **bounds)
    assert [check.latency_ms for check in found] == [2, 1]
    assert call(HealthCheckModel.count_by_status, service_name=service, **bounds).total == 2


def test_a_status_and_a_limit_narrow_the_answer(call: Caller, service: str) -> None:
    call(HealthCheckModel.create_many, checks=_checks(service, 4))
    call(HealthCheckModel.create_many, checks=_checks(service, 3, status="down"))
    found = call(HealthCheckModel.find_by_service, service, status="down")
    assert {check.status for check in found} == {"down"}
    assert len(found) == 3
    assert len(call(HealthCheckModel.find_by_service, service, limit=6)) == 6


def test_pages_meet_even_where_times_are_equal(call: Caller, service: str) -> None:
    moment = _ago(hours=1)
    call(HealthCheckModel.create_many, checks=_checks(service, 7, checked_at=moment))
    pages: list[list[HealthCheck]] = [call(HealthCheckModel.find_by_service, service, limit=3)]
    while pages[-1]:
        last = pages[-1][-1]
        pages.append(call(HealthCheckModel.find_by_service, service, limit=3, before=last))
    assert [len(page) for page in pages] == [3, 3, 1, 0]
    assert len({check.id for page in pages for check in page}) == 7


def test_iterating_crosses_the_row_cap(call: Caller, service: str) -> None:
    checks = list(_checks(service, 2500))
    call(HealthCheckModel.create_many, checks=checks)
    found = call(HealthCheckModel.iterate_by_service, service)
    assert [check.latency_ms for check in found] == list(range(2499, -1, -1))
    since = checks[1000].checked_at
    assert len(call(HealthCheckModel.iterate_by_service, service, since=since)) == 1500
    assert call(HealthCheckModel.iterate_by_service, service, status="down") == []


def test_a_quiet_service_is_still_in_the_latest(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    """The row is as another program would have written it three weeks ago, by plain SQL."""
    plain_sql.execute(
        "insert into service_health_checks (service_name, status, checked_at, created_at)"
        " select %s, 'healthy', moment, moment"
        " from (values (now() - interval '3 weeks'), (now() - interval '4 weeks')) as t (moment)",
        [service],
    )
    (latest,) = call(HealthCheckModel.find_latest, service_name=service)
    assert latest.is_stale
    assert latest.age_seconds == pytest.approx(21 * 24 * 3600, abs=3600)
    everything = call(HealthCheckModel.find_latest)
    assert latest.id in {check.id for check in everything}


def test_the_latest_is_the_last_one_observed_not_the_last_to_arrive(
    call: Caller, service: str
) -> None:
    new = call(
        HealthCheckModel.create, service_name=service, status="down", checked_at=_ago(seconds=30)
    )
    call(HealthCheckModel.create, service_name=service, status="healthy", checked_at=_ago(hours=1))
    (latest,) = call(HealthCheckModel.find_latest, service_name=service)
    assert isinstance(latest, LatestHealthCheck)
    assert (latest.id, latest.status) == (new.id, "down")


def test_a_check_is_stale_beyond_the_given_age(call: Caller, service: str) -> None:
    call(
        HealthCheckModel.create, service_name=service, status="healthy", checked_at=_ago(minutes=2)
    )

    def is_stale(**age: float) -> bool:
        latest: list[LatestHealthCheck] = call(
            HealthCheckModel.find_latest, service_name=service, stale_after=timedelta(**age)
        )
        return latest[0].is_stale

    assert not is_stale(minutes=5)
    assert is_stale(minutes=1)
    assert is_stale(milliseconds=1)


def test_the_latest_of_an_unknown_service_is_nothing(call: Caller, service: str) -> None:
    assert call(HealthCheckModel.find_latest, service_name=service) == []


def test_the_latest_cross_the_row_cap(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute(
        "insert into service_health_checks (service_name, status)"
        " select %s || '-' || number, 'healthy' from generate_series(1, 2050) as t (number)",
        [service],
    )
    try:
        latest = call(HealthCheckModel.find_latest)
        names = [check.service_name for check in latest]
        assert sum(name.startswith(service) for name in names) == 2050
        assert len(set(names)) == len(names)
        assert names == sorted(names)
    finally:
        plain_sql.execute(
            "delete from service_health_checks where service_name like %s", [f"{service}-%"]
        )


def test_checks_are_counted_by_status(call: Caller, service: str) -> None:
    for status, count in (("healthy", 3), ("degraded", 2), ("down", 1)):
        call(HealthCheckModel.create_many, checks=_checks(service, count, status=status))
    counts = call(HealthCheckModel.count_by_status, service_name=service)
    assert counts == StatusCounts(healthy=3, degraded=2, down=1)
    assert counts.total == 6
    recent = call(HealthCheckModel.count_by_status, service_name=service, since=_ago(hours=1))
    assert recent == StatusCounts(0, 0, 0)


def test_all_services_are_counted_together(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    until = datetime(2001, 1, 1, tzinfo=UTC)
    before = call(HealthCheckModel.count_by_status, until=until)
    plain_sql.execute(
        "insert into service_health_checks (service_name, status, checked_at, created_at)"
        " select %s || number, 'down', moment, moment"
        " from generate_series(1, 3) as t (number),"
        " (values ('2000-06-01Z'::timestamptz)) as m (moment)",
        [service],
    )
    after = call(HealthCheckModel.count_by_status, until=until)
    assert (after.down - before.down, after.healthy - before.healthy) == (3, 0)
    plain_sql.execute("delete from service_health_checks where checked_at < '2001-01-01Z'")


def test_only_what_arrived_long_ago_is_deleted(
    call: Caller, service: str, plain_sql: psycopg.Connection[Any]
) -> None:
    plain_sql.execute(
        "delete from service_health_checks where created_at < now() - interval '1 day'"
    )
    plain_sql.execute(
        "insert into service_health_checks (service_name, status, checked_at, created_at)"
        " select %s, 'healthy', moment, moment from generate_series(1, 2050) as t (number),"
        " lateral (select now() - interval '40 days' - number * interval '1 second') as m (moment)",
        [service],
    )
    call(HealthCheckModel.create, service_name=service, status="down", checked_at=_ago(days=60))
    assert call(HealthCheckModel.delete_older_than, timedelta(days=30)) == 2050
    assert call(HealthCheckModel.delete_older_than, timedelta(days=30)) == 0
    left = call(HealthCheckModel.find_by_service, service)
    assert [check.status for check in left] == ["down"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("service_name", ""),
        ("status", "unknown"),
        ("latency_ms", -1),
        ("latency_ms", 2147483648),
        ("checked_at", datetime.now(UTC) + timedelta(days=2)),
        ("checked_at", datetime(2026, 1, 1)),  # noqa: DTZ001 -- naive on purpose
        ("probe_details", []),
        ("id", "not an id"),
    ],
)
def test_a_value_out_of_bounds_is_refused_before_anything_is_sent(
    call_some: Caller, service: str, field: str, value: object
) -> None:
    values = {"service_name": service, "status": "healthy", field: value}
    with pytest.raises(InvalidValueError) as caught:
        call_some(HealthCheckModel.create, **values)
    assert caught.value.field == field
    with pytest.raises(InvalidValueError):
        NewHealthCheck(**values)  # type: ignore[arg-type]  # that is the question
    assert call_some(HealthCheckModel.find_by_service, service) == []


def test_ids_are_made_in_the_order_of_time() -> None:
    ids = [check.id for check in _checks("x", 100)]
    assert {value.version for value in ids} == {7}
    assert len(set(ids)) == 100
