"""The direct transport: psycopg 3 over a pool.

Two kinds of servers answer behind a `postgresql://` URL. A session is ours: statements are
prepared and the statement timeout is set once. Behind a transaction pooler (port 6543, or
`pgbouncer=true` in the URL) the next statement may meet another session: nothing is prepared, and
the timeout is set inside each transaction.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, LiteralString, cast

import psycopg
import psycopg_pool
from psycopg.rows import tuple_row

from pulsebase.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectTimeoutError,
    DatabaseError,
    MalformedResponseError,
    UnavailableError,
    database_error,
)
from pulsebase.transports.request import Request, decode_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from pulsebase.settings import Target

_POOL_SIZE = 10
_IDLE_SECONDS = 300.0
# libpq reports a refused login without a SQLSTATE; these are its words in every version.
_LOGIN_REFUSED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "authentication failed",
    "fe_sendauth",
    "FATAL: role",
)
_ADDRESSED = re.compile(
    r"^(?:connection (?:failed|is bad): )?connection to server (?:at|on) [^:]*? failed: "
)
_PARAMETER_REFUSED = re.compile("^connection is bad: (?!connection to server)| parameter ")
_QUOTED = re.compile('"[^"]*"')


class PostgresTransport:
    """Calls functions over pooled connections of its own."""

    retries = True

    def __init__(self, target: Target) -> None:
        self._target = target
        self._lock = Lock()
        self._pool: psycopg_pool.ConnectionPool[psycopg.Connection[Any]] | None = None

    def send(self, request: Request) -> Any:
        """Call one function in a transaction of its own."""
        with self.connection() as connection:
            if self._target.transaction_pooler:
                return send_many_on(connection, [request], self._local_timeout())[0]
            return send_on(connection, request)

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction, without waiting for each answer."""
        with self.connection() as connection:
            return send_many_on(connection, requests, self._local_timeout())

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the pool, in autocommit, with errors made ours."""
        with translated(self._target):
            pool = self._opened()
            try:
                with pool.connection() as connection:
                    yield connection
            except psycopg_pool.PoolTimeout:
                # The pool keeps the reason to itself; one attempt of our own tells it.
                with _waited_enough(self._target):
                    psycopg.connect(**connect_arguments(self._target)).close()
                raise
            except psycopg.OperationalError:
                pool.check()  # one dead connection means that its idle siblings are dead too
                raise

    def close(self) -> None:
        """Close the pool and its connections."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _opened(self) -> psycopg_pool.ConnectionPool[psycopg.Connection[Any]]:
        if self._pool is None:
            # A pool retries in the background and hides the reason. The first connection is
            # plain, so that a wrong password or an unreachable server is told at once; not under
            # the lock, or threads would wait for each other's timeouts.
            psycopg.connect(**connect_arguments(self._target)).close()
        with self._lock:
            if self._pool is None:
                self._pool = psycopg_pool.ConnectionPool(
                    configure=self._configure,
                    open=True,
                    **_pool_arguments(self._target),
                )
            return self._pool

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        if not self._target.transaction_pooler:
            connection.execute(timeout_statement(self._target, local=False))

    def _local_timeout(self) -> LiteralString | None:
        pooler = self._target.transaction_pooler
        return timeout_statement(self._target, local=True) if pooler else None


