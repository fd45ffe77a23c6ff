"""What is decided of services, and what configurations say of them, over every door."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.errors import InvalidDataError, InvalidValueError
from pulsebase.models.alert_event import AlertEventModel
from pulsebase.models.alert_policy import AlertPolicyModel, NewAlertPolicy
from pulsebase.models.health_check import HealthCheckModel
from pulsebase.models.monitored_service import MonitoredServiceModel, NewMonitoredService
from pulsebase.models.service_state import ServiceStateModel

if TYPE_CHECKING:
    from tests.contract.callers import Caller

AT_ONCE = {"down_open_checks": 1, "down_close_checks": 1}


def test_a_service_that_never_failed_has_no_state(call: Caller, service: str) -> None:
    call(HealthCheckModel.create, service_name=service, status="healthy")
    assert call(ServiceStateModel.find_by_service, service) is None


def test_the_state_follows_the_checks(call: Caller, service: str) -> None:
    call(
        MonitoredServiceModel.publish,
        services=[NewMonitoredService(service_name=service, alert_policy=AT_ONCE)],
    )
    check = call(HealthCheckModel.create, service_name=service, status="down")
    state = call(ServiceStateModel.find_by_service, service)
    assert (state.status, state.since, state.is_steady) == ("down", check.checked_at, False)
    assert state.first_failed["id"] == str(check.id)
    (event,) = call(AlertEventModel.find_active, service_name=service)
    assert (event.id, event.details["incident_id"]) == (state.event_id, str(state.incident_id))
    call(HealthCheckModel.create, service_name=service, status="healthy")
    state = call(ServiceStateModel.find_by_service, service)
    assert (state.status, state.is_steady, state.event_id, state.changes) == (
        "healthy",
        True,
        None,
        2,
    )
    assert service in {each.service_name for each in call(ServiceStateModel.find_all)}
    assert call(ServiceStateModel.catch_up) >= 0


def test_what_is_said_of_a_service_reads_back_and_is_written_once(
    call: Caller, service: str
) -> None:
    said = NewMonitoredService(
        service_name=service,
        labels={"team": "Ünïcode", "tier": "1"},
        depends_on=(f"{service} parent",),
        interval=timedelta(seconds=30),
        alert_policy={"down_open_seconds": 300, "down_open_checks": None},
    )
    assert call(MonitoredServiceModel.publish, services=[said]) == 1
    assert call(MonitoredServiceModel.publish, services=[said]) == 0
    (found,) = [
        each for each in call(MonitoredServiceModel.find_all) if each.service_name == service
    ]
    assert (found.labels, found.depends_on) == (said.labels, said.depends_on)
    assert (found.interval, found.alert_policy) == (said.interval, said.alert_policy)
    assert call(AlertPolicyModel.find_by_service, service)["down_open_seconds"] == 300


@pytest.mark.parametrize(
    "policy",
    [
        {"down_open_checks": 0},
        {"down_open_checks": 101},
        {"degraded_open_seconds": -1},
        {"down_open_checks": 3, "down_open_of": 2},
        {"flapping_changes": "many"},
    ],
)
def test_a_policy_out_of_bounds_is_refused(
    call: Caller, service: str, policy: dict[str, object]
) -> None:
    said = NewMonitoredService(service_name=service, alert_policy=policy)
    with pytest.raises(InvalidDataError, match=next(iter(policy))[:8]):
        call(MonitoredServiceModel.publish, services=[said])
    with pytest.raises(InvalidDataError):
        call(AlertPolicyModel.publish, policies=[NewAlertPolicy(alert_policy=policy)])


def test_what_is_no_duration_is_refused_before_it_is_sent(service: str) -> None:
    with pytest.raises(InvalidValueError, match="interval"):
        NewMonitoredService(service_name=service, interval=timedelta(0))
