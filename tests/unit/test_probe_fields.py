"""What every kind refuses alike where its keys are read."""

from __future__ import annotations

import pytest

from pulsebase.probes.support.fields import host_problem, port_problem


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "a",
        "_dmarc.example",
        "xn--bcher-kva.example",
        "127.0.0.1",
        "::1",
        "fe80::1%eth0",
    ],
)
def test_a_name_or_an_address_is_a_host(host: str) -> None:
    assert not list(host_problem(host))


@pytest.mark.parametrize(
    "host",
    ["", "a:1", "a.example:443", "[::1]", "http://a", "a/b", "a b", "bücher.example", "-a", "::g"],
)
def test_what_has_a_port_or_is_no_host_is_refused(host: str) -> None:
    [problem] = host_problem(host)
    assert "without a port" in str(problem)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_cannot_be_is_refused(port: int) -> None:
    [problem] = port_problem(port)
    assert "1 to 65535" in str(problem)


def test_a_port_within_an_address_is_called_its_port() -> None:
    """Or one would think that the address should be a number."""
    [problem] = port_problem(99_999, "url")
    assert str(problem).startswith("url must be an address whose port is a whole number from 1 to")
