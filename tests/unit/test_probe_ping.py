"""The kind `ping`: echoes of this machine itself, losses, and a machine that may not ping."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.probes.ping import PingProbe
from tests.support.looking import look_once
from tests.support.requirement import require

ROOT = Path(__file__).parents[2]


def may_ping(family: socket.AddressFamily = socket.AF_INET) -> bool:
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with suppress(OSError):
            socket.socket(family, kind, protocol).close()
            return True
    return False


@pytest.fixture
def allowed() -> None:
    """Only where this machine lets us ping."""
    require("this machine does not let us send ICMP packets", may_ping())


@pytest.mark.usefixtures("allowed")
async def test_an_answer_to_each_request_is_healthy_and_timed() -> None:
    outcome = await look_once(PingProbe(host="127.0.0.1", count=4))
    assert outcome.status == "healthy"
    assert outcome.latency_ms is not None
    assert outcome.details["remote_ip"] == "127.0.0.1"
    assert outcome.details["packets"] == {"sent": 4, "received": 4, "loss_percent": 0}
    trip = outcome.details["round_trip_ms"]
    assert 0 < trip["min"] <= trip["average"] <= trip["max"]
    # Three pauses of a fifth of a second.
    assert outcome.details["phases_ms"]["total"] > 600


@pytest.mark.usefixtures("allowed")
async def test_names_and_ipv6_are_pinged_too() -> None:
    outcome = await look_once(PingProbe(host="localhost", count=1, ip_version=4))
    assert outcome.details["remote_ip"] == "127.0.0.1"
    require("this machine has no IPv6", may_ping(socket.AF_INET6))
    outcome = await look_once(PingProbe(host="::1", count=1))
    assert outcome.status == "healthy", outcome
    assert outcome.details["remote_ip"] == "::1"


@pytest.mark.usefixtures("allowed")
async def test_slow_answers_are_degraded_or_down() -> None:
    soon = timedelta(microseconds=1)
    outcome = await look_once(PingProbe(host="127.0.0.1", count=1, degraded_above=soon))
    assert outcome.status == "degraded"
    assert outcome.details["failed"]["expectation"] == "degraded_above"
    outcome = await look_once(PingProbe(host="127.0.0.1", count=1, down_above=soon))
    assert outcome.status == "down"


@pytest.mark.usefixtures("allowed")
async def test_many_requests_share_a_short_timeout() -> None:
    started = time.monotonic()
    outcome = await look_once(PingProbe(host="127.0.0.1", count=20), timeout_seconds=0.5)
    assert outcome.details["packets"]["sent"] == 20
    assert outcome.status == "healthy"
    assert time.monotonic() - started < 1


@pytest.mark.usefixtures("allowed")
async def test_hundreds_at_once_get_their_own_answers() -> None:
    looks = (look_once(PingProbe(host="127.0.0.1", count=2)) for _ in range(100))
    outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}


async def test_a_name_without_address_is_dns() -> None:
    outcome = await look_once(PingProbe(host=f"{'x' * 64}.invalid"))
    assert outcome.details["error"]["kind"] == "dns"


PRELUDE = """
import asyncio, json, os, pathlib, sys
from pulsebase.probes import UnknownHealthError
from pulsebase.probes.ping import PingProbe
from tests.support.looking import look_once

def silence(settled="1"):
    pathlib.Path("/proc/sys/net/ipv4/icmp_echo_ignore_all").write_text(settled)

def give_up_rights():
    "a".encode("idna")  # imported while we may still read where Python is installed
    os.setgroups([]); os.setgid(65534); os.setuid(65534)

def look(timeout_seconds=1, **keys):
    return look_once(PingProbe(**keys), timeout_seconds=timeout_seconds)

def show(outcome):
    print(json.dumps(outcome.details | {"status": outcome.status, "ms": outcome.latency_ms}))
