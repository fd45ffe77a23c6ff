"""What evaluation promises of checks however they are stored, on the oldest and newest PostgreSQL.

The table of transitions has its own file, and so has the model that random histories are held to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

if TYPE_CHECKING:
    from tests.sql.alerting import Alerting

DOWN = ("service_down", "active", None)
RECOVERED = [("service_down", "resolved", "recovery"), ("recovery", "resolved", None)]


# How it opens and closes


def test_so_many_in_a_row_open_and_so_many_close(alerting: Alerting) -> None:
    alerting.service("api", {"down_open_checks": 3, "down_close_checks": 2})
    alerting.check("api", "down", "down", "healthy", "down", "down")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == [DOWN]
    alerting.check("api", "healthy", "down", "healthy")
    assert alerting.events("api") == [DOWN]
    alerting.check("api", "healthy")
    assert alerting.events("api") == RECOVERED


def test_three_of_five_open_and_begin_with_the_first_of_them(alerting: Alerting) -> None:
    alerting.service("api", {"down_open_checks": 3, "down_open_of": 5})
    alerting.check("api", "down", "healthy", "healthy", "down", "healthy", "down")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == [DOWN]
    places = "select array_agg(checked_at order by checked_at) from service_health_checks"
    began = alerting.value("select (details ->> 'started_at')::timestamptz from alert_events")
    assert began == alerting.value(places)[3]


def test_a_duration_opens_with_the_check_that_completes_it(alerting: Alerting) -> None:
    alerting.service("api", {"down_open_seconds": 3, "degraded_open_checks": 9})
    alerting.check("api", "down", "down", "down")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    assert alerting.events("api") == [DOWN]


def test_worse_and_better_are_one_incident_with_one_recovery(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "degraded", "down", "degraded", "healthy")
    assert alerting.events("api") == [
        ("service_degraded", "resolved", "superseded"),
        ("service_down", "resolved", "superseded"),
        ("service_degraded", "resolved", "recovery"),
        ("recovery", "resolved", None),
    ]
    assert alerting.value("select count(distinct details -> 'incident_id') from alert_events") == 1
    recovery = alerting.value("select details from alert_events where alert_type = 'recovery'")
    assert (recovery["downtime_seconds"], recovery["worst_status"]) == (3, "down")
    assert recovery["first_failed"]["status"] == "degraded"


def test_a_recovery_is_dated_by_the_first_healthy_check(alerting: Alerting) -> None:
    alerting.service("api", {"down_open_checks": 2, "down_close_checks": 3})
    alerting.check("api", "down", "down", "healthy", "healthy", "healthy")
    moments = alerting.value(
        "select array_agg(checked_at order by checked_at) from service_health_checks"
    )
    event = "select (details ->> 'started_at')::timestamptz, resolved_at from alert_events"
    for began, ended in alerting.connection.execute(event):
        assert (began, ended) == (moments[0], moments[2])


def test_nothing_opens_where_evaluation_is_off_but_what_is_open_closes(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "down")
    alerting.at_once("api", "web", enabled=False)
    alerting.check("web", "down", "down")
    assert alerting.events("web") == []
    alerting.check("api", "healthy", "down")
    assert alerting.events("api") == RECOVERED


# Flapping


def test_a_service_that_flaps_says_so_once_and_once_that_it_is_over(alerting: Alerting) -> None:
    alerting.channel("ops")
    alerting.at_once("api", flapping_changes=3, flapping_within_seconds=100)
    kinds = []
    for _ in range(4):
        alerting.check("api", "down", "healthy")
        kinds += [each.kind for each in alerting.deliver("ops")]
    assert len(alerting.events("api")) == 8
    for _ in range(101):
        alerting.moment()
    alerting.check("api", "healthy")
    kinds += [each.kind for each in alerting.deliver("ops")]
    assert kinds[-1] == "flapping_ended"
    assert kinds.count("flapping_started") == kinds.count("flapping_ended") == 1
    assert alerting.value("select is_steady from service_states")


def test_a_change_after_a_long_rest_is_no_flapping(alerting: Alerting) -> None:
    alerting.channel("ops")
    alerting.at_once("api", flapping_changes=3, flapping_within_seconds=100)
    alerting.check("api", "down", "healthy", "down")
    alerting.deliver("ops")
    for _ in range(101):
        alerting.moment()
    alerting.check("api", "healthy")
    assert [each.kind for each in alerting.deliver("ops")] == ["flapping_ended", "resolved"]


# Order, and what is looked at


def test_steady_healthy_checks_write_nothing_but_themselves(alerting: Alerting) -> None:
    alerting.check("api", "healthy", "healthy")
    assert alerting.value("select count(*) from service_states") == 0
    alerting.at_once("web")
    alerting.check("web", "down", "healthy")
    version = "select xmin::text from service_states"
    before = alerting.value(version)
    alerting.check("web", "healthy", "healthy")
    assert alerting.value(version) == before


def test_a_check_that_arrives_late_is_only_stored(alerting: Alerting) -> None:
    alerting.at_once("api", "web")
    late = alerting.moment()
    alerting.check("api", "healthy")
    alerting.check("web", "down")
    for service, status in (("api", "down"), ("web", "healthy")):
        alerting.connection.execute(
            "insert into service_health_checks (service_name, status, checked_at)"
            " values (%s, %s, %s)",
            [service, status, late],
        )
    assert alerting.events("api") == []
    assert alerting.events("web") == [DOWN]


def test_one_statement_is_evaluated_in_the_order_of_its_times(alerting: Alerting) -> None:
    alerting.at_once("api")
    moments = [alerting.moment() for _ in range(4)]
    statuses = ["down", "healthy", "down", "healthy"]
    rows = list(zip(moments, statuses, strict=True))
    alerting.connection.cursor().execute(
        "insert into service_health_checks (service_name, checked_at, status)"
        " values ('api', %s, %s), ('api', %s, %s), ('api', %s, %s), ('api', %s, %s)",
        [value for row in reversed(rows) for value in row],
    )
    assert alerting.events("api") == RECOVERED * 2


def test_checks_of_one_moment_all_count(alerting: Alerting) -> None:
    moment = alerting.moment()
    for number in (3, 1, 2):
        alerting.connection.execute(
            "insert into service_health_checks (id, service_name, status, checked_at)"
            " values (%s, 'api', 'down', %s)",
            [UUID(int=number), moment],
        )
    assert alerting.events("api") == [DOWN]


def test_statements_of_one_transaction_count_and_go_with_it(alerting: Alerting) -> None:
    for kept in (False, True):
        with alerting.connection.transaction(force_rollback=not kept):
            for _ in range(3):
                alerting.connection.execute(
                    "insert into service_health_checks (service_name, status)"
                    " values ('api', 'down')"
                )
            assert alerting.events("api") == [DOWN]
        assert bool(alerting.events("api")) == kept


def test_a_row_that_is_repeated_counts_once(alerting: Alerting) -> None:
    moment = alerting.moment()
    for _ in range(5):
        alerting.connection.execute(
            "insert into service_health_checks (id, service_name, status, checked_at)"
            " values (%s, 'api', 'down', %s) on conflict do nothing",
            [UUID(int=1), moment],
        )
    assert alerting.events("api") == []


def test_copied_rows_count(alerting: Alerting) -> None:
    copy = "copy service_health_checks (service_name, status, checked_at) from stdin"
    with alerting.connection.cursor().copy(copy) as rows:
        for _ in range(3):
            rows.write_row(("api", "down", alerting.moment()))
    assert alerting.events("api") == [DOWN]


def test_changing_and_deleting_rows_decides_nothing(alerting: Alerting) -> None:
    alerting.at_once("api")
    alerting.check("api", "healthy")
    alerting.connection.execute("update service_health_checks set status = 'down'")
    assert alerting.events("api") == []
    alerting.check("api", "down")
    alerting.connection.execute("delete from service_health_checks")
    assert alerting.events("api") == [DOWN]
    alerting.check("api", "healthy")
    assert alerting.events("api") == RECOVERED


def test_rows_without_a_time_or_from_the_future_blind_nobody(alerting: Alerting) -> None:
    """Such as a table may have had before it was adopted."""
    alerting.at_once("api")
    alerting.check("api", "down", "healthy")
    events = alerting.events("api")
    with alerting.connection.transaction():
        for rule in ("times_present", "checked_at_not_in_future"):
            alerting.connection.execute(
                "alter table service_health_checks drop constraint"
                f" service_health_checks_{rule}".encode()
            )
        alerting.connection.execute("alter table service_health_checks disable trigger user")
        alerting.connection.execute(
            "insert into service_health_checks (service_name, status, checked_at)"
            " values ('api', 'down', null), ('api', 'down', now() + interval '70 years'),"
            " ('api', 'down', 'infinity'), ('api', 'down', '-infinity')"
        )
        alerting.connection.execute("alter table service_health_checks enable trigger user")
    alerting.check("api", "down")
    assert alerting.events("api") == [*events, DOWN]


# Writers at once


def test_a_healthy_check_that_raced_with_a_failing_one_is_caught_up(
    alerting: Alerting, url: str
) -> None:
    """Neither transaction sees the other's check."""
    alerting.at_once("api")
    early, late = alerting.moment(), alerting.moment()
    insert = (
        "insert into service_health_checks (service_name, status, checked_at)"
        " values ('api', %s, %s)"
    )
    with psycopg.connect(url) as other:
        other.execute(insert, ["down", early])
        alerting.connection.execute(insert, ["healthy", late])
        other.commit()
    assert alerting.events("api") == [DOWN]
    assert alerting.value("select evaluate_health_checks() ->> 'evaluated'") == "1"
    assert alerting.events("api") == RECOVERED
    assert alerting.value("select evaluate_health_checks() ->> 'evaluated'") == "0"


def test_catching_up_waits_for_nobody(alerting: Alerting, url: str) -> None:
    alerting.at_once("api", "web")
    alerting.check("api", "down")
    with psycopg.connect(url) as other:
        other.execute("select from service_states for update")
        alerting.connection.execute("set lock_timeout = '5s'")
        assert alerting.value("select evaluate_health_checks() ->> 'evaluated'") == "0"
        alerting.check("web", "down")
        assert alerting.events("web") == [DOWN]


def test_whoever_may_only_insert_checks_sets_off_evaluation(alerting: Alerting) -> None:
    database = "select oid from pg_database where datname = current_database()"
    role = f"only_inserts_{alerting.value(database)}"
    run = alerting.connection.execute
    run(f"create role {role}".encode())
    try:
        run(f"grant insert on service_health_checks to {role}".encode())
        run(f"create policy writes on service_health_checks to {role} with check (true)".encode())
        run(f"set role {role}".encode())
        run(
            "insert into service_health_checks (service_name, status)"
            " select 'api', 'down' from generate_series(1, 3)"
        )
        run("reset role")
        assert alerting.events("api") == [DOWN]
    finally:
        run("reset role")
        run(f"drop owned by {role}".encode())
        run(f"drop role {role}".encode())
