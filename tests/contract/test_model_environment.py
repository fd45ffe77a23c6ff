"""Verbs without a connection: the environment names it, and a transport is shared beneath."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pulsebase import AlertEventModel, HealthCheckModel, NewHealthCheck
from pulsebase.settings import KEY_VARIABLES, URL_VARIABLES
from pulsebase.verbs import door_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.callers import Door


@pytest.fixture(params=["direct", "pooler", "postgrest", "lite", "embedded"])
def environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """An environment that names one door and no other."""
    door: Door = request.getfixturevalue(f"{request.param}_door")
    for name in (*URL_VARIABLES, *KEY_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PULSEBASE_URL", door.url)
    if door.key:
        monkeypatch.setenv("SUPABASE_SECRET_KEY", door.key)
    yield door
    if request.param == "embedded":  # its folder goes before the process does
        door_of(None).transport.close()


@pytest.mark.usefixtures("environment")
def test_every_kind_of_verb_finds_its_connection(service: str) -> None:
    check = HealthCheckModel.create(service_name=service, status="healthy")
    many = [NewHealthCheck(service_name=service, status="down") for _ in range(3)]
    assert HealthCheckModel.create_many(checks=many).inserted == 3
    assert HealthCheckModel.find_by_id(check.id) == check
    assert len(HealthCheckModel.find_by_service(service, limit=2)) == 2
    assert len(list(HealthCheckModel.iterate_by_service(service))) == 4
    assert len(HealthCheckModel.find_latest(service_name=service)) == 1
    event = AlertEventModel.create(service_name=service, alert_type="service_down")
    assert AlertEventModel.resolve(str(event.id)).status == "resolved"


@pytest.mark.usefixtures("environment")
def test_several_threads_use_it_at_once(service: str) -> None:
    def create(number: int) -> None:
        HealthCheckModel.create(service_name=service, status="healthy", latency_ms=number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(create, range(80)))
    found = HealthCheckModel.find_by_service(service)
    assert {check.latency_ms for check in found} == set(range(80))


@pytest.mark.usefixtures("environment")
def test_the_transport_is_shared_by_all_calls() -> None:
    assert door_of(None).transport is door_of(None).transport


def test_the_environment_may_change_between_two_calls(
    direct_door: Door, embedded_door: Door, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSEBASE_URL", direct_door.url)
    HealthCheckModel.create(service_name=service, status="healthy")
    monkeypatch.setenv("PULSEBASE_URL", embedded_door.url)
    assert HealthCheckModel.find_by_service(service) == []
    door_of(None).transport.close()


FORKING = """
import logging, os, sys
from pulsebase import HealthCheckModel

logging.basicConfig(level=logging.INFO)  # a repeated attempt would be told here
logging.getLogger("httpx").setLevel(logging.WARNING)
service = sys.argv[1]
HealthCheckModel.create(service_name=service, status="healthy", latency_ms=1)
child = os.fork()
if child == 0:
    HealthCheckModel.create(service_name=service, status="healthy", latency_ms=2)
    sys.exit(0)  # as an application's worker ends: with everything that runs at exit
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
HealthCheckModel.create(service_name=service, status="healthy", latency_ms=3)
"""


@pytest.mark.usefixtures("environment")
def test_a_forked_child_has_a_transport_of_its_own(service: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", FORKING, service],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    found = HealthCheckModel.find_by_service(service)
    assert [check.latency_ms for check in found] == [3, 2, 1]
