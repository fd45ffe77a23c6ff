"""An application's own connection as the transport; its transaction stays its own.

Nothing is committed, rolled back, closed or repeated here. A statement that fails aborts the
application's transaction, as any statement of its own would.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg

from pulsebase.errors import ConfigurationError, InvalidDataError, database_error
from pulsebase.settings import Target
from pulsebase.transports.postgres import (
    answer,
    send_many_on,
    send_many_on_async,
    send_on,
    send_on_async,
    statement,
    translated,
    typed_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pulsebase.transports.request import AsyncTransport, Request, Transport


_SQLALCHEMY_DRIVERS = frozenset({"psycopg", "psycopg_async", "psycopg2"})


class PsycopgTransport:
    """An open psycopg connection."""

    retries = False

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        with translated(), _encodable():
            return send_on(self._connection, request)

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one savepoint of the application's transaction."""
        with translated(), _encodable():
            if not self._connection.autocommit:
                self._connection.execute("")  # or psycopg would begin a transaction, and commit it
            return send_many_on(self._connection, requests)

    def close(self) -> None:
        """Leave the connection to its owner."""


class AsyncPsycopgTransport:
    """An open psycopg connection of asyncio."""

    retries = False

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        with translated(), _encodable():
            return await send_on_async(self._connection, request)

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one savepoint of the application's transaction."""
        with translated(), _encodable():
            if not self._connection.autocommit:
                await self._connection.execute("")  # or psycopg would begin one, and commit it
            return await send_many_on_async(self._connection, requests)

    async def close(self) -> None:
        """Leave the connection to its owner."""


class DjangoTransport:
    """Django's connection, on the psycopg that Django itself uses."""

    retries = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        with _driver_errors(), _encodable(), self._connection.cursor() as cursor:
            cursor.execute(*statement(request))
            return answer(cursor.fetchone())

    def close(self) -> None:
        """Leave the connection to its owner."""


class SqlalchemyTransport:
    """A SQLAlchemy connection or session, on psycopg or psycopg2."""

    retries = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        with _driver_errors(), _encodable():
            # Past SQLAlchemy's own types: they would cast every text to VARCHAR.
            sql, parameters = statement(request)
            result = _engine_connection(self._connection).exec_driver_sql(sql, tuple(parameters))
            return answer(tuple(result.one()))

    def close(self) -> None:
        """Leave the connection to its owner."""


class AsyncSqlalchemyTransport:
    """A SQLAlchemy connection or session of asyncio, on psycopg."""

    retries = False

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        sql, parameters = statement(request)
        with _driver_errors(), _encodable():
            connection = _engine_connection(self._connection)
            if isinstance(connection, Coroutine):  # not any awaitable: a connection is one itself
                connection = await connection
            result = await connection.exec_driver_sql(sql, tuple(parameters))
            return answer(tuple(result.one()))

    async def close(self) -> None:
        """Leave the connection to its owner."""


def borrow(connection: Any) -> Transport | AsyncTransport:
    """The transport for somebody else's connection, told by its class; see `verbs.using`."""
    for kind in type(connection).__mro__:
        if make := _BY_CLASS.get(f"{kind.__module__.partition('.')[0]}.{kind.__name__}"):
            return make(connection)
    msg = (
        f"{type(connection).__module__}.{type(connection).__qualname__} cannot serve as a"
        " connection; hand over one of psycopg, SQLAlchemy, Django or supabase,"
        " or use pulsebase.connect()"
    )
    raise ConfigurationError(msg)


def _django(connection: Any) -> Transport:
    _require(connection.vendor == "postgresql", f"Django's {connection.vendor}")
    return DjangoTransport(connection)


def _sqlalchemy(connection: Any) -> Transport:
    _require_driver(connection)
    return SqlalchemyTransport(connection)


def _sqlalchemy_async(connection: Any) -> AsyncTransport:
    _require_driver(connection)
    return AsyncSqlalchemyTransport(connection)


def _require_driver(connection_or_session: Any) -> None:
    bound = getattr(connection_or_session, "get_bind", None)
    dialect = (bound() if bound else connection_or_session).dialect
    _require(dialect.driver in _SQLALCHEMY_DRIVERS, f"SQLAlchemy's {dialect.name}+{dialect.driver}")


def _require(condition: bool, named: str) -> None:  # noqa: FBT001 -- it reads as a sentence
    if not condition:
        msg = f"a connection of {named} cannot be used; it must be PostgreSQL's, over psycopg"
        raise ConfigurationError(msg)


def _supabase(client: Any) -> Transport:
    from pulsebase.transports.postgrest import PostgrestTransport

    return PostgrestTransport(_supabase_target(client), client.postgrest.session)


def _supabase_async(client: Any) -> AsyncTransport:
    from pulsebase.transports.postgrest import AsyncPostgrestTransport

    return AsyncPostgrestTransport(_supabase_target(client), client.postgrest.session)


def _supabase_target(client: Any) -> Target:
    return Target(url=str(client.rest_url).rstrip("/"), key=client.supabase_key)


# By name, so that looking at a connection imports no library that the application does not use.
_BY_CLASS: dict[str, Callable[[Any], Transport | AsyncTransport]] = {
    "psycopg.Connection": PsycopgTransport,
    "psycopg.AsyncConnection": AsyncPsycopgTransport,
    "sqlalchemy.Connection": _sqlalchemy,
    "sqlalchemy.Session": _sqlalchemy,
    "sqlalchemy.scoped_session": _sqlalchemy,
    "sqlalchemy.AsyncConnection": _sqlalchemy_async,
    "sqlalchemy.AsyncSession": _sqlalchemy_async,
    "sqlalchemy.async_scoped_session": _sqlalchemy_async,
    "django.BaseDatabaseWrapper": _django,
    "django.ConnectionProxy": _django,
    "supabase.Client": _supabase,
    "supabase.SyncClient": _supabase,
    "supabase.AsyncClient": _supabase_async,
}


def _engine_connection(connection_or_session: Any) -> Any:
    own = getattr(connection_or_session, "exec_driver_sql", None)
    return connection_or_session if own else connection_or_session.connection()


@contextmanager
def _driver_errors() -> Iterator[None]:
    """Raise what SQLAlchemy or Django wraps around the driver's error as ours."""
    try:
        yield
    except Exception as error:
        driver_error: Any = getattr(error, "orig", None) or error.__cause__ or error
        code = getattr(driver_error, "sqlstate", None) or getattr(driver_error, "pgcode", None)
        if code is None and isinstance(driver_error, psycopg.Error):
            raise typed_error(driver_error) from error
        if code is None:
            raise
        message = getattr(driver_error.diag, "message_primary", None) or str(driver_error)
        raise database_error(message, code=code) from error


@contextmanager
def _encodable() -> Iterator[None]:
    """Refuse text that the connection's `client_encoding` cannot carry."""
    try:
        yield
    except UnicodeEncodeError as error:
        msg = f"the connection's client_encoding ({error.encoding}) cannot carry one of the values"
        raise InvalidDataError(msg) from error
