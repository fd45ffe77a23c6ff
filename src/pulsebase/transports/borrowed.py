"""An application's own connection as the transport; its transaction stays its own.

Nothing is committed, rolled back, closed or repeated here. A statement that fails aborts the
application's transaction, as any statement of its own would.
"""

from __future__ import annotations

from contextlib import contextmanager
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from pulsebase.errors import ConfigurationError, database_error
from pulsebase.settings import Target
from pulsebase.transports.postgres import (
    answer,
    send_many_on,
    send_many_on_async,
    statement,
    translated,
)
from pulsebase.transports.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import psycopg

    from pulsebase.transports.request import AsyncTransport, Transport


class PsycopgTransport:
    """An open psycopg connection."""

    retries = False

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def send(self, request: Request) -> Any:
        """Call one function inside the application's transaction."""
        with translated():
            return answer(self._connection.execute(*statement(request)).fetchone())

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one savepoint of the application's transaction."""
        with translated():
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
        with translated():
            cursor = await self._connection.execute(*statement(request))
            return answer(await cursor.fetchone())

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one savepoint of the application's transaction."""
        with translated():
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
        with _driver_errors(), self._connection.cursor() as cursor:
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
        with _driver_errors():
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
        connection = _engine_connection(self._connection)
        with _driver_errors():
            connection = await connection if isawaitable(connection) else connection
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
        f"{type(connection).__module__}.{type(connection).__qualname__} cannot serve as a connection;"
        " hand over one of psycopg, SQLAlchemy, Django or supabase, or use pulsebase.connect()"
    )
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
    "sqlalchemy.Connection": SqlalchemyTransport,
    "sqlalchemy.Session": SqlalchemyTransport,
    "sqlalchemy.scoped_session": SqlalchemyTransport,
    "sqlalchemy.AsyncConnection": AsyncSqlalchemyTransport,
    "sqlalchemy.AsyncSession": AsyncSqlalchemyTransport,
    "django.BaseDatabaseWrapper": DjangoTransport,
    "django.ConnectionProxy": DjangoTransport,
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
        driver_error = getattr(error, "orig", None) or error.__cause__ or error
        code = getattr(driver_error, "sqlstate", None) or getattr(driver_error, "pgcode", None)
        if code is None:
            raise
        message = getattr(driver_error.diag, "message_primary", None) or str(driver_error)
        raise database_error(message, code=code) from error
