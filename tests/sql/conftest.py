"""Databases of every supported PostgreSQL, with and without Supabase's roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.sql.alerting import Alerting
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.requirement import require
from tests.support.supabase_roles import create_roles, set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAJORS = (15, 16, 17, 18)


@pytest.fixture(params=MAJORS)
def plain_database(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> Iterator[str]:
    """An empty database of each major version, in a cluster without Supabase's roles."""
    server = postgres_of_major(request.param)
    name = server.create_database()
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def supabase_of_major() -> Iterator[Callable[[int], PostgresServer]]:
    """A function that gives the session's server of a major version with Supabase's roles."""
    started: dict[int, PostgresServer] = {}

    def start(major: int) -> PostgresServer:
        folder = available_servers().get(major)
        require(f"no programs of PostgreSQL {major} found", folder)
        assert folder is not None
        if major not in started:
            started[major] = PostgresServer(folder).__enter__()  # left below
            create_roles(started[major].url())
        return started[major]

    yield start
    for server in started.values():
        server.__exit__()


def _flavours() -> list[Any]:
    return [
        pytest.param((major, flavour), id=f"{major}-{flavour}")
        for major in MAJORS
        for flavour in ("old", "new")
    ]


@pytest.fixture(params=_flavours())
def supabase_database(
    request: pytest.FixtureRequest, supabase_of_major: Callable[[int], PostgresServer]
) -> Iterator[str]:
    """An empty database of each major version, as an old or a new Supabase project has it."""
    major, flavour = request.param
    server = supabase_of_major(major)
    name = server.create_database()
    set_default_privileges(server.url(name), flavour)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture(scope="module", params=[15, 18])
def migrated(
    request: pytest.FixtureRequest, postgres_of_major: Callable[[int], PostgresServer]
) -> tuple[PostgresServer, str]:
    """A server of the oldest and of the newest major version, and its migrated template."""
    server = postgres_of_major(request.param)
    template = server.create_database()
    migrate(server.url(template))
    return server, template


@pytest.fixture
def url(migrated: tuple[PostgresServer, str]) -> Iterator[str]:
    """A migrated database of this test alone."""
    server, template = migrated
    name = server.create_database(template=template)
    yield server.url(name)
    server.drop_database(name)


@pytest.fixture
def alerting(url: str) -> Iterator[Alerting]:
    """Steps of alerting in a database of this test alone, on the oldest and newest PostgreSQL."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield Alerting(connection)
