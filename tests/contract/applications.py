"""Applications with an open connection of their own, as our verbs meet them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from tests.contract.callers import awaited

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["APPLICATIONS", "Application"]


class Application(Protocol):
    """A program that hands its own connection to our verbs, inside its own transaction."""

    def __init__(self, url: str) -> None:
        """Connect; nothing has been executed yet."""
        ...

    def call(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        """Use a verb with the application's connection."""
        ...

    def execute(self, statement: str) -> Any:
        """The only value of a statement of the application's own."""
        ...

    def commit(self) -> None:
        """Commit the application's transaction."""
        ...

    def rollback(self) -> None:
        """Roll it back."""
        ...

    def close(self) -> None:
        """Disconnect."""
        ...


class _Synchronous:
    connection: Any

    def call(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        return verb(self.connection, *arguments, **named)

    def commit(self) -> None:
        self.connection.commit()

    def rollback(self) -> None:
        self.connection.rollback()

    def close(self) -> None:
        self.connection.close()


class Psycopg(_Synchronous):
    """An open psycopg connection."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url)

    def execute(self, statement: str) -> Any:
        """The only value of a statement."""
        return self.connection.execute(statement.encode()).fetchone()[0]


class Sqlalchemy(_Synchronous):
    """A SQLAlchemy connection."""

    def __init__(self, url: str) -> None:
        self._engine = sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        self.connection = self._connect()

    def _connect(self) -> Any:
        return self._engine.connect()

    def execute(self, statement: str) -> Any:
        """The only value of a statement."""
        return self.connection.execute(sqlalchemy.text(statement)).scalar()

    def close(self) -> None:
        """Disconnect."""
        super().close()
        self._engine.dispose()


class SqlalchemySession(Sqlalchemy):
    """A session of SQLAlchemy's ORM."""

    def _connect(self) -> Any:
        return Session(self._engine)


class Django(_Synchronous):
    """Django's connection, without autocommit as inside `atomic`."""

    def __init__(self, url: str) -> None:
        from django.db.backends.postgresql.base import (  # type: ignore[import-untyped]  # no hints
            DatabaseWrapper,
        )

        parts = conninfo_to_dict(url)
        self.connection = DatabaseWrapper(
            {
                "ENGINE": "django.db.backends.postgresql",
                **{key.upper(): parts[key] for key in ("host", "port", "user")},
                "NAME": parts["dbname"],
                "PASSWORD": "",
                "AUTOCOMMIT": False,
                "ATOMIC_REQUESTS": False,
                "CONN_MAX_AGE": 0,
                "CONN_HEALTH_CHECKS": False,
                "OPTIONS": {},
                "TIME_ZONE": None,
                "TEST": {},
            },
            alias="app",
        )

    def execute(self, statement: str) -> Any:
        """The only value of a statement."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0]


class _Asynchronous:
    connection: Any

    def __init__(self, url: str) -> None:
        self.runner = asyncio.Runner()
        self.connection = self.runner.run(self._connect(url))

    async def _connect(self, url: str) -> Any:
        raise NotImplementedError

    def call(self, verb: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
        return self.runner.run(awaited(verb(self.connection, *arguments, **named)))

    def commit(self) -> None:
        self.runner.run(self.connection.commit())

    def rollback(self) -> None:
        self.runner.run(self.connection.rollback())

    def close(self) -> None:
        self.runner.run(self._close())
        self.runner.close()

    async def _close(self) -> None:
        await self.connection.close()


class AsyncPsycopg(_Asynchronous):
    """An open psycopg connection of asyncio."""

    async def _connect(self, url: str) -> Any:
        return await psycopg.AsyncConnection.connect(url)

    def execute(self, statement: str) -> Any:
        """The only value of a statement."""

        async def execute() -> Any:
            cursor = await self.connection.execute(statement.encode())
            return (await cursor.fetchone())[0]

        return self.runner.run(execute())


class AsyncSqlalchemy(_Asynchronous):
    """A SQLAlchemy connection of asyncio."""

    async def _connect(self, url: str) -> Any:
        self._engine = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        return await self._engine.connect()

    def execute(self, statement: str) -> Any:
        """The only value of a statement."""

        async def execute() -> Any:
            return (await self.connection.execute(sqlalchemy.text(statement))).scalar()

        return self.runner.run(execute())

    async def _close(self) -> None:
        await self.connection.close()
        await self._engine.dispose()


class AsyncSqlalchemySession(AsyncSqlalchemy):
    """A session of SQLAlchemy's ORM for asyncio."""

    async def _connect(self, url: str) -> Any:
        self._engine = create_async_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        return AsyncSession(self._engine)


APPLICATIONS: dict[str, type[Application]] = {
    "psycopg": Psycopg,
    "psycopg-async": AsyncPsycopg,
    "sqlalchemy": Sqlalchemy,
    "sqlalchemy-session": SqlalchemySession,
    "sqlalchemy-async": AsyncSqlalchemy,
    "sqlalchemy-async-session": AsyncSqlalchemySession,
    "django": Django,
}
