"""`pulsebase alerts` with nothing but a URL and a service key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.alerts_by_hand import alerting, fail
from tests.acceptance.cli_process import pulsebase

if TYPE_CHECKING:
    from tests.support.lite_server import LiteServer
    from tests.support.postgrest_server import PostgrestServer


@pytest.mark.parametrize("kind", ["postgrest", "lite"])
def test_an_alert_is_followed_over_https(request: pytest.FixtureRequest, kind: str) -> None:
    server: PostgrestServer | LiteServer = request.getfixturevalue(kind)
    database: str = request.getfixturevalue(
        {"postgrest": "http_database"}.get(kind, f"{kind}_database")
    )
    service, channel = f"cli alert over {kind}", f"cli channel over {kind}"
    environment = {
        "SUPABASE_URL": server.url,
        "SUPABASE_SECRET_KEY": server.service_key,
        "PULSEBASE_ACTOR": "anna",
    }

    def told(*arguments: str) -> Any:
        ended = pulsebase("alerts", *arguments, "--json", env=environment)
        assert (ended.code, ended.err) == (0, "")
        return json.loads(ended.out)

    with alerting(database) as known:
        known.channel(channel)
        known.route(channel, matcher=json.dumps({"services": [service]}))
    [identifier] = fail(database, service)
    silence = told("silence", service, "--for", "1h", "--note", "a test")
    told("ack", service, "--for", "2h")
    [listed] = told("list", service)["alert_events"]
    assert listed["acknowledgement"]["actor"] == "anna"
    assert [each["id"] for each in listed["silences"]] == [silence["id"]]
    [shown] = told("show", identifier)["alert_events"]
    assert channel in [each["channel"] for each in shown["deliveries"]]
    [waiting] = told("deliveries", "--channel", channel)["waiting"]
    assert waiting["hold_reason"] == "silence"
    assert told("disable", channel)["disabled_at"] is not None
    assert told("enable", channel)["disabled_at"] is None
    assert told("lift", silence["id"])["lifted_by"] == "anna"
    told("resolve", identifier, "--note", "done")
    acts = [act["act"] for act in told("acts", service)["alert_acts"]]
    assert acts == ["resolve", "acknowledge"]
    status = json.loads(pulsebase("status", service, "--json", env=environment).out)
    assert status["services"][0]["active_alerts"] == []
