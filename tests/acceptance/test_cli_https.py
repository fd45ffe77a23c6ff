from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase import HealthCheckModel, NewHealthCheck, connect
from tests.acceptance.cli_process import pulsebase

if TYPE_CHECKING:
    from tests.support.lite_server import LiteServer
    from tests.support.postgrest_server import PostgrestServer


@pytest.fixture(params=["postgrest", "lite"])
def server(request: pytest.FixtureRequest) -> PostgrestServer | LiteServer:
    """Each of the two servers that speak HTTP."""
    found: PostgrestServer | LiteServer = request.getfixturevalue(request.param)
    return found


def test_the_commands_work_with_nothing_but_a_url_and_a_service_key(
    server: PostgrestServer | LiteServer,
) -> None:
    service = f"cli over {type(server).__name__}"
    env = {"SUPABASE_URL": server.url, "SUPABASE_SECRET_KEY": server.service_key}
    recorded = pulsebase("record", service, "degraded", "--latency-ms", "7", env=env)
    assert (recorded.code, recorded.err) == (0, "")
    status = pulsebase("status", service, "--json", env=env)
    assert status.code == 1
    assert json.loads(status.out)["services"][0]["latency_ms"] == 7
    history = pulsebase("history", service, "--json", env=env)
    assert [check["id"] for check in json.loads(history.out)["checks"]] == [recorded.out.strip()]


def test_history_crosses_the_row_cap(server: PostgrestServer | LiteServer) -> None:
    service = f"busy over {type(server).__name__}"
    now = datetime.now(UTC)
    checks = [
        NewHealthCheck(
            service_name=service, status="healthy", checked_at=now - timedelta(seconds=seconds)
        )
        for seconds in range(2500)
    ]
    with connect(server.url, key=server.service_key) as connection:
        HealthCheckModel.create_many(connection, checks=checks)
    env = {"PULSEBASE_URL": server.url, "PULSEBASE_KEY": server.service_key}
    history = pulsebase("history", service, "--limit", "2400", "--json", env=env)
    assert len(json.loads(history.out)["checks"]) == 2400