class AsyncPostgresTransport:
    """The same for asyncio."""

    retries = True

    def __init__(self, target: Target) -> None:
        self._target = target
        self._pool: psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None

    async def send(self, request: Request) -> Any:
        """Call one function in a transaction of its own."""
        async with self.connection() as connection:
            if self._target.transaction_pooler:
                return (await send_many_on_async(connection, [request], self._local_timeout()))[0]
            return await send_on_async(connection, request)

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction, without waiting for each answer."""
        async with self.connection() as connection:
            return await send_many_on_async(connection, requests, self._local_timeout())

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """A connection of the pool, in autocommit, with errors made ours."""
        with translated(self._target):
            pool = self._pool or await self._opened()
            try:
                async with pool.connection() as connection:
                    yield connection
            except psycopg_pool.PoolTimeout:
                with _waited_enough(self._target):
                    await self._try_plain_connection()
                raise
            except psycopg.OperationalError:
                await pool.check()
                raise

    async def close(self) -> None:
        """Close the pool and its connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
        await self._try_plain_connection()
        if self._pool is None:  # another task may have been first
            self._pool = psycopg_pool.AsyncConnectionPool(
                configure=self._configure,
                open=False,
                **_pool_arguments(self._target),
            )
            await self._pool.open()
        return self._pool

    async def _try_plain_connection(self) -> None:
        connection = await psycopg.AsyncConnection.connect(**connect_arguments(self._target))
        await connection.close()

    async def _configure(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if not self._target.transaction_pooler:
            await connection.execute(timeout_statement(self._target, local=False))

    def _local_timeout(self) -> LiteralString | None:
        pooler = self._target.transaction_pooler
        return timeout_statement(self._target, local=True) if pooler else None


def send_on(connection: psycopg.Connection[Any], request: Request) -> Any:
    """Call one function on one connection."""
    return answer(_cursor(connection).execute(*statement(request)).fetchone())


async def send_on_async(connection: psycopg.AsyncConnection[Any], request: Request) -> Any:
    """Call one function on one connection."""
    cursor = await _async_cursor(connection).execute(*statement(request))
    return answer(await cursor.fetchone())


def send_many_on(
    connection: psycopg.Connection[Any],
    requests: Iterable[Request],
    preamble: LiteralString | None = None,
) -> list[Any]:
    """Call many functions on one connection in a pipeline; a transaction unless one is open."""
    with connection.pipeline(), connection.transaction():
        if preamble:
            connection.execute(preamble)
        cursors = [_cursor(connection).execute(*statement(request)) for request in requests]
    return [answer(cursor.fetchone()) for cursor in cursors]


async def send_many_on_async(
    connection: psycopg.AsyncConnection[Any],
    requests: Iterable[Request],
    preamble: LiteralString | None = None,
) -> list[Any]:
    """Call many functions on one connection in a pipeline; a transaction unless one is open."""
    async with connection.pipeline(), connection.transaction():
        if preamble:
            await connection.execute(preamble)
        cursors = [
            await _async_cursor(connection).execute(*statement(request)) for request in requests
        ]
    return [answer(await cursor.fetchone()) for cursor in cursors]


# Cursors of our own kind: a borrowed connection may have others, with rows of any shape.
def _cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
    return psycopg.Cursor(connection, row_factory=tuple_row)


def _async_cursor(
    connection: psycopg.AsyncConnection[Any],
) -> psycopg.AsyncCursor[tuple[Any, ...]]:
    return psycopg.AsyncCursor(connection, row_factory=tuple_row)


def statement(request: Request) -> tuple[LiteralString, list[Any]]:
    """The SELECT that calls the function, and its parameters as texts.

    The parameters go out untyped, so PostgreSQL reads each as the type that the function declares:
    the same texts that PostgREST would find in the JSON body.
    """
    given = request.given()
    return _select(request.function, tuple(given)), [str(value) for value in given.values()]


@lru_cache(maxsize=256)
def _select(function: str, names: tuple[str, ...]) -> LiteralString:
    arguments = ", ".join(f'"{name}" => %s' for name in names)
    # As text: the JSON is ours to decode, whatever adapters a borrowed connection has.
    select = f'select public."{function}"({arguments})::text'
    return cast("LiteralString", select)  # type: ignore[redundant-cast]  # not to pyright


def answer(row: tuple[Any, ...] | None) -> Any:
    """The JSON value in the only column of the only row."""
    if row is None or row[0] is None:
        return None
    try:
        return decode_json(row[0])
    except RecursionError:
        msg = "the answer holds JSON that is nested too deeply to be read"
        raise MalformedResponseError(msg) from None


def connect_arguments(target: Target) -> dict[str, Any]:
    """The arguments of `psycopg.connect` for a target."""
    return {
        "conninfo": target.url,
        "autocommit": True,
        "connect_timeout": max(2, round(target.connect_timeout_seconds)),
        "fallback_application_name": "pulsebase",
        "client_encoding": "utf8",
        "prepare_threshold": None if target.transaction_pooler else 5,
    }


def timeout_statement(target: Target, *, local: bool) -> LiteralString:
    """The SET that bounds every statement of the session, or of the transaction when local."""
    milliseconds = round(target.statement_timeout_seconds * 1000)
    scope = "local" if local else "session"
    text = f"set {scope} statement_timeout = {milliseconds}"
    return cast("LiteralString", text)  # type: ignore[redundant-cast]  # not to pyright


@contextmanager
def translated(target: Target | None = None) -> Iterator[None]:
    """Raise psycopg's errors as ours; `target` gives connection failures their address."""
    try:
        yield
    except psycopg.Error as error:
        # Without a SQLSTATE the words are libpq's, and it may quote the URL, password and all.
        raise typed_error(error, target) from (error if error.sqlstate else None)


@contextmanager
def _waited_enough(target: Target) -> Iterator[None]:
    """Raise an unreachable server as one not to be tried again: the pool has waited."""
    try:
        yield
    except psycopg.Error as error:
        found = typed_error(error, target)
        if type(found) is UnavailableError:
            found = ConnectTimeoutError(found.message, code=found.code)
        raise found from None


def typed_error(
    error: psycopg.Error, target: Target | None = None
) -> DatabaseError | ConfigurationError:
    """Our error for one of psycopg's, without anything secret."""
    diagnostic = error.diag
    if error.sqlstate:
        return database_error(
            diagnostic.message_primary or str(error),
            code=error.sqlstate,
            details=diagnostic.message_detail,
            hint=diagnostic.message_hint,
        )
    text = _one_line(str(error))
    if isinstance(error, psycopg.ProgrammingError) and target is not None:
        return ConfigurationError(f"the URL of {target.address} has a parameter that libpq refuses")
    if _PARAMETER_REFUSED.search(text) and target is not None:
        # What it quotes is a value of the URL.
        reason = _QUOTED.sub("…", _reason(text).removeprefix("connection is bad: "))
        return ConfigurationError(
            f"a parameter in the URL of {target.address} is refused: {reason}"
        )
    if any(words in text for words in _LOGIN_REFUSED):
        return AuthenticationError(f"{_address(target)} refused the login: {_reason(text)}")
    if "FATAL: database" in text and "does not exist" in text:
        return DatabaseError(f"{_address(target)}: {_reason(text)}", code="3D000")
    kind = (
        ConnectTimeoutError
        if isinstance(error, psycopg.errors.ConnectionTimeout)
        else UnavailableError
    )
    return kind(f"cannot reach PostgreSQL at {_address(target)}: {_reason(text)}")


def _address(target: Target | None) -> str:
    return target.address if target else "the application's connection"


def _reason(text: str) -> str:
    """What libpq says, without the address that the message has already."""
    last = text.partition(" Multiple connection attempts failed")[0].rpartition("FATAL:")[2]
    told = _ADDRESSED.sub("", last.strip()) or text
    return told.replace(" Is the server running", "; is the server running")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _pool_arguments(target: Target) -> dict[str, Any]:
    arguments = connect_arguments(target)
    return {
        "conninfo": arguments.pop("conninfo"),
        "kwargs": arguments,
        "min_size": 0,
        "max_size": _POOL_SIZE,
        "max_idle": _IDLE_SECONDS,
        "timeout": target.connect_timeout_seconds,
        # A server that comes back while somebody waits for it is found by the same call.
        "reconnect_timeout": target.connect_timeout_seconds,
        "num_workers": 1,
    }
