"""Fixtures for every test: real servers, and a database of its own for each test that wants one.

Servers start when the first test asks for them and serve the whole session. A database is a copy
of a template that was migrated once, which takes some hundredths of a second.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.support.lite_server import LiteServer
from tests.support.migrating import migrate
from tests.support.node_parts import POSTGREST, has_lite
from tests.support.pgbouncer import PgBouncer, pgbouncer_program
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.postgrest_server import PostgrestServer
from tests.support.requirement import require
from tests.support.supabase_roles import create_roles, set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HOW_TO_GET_NODE_PARTS = "install Node.js and run make"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the library does."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def state_folder() -> Iterator[None]:
    """What monitors and checks keep while their database is away goes to a folder of ours."""
    with (
        tempfile.TemporaryDirectory(prefix="pulsebase-state-") as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_STATE_HOME", folder)
        yield


@pytest.fixture(scope="session")
def postgres_of_major() -> Iterator[Callable[[int], PostgresServer]]:
    """A function that gives the session's server of a major version: 15, 16, 17 or 18.

    These are plain servers, without Supabase's roles.
    """
    with ExitStack() as servers:

        @cache
        def start(major: int) -> PostgresServer:
            folder = available_servers().get(major)
            require(f"no programs of PostgreSQL {major} found", folder)
            assert folder is not None
            return servers.enter_context(PostgresServer(folder))

        yield start


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's PostgreSQL, with Supabase's roles: 18, or the newest that there is."""
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    with PostgresServer(servers[max(servers)]) as server:
        create_roles(server.url())
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> str:
    """The name of a migrated database that nobody writes to: copy it."""
    name = postgres.create_database()
    set_default_privileges(postgres.url(name), "new")
    migrate(postgres.url(name))
    return name


@pytest.fixture
def database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated, empty database for this test alone."""
    name = postgres.create_database(template=migrated_template)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def empty_database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database without anything in it for this test alone."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def http_database(postgres: PostgresServer, migrated_template: str) -> str:
    """The URL of the migrated database behind `postgrest`.

    All tests share it, so each uses service names that no other test uses.
    """
    return postgres.url(postgres.create_database(template=migrated_template))


@pytest.fixture(scope="session")
def lite_database(postgres: PostgresServer, migrated_template: str) -> str:
    """The URL of the migrated database behind `lite`, shared like `http_database`.

    It is another one, because `lite` grants every table to everybody when it is first asked for
    one, and would hide a grant that is missing.
    """
    return postgres.url(postgres.create_database(template=migrated_template))


@pytest.fixture(scope="session")
def postgrest(http_database: str) -> Iterator[PostgrestServer]:
    """The session's PostgREST, over `http_database`."""
    require(f"no PostgREST for this machine: {_HOW_TO_GET_NODE_PARTS}", POSTGREST.exists())
    with PostgrestServer(http_database) as server:
        yield server


@pytest.fixture(scope="session")
def lite(lite_database: str) -> Iterator[LiteServer]:
    """The session's `@supabase/lite`, over `lite_database`."""
    require(f"no @supabase/lite: {_HOW_TO_GET_NODE_PARTS}", has_lite())
    with LiteServer(lite_database) as server:
        yield server


@pytest.fixture
def start_postgrest() -> Iterator[Callable[[str], PostgrestServer]]:
    """A function that starts a PostgREST over the database of a URL, for this test alone."""
    require(f"no PostgREST for this machine: {_HOW_TO_GET_NODE_PARTS}", POSTGREST.exists())
    with ExitStack() as servers:
        yield lambda url: servers.enter_context(PostgrestServer(url))


@pytest.fixture
def start_lite() -> Iterator[Callable[[str], LiteServer]]:
    """A function that starts a `@supabase/lite` over the database of a URL, for this test alone."""
    require(f"no @supabase/lite: {_HOW_TO_GET_NODE_PARTS}", has_lite())
    with ExitStack() as servers:
        yield lambda url: servers.enter_context(LiteServer(url))


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgresServer) -> Iterator[PgBouncer]:
    """The session's PgBouncer in transaction mode, before every database of `postgres`."""
    require("PgBouncer is not installed: apt-get install pgbouncer", pgbouncer_program())
    with PgBouncer(postgres.port) as pooler:
        yield pooler
