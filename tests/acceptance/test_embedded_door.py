"""A connection to the embedded database outlives the server behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pulsebase import HealthCheckModel, connect, connect_async
from tests.acceptance.embedded_user import postmaster, wait_gone
from tests.support.migrating import migrate
from tests.support.server_process import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of an embedded database."""
    with scratch_folder("embedded-door") as scratch:
        yield scratch / "data"


def test_a_server_that_was_killed_is_brought_back(folder: Path) -> None:
    """The call after the crash works, and what was stored before it is there."""
    url = f"embedded://{folder}"
    with connect(url) as connection:
        migrate(url)
        stored = HealthCheckModel.create(connection, service_name="a", status="healthy")
        kill_the_server(folder)
        assert HealthCheckModel.find_by_service(connection, "a") == [stored]


@pytest.mark.anyio
async def test_a_server_that_was_killed_is_brought_back_on_asyncio(folder: Path) -> None:
    """The same for asyncio."""
    url = f"embedded://{folder}"
    async with connect_async(url) as connection:
        migrate(url)
        stored = await HealthCheckModel.create(connection, service_name="a", status="healthy")
        kill_the_server(folder)
        assert await HealthCheckModel.find_by_service(connection, "a") == [stored]


def kill_the_server(folder: Path) -> None:
    """As a crash does."""
    postmaster(folder.parent).kill()
    wait_gone(folder.parent)