"""


def in_a_network_of_its_own(program: str, *, ping_groups: str = "1 0") -> str:
    """What a program prints that has a loopback interface, and rules for it, to itself."""
    require("the program `unshare` is not installed", which("unshare"))
    setup = (
        "ip link set lo up && "
        f"echo '{ping_groups}' > /proc/sys/net/ipv4/ping_group_range && exec \"$@\""
    )
    command = ["unshare", "-n", "sh", "-c", setup, "sh", sys.executable, "-c", PRELUDE + program]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if "unshare failed" in answer.stderr or "Read-only" in answer.stderr:
        require(
            f"this machine gives nobody a network of their own: {answer.stderr}", condition=False
        )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_who_may_not_ping_is_told_what_to_do() -> None:
    said = in_a_network_of_its_own(
        """
give_up_rights()
try:
    asyncio.run(look(host="127.0.0.1"))
except UnknownHealthError as error:
    print(error)
"""
    )
    assert said.startswith("this process may not send ICMP packets")
    assert "net.ipv4.ping_group_range" in said
    assert "CAP_NET_RAW" in said


def test_who_is_of_the_right_group_may_ping_without_rights() -> None:
    said = in_a_network_of_its_own(
        """
give_up_rights()
show(asyncio.run(look(host="127.0.0.1")))
show(asyncio.run(look(host="::1", count=1)))
""",
        ping_groups="0 65534",
    )
    over_4, over_6 = map(json.loads, said.splitlines())
    assert over_4["status"] == over_6["status"] == "healthy"
    assert over_4["packets"]["received"] == 3


def test_a_silent_host_is_down_in_time() -> None:
    said = in_a_network_of_its_own(
        """
import time
silence()
started = time.monotonic()
show(asyncio.run(look(host="127.0.0.1")))
print(time.monotonic() - started)
"""
    )
    outcome, took_seconds = said.splitlines()
    details = json.loads(outcome)
    assert details["status"] == "down"
    assert details["ms"] is None
    assert details["error"] == {
        "kind": "timeout",
        "message": "no whole answer within the timeout",
    }
    assert details["packets"] == {"sent": 3, "received": 0, "loss_percent": 100}
    assert 0.8 < float(took_seconds) < 6


def test_some_losses_are_healthy_degraded_or_down_as_the_keys_say() -> None:
    said = in_a_network_of_its_own(
        """
async def lose_some(**keys):
    silence("0")
    asyncio.get_running_loop().call_later(0.5, silence)
    return await look(host="127.0.0.1", count=6, timeout_seconds=2, **keys)

show(asyncio.run(lose_some()))
show(asyncio.run(lose_some(degraded_loss_percent=5)))
show(asyncio.run(lose_some(degraded_loss_percent=4, down_loss_percent=5)))
"""
    )
    default, degraded, down = map(json.loads, said.splitlines())
    assert 0 < default["packets"]["received"] < 6
    assert default["status"] == "healthy"
    assert default["ms"] is not None
    assert degraded["status"] == "degraded"
    assert degraded["failed"]["expectation"] == "degraded_loss_percent"
    assert degraded["failed"]["expected"] == "less than 5 % lost"
    assert down["status"] == "down"
    assert down["failed"]["expectation"] == "down_loss_percent"


def test_an_address_without_a_way_is_unreachable() -> None:
    said = in_a_network_of_its_own("show(asyncio.run(look(host='192.0.2.1')))")
    assert json.loads(said)["error"]["kind"] == "unreachable"


BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({"host": "a b"}, "host must be a host name"),
    ({"host": "::1", "ip_version": 4}, "ip_version must be that of the address"),
    ({"count": 0}, "count must be from 1 to 20"),
    ({"count": 21}, "count must be from 1 to 20"),
    ({"degraded_loss_percent": 0}, "degraded_loss_percent must be from 1 to 100"),
    ({"down_loss_percent": 101}, "down_loss_percent must be from 1 to 100"),
    (
        {"degraded_loss_percent": 50, "down_loss_percent": 50},
        "degraded_loss_percent must be less than down_loss_percent",
    ),
]


@pytest.mark.parametrize(("keys", "said"), BAD_KEYS, ids=[str(keys) for keys, _ in BAD_KEYS])
def test_a_bad_key_is_refused_with_a_sentence(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=re.escape(said)):
        PingProbe(**dict[str, Any](host="a.example") | keys)
