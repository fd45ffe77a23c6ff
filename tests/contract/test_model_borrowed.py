"""An application's own connection as the door: what we do shares its transaction's fate."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from psycopg import rows
from psycopg.pq import TransactionStatus

import pulsebase
from pulsebase import (
    AlertEventModel,
    ConfigurationError,
    DatabaseError,
    HealthCheckModel,
    InvalidDataError,
    NewHealthCheck,
    NotFoundError,
    NotMigratedError,
    UnavailableError,
)
from pulsebase.connection import Call
from pulsebase.models.health_check import CreatedMany
from pulsebase.transports.request import Request
from pulsebase.verbs import operation
from tests.contract.applications import APPLICATIONS, Application, Django
from tests.contract.callers import awaited

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.lite_server import LiteServer


supabase_s_own_warnings = pytest.mark.filterwarnings("ignore:The '.*' parameter:DeprecationWarning")


@operation
def refuse() -> Call[Any]:
    """A call that the database refuses."""
    return Call(Request("create_health_check", {"service_name": "x", "status": "unknown"}), dict)


@operation
def missing() -> Call[Any]:
    """A call of a function that is not there."""
    return Call(Request("function_that_is_not_there"), dict)


@pytest.fixture(scope="session", autouse=True)
def _django_settings() -> None:
    import django  # type: ignore[import-untyped]  # no hints
    from django.conf import settings  # type: ignore[import-untyped]  # no hints

    if not settings.configured:
        settings.configure(USE_TZ=True, DEBUG=False)
        django.setup()


@pytest.fixture(params=APPLICATIONS)
def application(request: pytest.FixtureRequest, http_database: str) -> Iterator[Application]:
    """A program with an open connection."""
    opened = APPLICATIONS[request.param](http_database)
    yield opened
    opened.close()


def _stored(url: str, service: str) -> int:
    with pulsebase.connect(url) as connection:
        return HealthCheckModel.count_by_status(connection, service_name=service).total


def _many(service: str, count: int) -> list[NewHealthCheck]:
    return [NewHealthCheck(service_name=service, status="down") for _ in range(count)]


def test_a_check_appears_with_the_commit(
    application: Application, http_database: str, service: str
) -> None:
    check = application.call(HealthCheckModel.create, service_name=service, status="healthy")
    assert application.call(HealthCheckModel.find_by_id, check.id) == check
    assert _stored(http_database, service) == 0
    application.commit()
    assert _stored(http_database, service) == 1


def test_a_check_vanishes_with_the_rollback(
    application: Application, http_database: str, service: str
) -> None:
    application.call(HealthCheckModel.create, service_name=service, status="healthy")
    application.rollback()
    assert application.call(HealthCheckModel.find_by_service, service) == []
    assert _stored(http_database, service) == 0


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_many_checks_share_the_transaction_s_fate(
    application: Application, http_database: str, service: str, first: str
) -> None:
    """Also when create_many is the first thing that happens on the connection."""
    if first == "theirs":
        application.execute("select 1")
    done = application.call(HealthCheckModel.create_many, checks=_many(service, 2500))
    assert done == CreatedMany(2500, 0)
    assert _stored(http_database, service) == 0
    application.rollback()
    assert _stored(http_database, service) == 0
    application.call(HealthCheckModel.create_many, checks=_many(service, 1200))
    application.commit()
    assert _stored(http_database, service) == 1200


def test_every_kind_of_verb_works(application: Application, service: str) -> None:
    application.call(HealthCheckModel.create_many, checks=_many(service, 1100))
    found = application.call(HealthCheckModel.iterate_by_service, service)
    assert len(list(found)) == 1100
    assert len(application.call(HealthCheckModel.find_latest, service_name=service)) == 1
    event = application.call(
        AlertEventModel.create,
        service_name=f"{service} by hand",
        alert_type="service_down",
        details={"percent": "100% %s %(x)s :name ?", "quote": "'\"\\"},
    )
    assert application.call(AlertEventModel.resolve, event.id).details == event.details


@pytest.mark.parametrize(("verb", "kind"), [(refuse, DatabaseError), (missing, NotMigratedError)])
def test_an_error_is_typed_and_leaves_the_transaction_to_its_owner(
    application: Application, http_database: str, service: str, verb: Any, kind: type[Exception]
) -> None:
    application.call(HealthCheckModel.create, service_name=service, status="healthy")
    with pytest.raises(kind):
        application.call(verb)
    assert _stored(http_database, service) == 0
    application.rollback()
    assert application.execute("select 1") == 1
    application.call(HealthCheckModel.create, service_name=service, status="healthy")
    application.commit()
    assert _stored(http_database, service) == 1


def test_an_error_of_ours_does_not_touch_the_transaction(
    application: Application, http_database: str, service: str
) -> None:
    application.call(HealthCheckModel.create, service_name=service, status="healthy")
    with pytest.raises(NotFoundError):
        application.call(AlertEventModel.resolve, uuid4())
    application.commit()
    assert _stored(http_database, service) == 1


def test_a_lost_connection_is_told_as_such(application: Application, http_database: str) -> None:
    session = application.execute("select pg_backend_pid()")
    with psycopg.connect(http_database, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", [session])
    with pytest.raises(UnavailableError):
        application.call(HealthCheckModel.find_by_id, uuid4())


def test_a_failing_batch_leaves_the_savepoint_usable(http_database: str, service: str) -> None:
    with psycopg.connect(http_database) as connection:
        HealthCheckModel.create(connection, service_name=service, status="healthy")
        with pytest.raises(DatabaseError), connection.transaction():
            refuse(connection)
        assert connection.info.transaction_status is TransactionStatus.INTRANS
        HealthCheckModel.create(connection, service_name=service, status="healthy")
    assert _stored(http_database, service) == 2


def test_a_failing_iterable_rolls_back_only_its_own_batch(http_database: str, service: str) -> None:
    def checks() -> Iterator[NewHealthCheck]:
        yield from _many(service, 1500)
        raise ZeroDivisionError

    with psycopg.connect(http_database) as connection:
        HealthCheckModel.create(connection, service_name=service, status="healthy")
        with pytest.raises(ZeroDivisionError):
            HealthCheckModel.create_many(connection, checks=checks())
        assert connection.info.transaction_status is TransactionStatus.INTRANS
    assert _stored(http_database, service) == 1


@pytest.mark.parametrize("autocommit", [True, False])
@pytest.mark.parametrize(
    "factory", [rows.tuple_row, rows.dict_row, rows.namedtuple_row, rows.scalar_row]
)
def test_the_connection_s_row_factory_does_not_matter(
    http_database: str, service: str, factory: Any, autocommit: bool
) -> None:
    with psycopg.connect(http_database, row_factory=factory, autocommit=autocommit) as connection:
        check = HealthCheckModel.create(connection, service_name=service, status="healthy")
        HealthCheckModel.create_many(connection, checks=_many(service, 2))
        assert HealthCheckModel.find_by_id(connection, check.id) == check


@pytest.mark.parametrize("cursor", [psycopg.ClientCursor, psycopg.RawCursor])
def test_the_connection_s_cursor_class_does_not_matter(
    http_database: str, service: str, cursor: Any
) -> None:
    with psycopg.connect(http_database, cursor_factory=cursor) as connection:
        check = HealthCheckModel.create(connection, service_name=service, status="healthy")
        assert HealthCheckModel.find_by_id(connection, check.id) == check


def test_text_that_the_connection_s_encoding_lacks_is_refused(
    http_database: str, service: str
) -> None:
    with psycopg.connect(http_database, client_encoding="latin1") as connection:
        HealthCheckModel.create(connection, service_name=f"{service} é", status="healthy")
        with pytest.raises(InvalidDataError, match="client_encoding"):
            HealthCheckModel.create(connection, service_name=f"{service} 😀", status="healthy")
        (check,) = HealthCheckModel.find_by_service(connection, f"{service} é")
        assert check.service_name == f"{service} é"


def test_times_do_not_depend_on_the_session_s_time_zone(http_database: str, service: str) -> None:
    with psycopg.connect(http_database, options="-c timezone=Asia/Kathmandu") as connection:
        check = HealthCheckModel.create(connection, service_name=service, status="healthy")
        connection.commit()
    with pulsebase.connect(http_database) as ours:
        assert HealthCheckModel.find_by_id(ours, check.id) == check


def test_using_makes_a_connection_once(http_database: str, service: str) -> None:
    with psycopg.connect(http_database) as connection:
        with pulsebase.using(connection) as ours:
            HealthCheckModel.create(ours, service_name=service, status="healthy")
        assert not connection.closed
        connection.rollback()
    assert _stored(http_database, service) == 0


def test_connections_of_other_databases_are_refused_by_name() -> None:
    from django.db.backends.sqlite3.base import DatabaseWrapper  # type: ignore[import-untyped]  # no hints

    with (
        sqlalchemy.create_engine("sqlite://").connect() as connection,
        pytest.raises(ConfigurationError, match=r"SQLAlchemy's sqlite\+pysqlite"),
    ):
        HealthCheckModel.find_by_id(connection, uuid4())  # type: ignore[call-overload]  # meant
    with pytest.raises(ConfigurationError, match="Django's sqlite"):
        pulsebase.using(DatabaseWrapper({"NAME": ":memory:"}))
    with (
        closing(sqlite3.connect(":memory:")) as plain,
        pytest.raises(ConfigurationError, match=r"sqlite3.Connection cannot serve"),
    ):
        pulsebase.using(plain)


def test_django_s_global_connection_is_understood(http_database: str, service: str) -> None:
    """`django.db.connection` is a proxy; applications import it from there."""
    from django.utils.connection import ConnectionProxy  # type: ignore[import-untyped]  # no hints

    application = Django(http_database)
    proxy: Any = ConnectionProxy({"default": application.connection}, "default")
    HealthCheckModel.create(proxy, service_name=service, status="healthy")
    application.rollback()
    application.close()
    assert _stored(http_database, service) == 0


@supabase_s_own_warnings
def test_a_supabase_client_is_understood(lite: LiteServer, service: str) -> None:
    from supabase import create_client

    client = create_client(lite.url, lite.service_key)
    check = HealthCheckModel.create(client, service_name=service, status="healthy")  # type: ignore[call-overload]  # meant
    assert HealthCheckModel.find_by_id(client, check.id) == check  # type: ignore[call-overload]  # meant
    with pulsebase.using(client) as ours:
        assert HealthCheckModel.create_many(ours, checks=_many(service, 1100)).inserted == 1100
    rows_by_client = (
        client.table("service_health_checks").select("id").eq("id", str(check.id)).execute()
    )
    assert len(rows_by_client.data) == 1
    client.postgrest.session.close()


@supabase_s_own_warnings
def test_an_async_supabase_client_is_understood(lite: LiteServer, service: str) -> None:
    from supabase import acreate_client

    async def main() -> None:
        client = await acreate_client(lite.url, lite.service_key)
        ours = pulsebase.using(client)
        check = await HealthCheckModel.create(ours, service_name=service, status="healthy")
        assert await HealthCheckModel.find_by_id(ours, check.id) == check
        await HealthCheckModel.create_many(ours, checks=_many(service, 1100))
        found = await awaited(HealthCheckModel.iterate_by_service(ours, service))
        assert len(found) == 1101
        await client.postgrest.session.aclose()

    asyncio.run(main())
