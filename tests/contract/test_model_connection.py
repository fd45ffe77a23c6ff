"""A connection in forked children, and after it was closed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pulsebase import ConfigurationError, HealthCheckModel, connect

if TYPE_CHECKING:
    from tests.support.postgrest_server import PostgrestServer

_CHILDREN = 4
_ROUNDS = 100


@pytest.fixture(params=["direct", "postgrest"])
def address(request: pytest.FixtureRequest, http_database: str) -> tuple[str, str | None]:
    """The URL and key of each kind of server."""
    if request.param == "direct":
        return http_database, None
    server: PostgrestServer = request.getfixturevalue("postgrest")
    return server.url, server.service_key


def test_children_and_parent_each_get_their_own_answers(address: tuple[str, str | None]) -> None:
    """Nobody reads what was answered to somebody else, and nobody waits for ever."""
    url, key = address
    names = [f"forked-{os.getpid()}-{number}" for number in range(_CHILDREN + 1)]
    with connect(url, key=key) as connection:
        for name in names:
            HealthCheckModel.create(connection, service_name=name, status="healthy")

        def right(name: str) -> bool:
            answers = (
                HealthCheckModel.find_latest(connection, service_name=name) for _ in range(_ROUNDS)
            )
            return all([row.service_name for row in rows] == [name] for rows in answers)

        children = []
        for name in names[1:]:
            if not (child := os.fork()):
                os._exit(0 if right(name) else 1)
            children.append(child)
        assert right(names[0])
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0] * _CHILDREN


def test_a_closed_connection_says_so(address: tuple[str, str | None]) -> None:
    """The same error over every door; closing again does nothing."""
    url, key = address
    with connect(url, key=key) as connection:
        HealthCheckModel.count_by_status(connection)
    connection.close()
    with pytest.raises(ConfigurationError, match="connection is closed"):
        HealthCheckModel.count_by_status(connection)
