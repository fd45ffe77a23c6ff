"""Fixtures for migrations: a folder to write files into, and a project with nothing but a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase.connection import connect
from pulsebase.migrations import Catalog, bootstrap, read_folder
from tests.support.supabase_roles import set_default_privileges
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.lite_server import LiteServer
    from tests.support.postgrest_server import PostgrestServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for migrations."""
    path = tmp_path / "migrations"
    path.mkdir()
    return path


@pytest.fixture
def write(folder: Path) -> Callable[..., Catalog]:
    """A function that makes a name-to-text mapping the folder's whole content, and reads it."""

    def write_files(files: dict[str, str | bytes]) -> Catalog:
        for path in folder.iterdir():
            path.unlink()
        for name, text in files.items():
            content = text if isinstance(text, bytes) else text.encode()
            (folder / f"{name}.sql").write_bytes(content)
        return read_folder(folder)

    return write_files


@pytest.fixture
def sql(empty_database: str) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
    """A function that runs SQL in the test's database as the superuser; the rows."""
    with psycopg.connect(empty_database, autocommit=True) as connection:

        def run(text: str) -> list[tuple[Any, ...]]:
            cursor = connection.execute(text.encode(), prepare=False)
            return cursor.fetchall() if cursor.description else []

        yield run


@dataclass(frozen=True)
class Project:
    """A project on the test's database: the address of its API and a service key."""

    server: PostgrestServer | LiteServer
    url: str
    key: str

    def execute(self, text: str) -> None:
        """Run SQL as the superuser, and wait until the API has seen it."""
        with psycopg.connect(self.server.database_url, autocommit=True) as connection:
            connection.execute(text.encode(), prepare=False)
        self.reload()

    def reload(self) -> None:
        """Let the API read the schema anew."""
        with psycopg.connect(self.server.database_url, autocommit=True) as connection:
            connection.execute("drop function if exists public.seen_by_the_api()")
            connection.execute("create function public.seen_by_the_api() returns int return 1")
            connection.execute("notify pgrst, 'reload schema'")
        restart = getattr(self.server, "restart", None)
        if restart:
            restart()
        with connect(self.url, key=self.key) as door:
            transport: Any = door.transport
            wait_until(
                lambda: transport.serves("rpc/seen_by_the_api"), "the API has read the schema"
            )
        with psycopg.connect(self.server.database_url, autocommit=True) as connection:
            connection.execute("drop function public.seen_by_the_api()")


@pytest.fixture(params=["postgrest", "lite"])
def bare_project(request: pytest.FixtureRequest, empty_database: str) -> Project:
    """A project without `exec_sql`, on PostgREST and on `@supabase/lite`."""
    set_default_privileges(empty_database, "old")
    server = request.getfixturevalue(f"start_{request.param}")(empty_database)
    path = "/rest/v1" if request.param == "lite" else ""
    return Project(server=server, url=f"{server.url}{path}", key=server.service_key)


@pytest.fixture
def project(bare_project: Project) -> Project:
    """A project into which somebody has pasted `exec_sql`."""
    bare_project.execute(bootstrap.install_text())
    return bare_project
