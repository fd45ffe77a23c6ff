"""The webhook asks nobody but the public: addresses, names, redirects, and names that change."""

from __future__ import annotations

import json
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

import pycurl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers import DeliveryRefusedError
from pulsebase.notifiers.support.addresses import is_public_address
from pulsebase.notifiers.webhook import WebhookNotifier
from tests.support.notices import Receiver, a_message

if TYPE_CHECKING:
    from collections.abc import Iterator

PRIVATE = [
    "0.0.0.0",  # noqa: S104 - no address to bind to
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "2001:0:a00:1::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "",
    "localhost",
    "127.1",
    "1.1.1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "100.128.0.1",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::8a",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_what_belongs_to_a_network_is_not_public(address: str) -> None:
    assert not is_public_address(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_what_is_anybodys_is_public(address: str) -> None:
    assert is_public_address(address)


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_too(inner: IPv4Address) -> None:
    number = int(inner)
    forms = (0xFFFF << 32 | number, 0x0064_FF9B << 96 | number, 0x2002 << 112 | number << 80 | 1)
    for form in forms:
        if is_public_address(str(IPv6Address(form))):
            assert is_public_address(str(inner))


@given(st.text())
def test_whatever_is_no_address_is_not_public(text: str) -> None:
    is_public_address(text)


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "127.1",
     "2130706433", "[fe80::1]", "[::ffff:10.0.0.1]"],
)  # fmt: skip
def test_a_private_address_is_refused_at_load(host: str) -> None:
    with pytest.raises(InvalidValueError, match="allow_private_addresses = true"):
        WebhookNotifier(url=f"http://{host}:8080/canary-71")
    WebhookNotifier(url=f"http://{host}:8080/canary-71", allow_private_addresses=True)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name means, asked again and again: one answer for each connection."""
    answers: dict[str, list[str]] = {}

    class Resolving(pycurl.Curl):
        def setopt(self, option: int, value: Any, **how: Any) -> None:
            super().setopt(option, value, **how)
            if option == pycurl.URL:
                super().setopt(pycurl.RESOLVE, list(self._resolved()))

        @staticmethod
        def _resolved() -> Iterator[str]:
            for name, found in answers.items():
                yield f"{name}:{found.pop(0) if len(found) > 1 else found[0]}"

    monkeypatch.setattr(pycurl, "Curl", Resolving)
    return answers


def pretend_public(monkeypatch: pytest.MonkeyPatch, count: int) -> list[str]:
    """Let so many connections pass as if to a public address; all that were asked about."""
    asked: list[str] = []

    def allows(address: str) -> bool:
        asked.append(address)
        return len(asked) <= count or is_public_address(address)

    monkeypatch.setattr("pulsebase.notifiers.webhook.is_public_address", allows)
    return asked


async def refusal(url: str, **keys: Any) -> str:
    hook = WebhookNotifier(url=url, timeout=timedelta(seconds=5), **keys)
    with pytest.raises(DeliveryRefusedError) as caught:
        await hook.send(a_message())
    return str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "10.0.0.1"])
async def test_a_name_of_a_private_address_is_not_asked(
    names: dict[str, list[str]], address: str
) -> None:
    async with Receiver() as receiver:
        names[f"hook.example:{receiver.port}"] = [address]
        said = await refusal(f"http://hook.example:{receiver.port}/")
    assert "no public address" in said
    assert "allow_private_addresses = true" in said
    assert receiver.connections == 0


async def test_no_address_of_a_name_is_asked_beside_a_public_one(
    names: dict[str, list[str]],
) -> None:
    async with Receiver() as receiver:
        names[f"hook.example:{receiver.port}"] = ["127.0.0.1,[::1],10.0.0.1"]
        await refusal(f"http://hook.example:{receiver.port}/")
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:7f00:1]", "0x7f.1"])
async def test_a_redirect_to_this_machine_is_not_followed(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    async with (
        Receiver() as inside,
        Receiver(307, location=f"http://{host}:{inside.port}/admin") as outside,
    ):
        names[f"hook.example:{outside.port}"] = ["127.0.0.1"]
        asked = pretend_public(monkeypatch, 1)
        said = await refusal(f"http://hook.example:{outside.port}/")
    assert "no public address" in said
    assert len(asked) > 1
    assert len(outside.received) == 1
    assert inside.connections == 0


async def test_a_name_that_changes_its_mind_gains_nothing(
    names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: a public address for the first connection, a private one for the next."""
    async with Receiver(307, location="/again") as receiver:
        names[f"hook.example:{receiver.port}"] = ["127.0.0.1", "10.0.0.1"]
        asked = pretend_public(monkeypatch, 1)
        assert "10.0.0.1 is no public address" in await refusal(
            f"http://hook.example:{receiver.port}/"
        )
    assert asked == ["127.0.0.1", "10.0.0.1"]
    assert len(receiver.received) == 1


async def test_redirects_that_keep_the_message_are_followed_three_times() -> None:
    private: dict[str, Any] = {"allow_private_addresses": True}
    async with Receiver(307, 308, 307, 200, location="/next") as receiver:
        hook = WebhookNotifier(url=f"{receiver.url}first", secret="s" * 16, **private)
        message = a_message()
        await hook.send(message)
    assert [one.line.split()[1] for one in receiver.received] == [
        "/first",
        "/next",
        "/next",
        "/next",
    ]
    assert {one.line.split()[0] for one in receiver.received} == {"POST"}
    assert len({one.body for one in receiver.received}) == 1
    assert {one.headers["idempotency-key"] for one in receiver.received} == {str(message.id)}
    async with Receiver(307, location="/next") as receiver:
        assert "more than 3 times" in await refusal(receiver.url, **private)
    assert len(receiver.received) == 4


async def test_what_is_told_to_one_receiver_is_not_told_to_another() -> None:
    """The signature goes along: it says who sent the message, and not the secret."""
    async with (
        Receiver() as other,
        Receiver(308, location=f"http://127.0.0.1:{other.port}/elsewhere") as first,
    ):
        hook = WebhookNotifier(
            url=f"http://user:word@127.0.0.1:{first.port}/",
            headers={"X-Api-Key": "canary-71"},
            secret="s" * 16,
            allow_private_addresses=True,
        )
        await hook.send(a_message())
    assert first.only.headers["x-api-key"] == "canary-71"
    assert first.only.headers["authorization"].startswith("Basic ")
    assert not {"x-api-key", "authorization"} & other.only.headers.keys()
    assert other.only.headers["webhook-signature"] == first.only.headers["webhook-signature"]
    assert json.loads(other.only.body)["title"] == "checkout is down"


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_loses_the_message_is_refused(status: int) -> None:
    async with Receiver(status, location="/next") as receiver:
        said = await refusal(receiver.url, allow_private_addresses=True)
    assert "set the new URL" in said
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    "location",
    ["https://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://[",
     "http://user:word@127.0.0.1/", "http://\u00e9.example/", "mailto:a@b.example"],
)  # fmt: skip
async def test_a_redirect_elsewhere_than_to_a_receiver_is_refused(location: str) -> None:
    async with Receiver(307, location=location) as receiver:
        said = await refusal(receiver.url, allow_private_addresses=True)
    assert "redirects" in said
    assert "word" not in said
    assert len(receiver.received) == 1
