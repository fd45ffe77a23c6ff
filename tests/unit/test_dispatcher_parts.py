"""How many messages are under way, for how long they are ours, and what is said of them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from pulsebase.models.alert_delivery import ClaimedDelivery
from pulsebase.models.alert_message import AlertMessage, ClaimedMessage
from pulsebase.monitor.delivering.sending import Attempt, Verdict, lease_for, send
from pulsebase.monitor.delivering.slots import Slots
from pulsebase.monitor.delivering.telling import Telling, subject_of
from pulsebase.notifiers import DeliveryFailedError, DeliveryRefusedError, Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)


def a_delivery(service_name: str = "checkout", **given: Any) -> ClaimedDelivery:
    columns: dict[str, Any] = {
        "id": uuid4(),
        "kind": "opened",
        "sequence": 0,
        "service_name": service_name,
        "labels": {"team": "ai"},
        "event_id": uuid4(),
        "incident_id": uuid4(),
        "alert_type": "service_down",
        "event_status": "active",
        "event_created_at": NOW,
        "resolved_at": None,
        "details": {"reason": "it does not answer"},
        "held_by": None,
        "held_since": None,
        "released_at": None,
        "created_at": NOW,
        "service_status": "down",
        "flapping_since": None,
    }
    return ClaimedDelivery(**(columns | given))


def a_claimed(*deliveries: ClaimedDelivery, channel: str = "ops") -> ClaimedMessage:
    return ClaimedMessage(
        id=uuid4(),
        channel=channel,
        attempt=1,
        attempts_before=(),
        created_at=NOW,
        give_up_at=NOW,
        leased_until=NOW,
        deliveries=deliveries or (a_delivery(),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Telegraph:
    """A channel that does what it is told."""

    timeout: timedelta = timedelta(seconds=10)
    sends: Callable[[Message], Awaitable[None]]
    sent: list[Message] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        await self.sends(message)


def raises(error: Exception) -> Telegraph:
    async def sends(_: Message) -> None:
        raise error

    return Telegraph(sends=sends)


# Slots.


def test_a_channel_is_asked_for_while_half_of_its_slots_are_free() -> None:
    slots = Slots(of_a_channel=4, all_in_all=100)
    assert slots.open(["ops"]) == (["ops"], 4)
    slots.take("ops")
    slots.take("ops")
    assert slots.open(["ops"]) == (["ops"], 2)
    slots.take("ops")
    assert slots.open(["ops"]) == ([], 0)
    slots.give_back("ops")
    assert slots.open(["ops"]) == (["ops"], 2)


def test_no_more_is_asked_for_than_the_fullest_of_the_channels_can_take() -> None:
    """The answer may be for that one alone."""
    slots = Slots(of_a_channel=4, all_in_all=100)
    slots.take("ops")
    assert slots.open(["ops", "chat"]) == (["ops", "chat"], 3)


def test_a_full_channel_does_not_keep_the_others_waiting() -> None:
    slots = Slots(of_a_channel=1, all_in_all=100)
    slots.take("ops")
    assert slots.open(["ops", "chat"]) == (["chat"], 1)


def test_there_is_a_limit_over_all_channels() -> None:
    slots = Slots(of_a_channel=4, all_in_all=5)
    for name in ("a", "a", "a", "b"):
        slots.take(name)
    assert slots.open(["c"]) == (["c"], 1)
    slots.take("c")
    assert slots.open(["d"]) == ([], 0)
    assert slots.taken == 5


def test_without_channels_nothing_is_asked_for() -> None:
    assert Slots().open([]) == ([], 0)


# Sending.


def test_the_lease_is_longer_than_the_slowest_channel_may_take_and_its_report() -> None:
    async def never(_: Message) -> None: ...

    quick = Telegraph(sends=never, timeout=timedelta(seconds=1))
    slow = Telegraph(sends=never, timeout=timedelta(seconds=50))
    assert lease_for([quick]) == timedelta(seconds=5)
    assert lease_for([quick, slow]) == timedelta(seconds=103)


async def test_a_message_is_handed_over_with_all_that_is_known() -> None:
    async def takes_it(_: Message) -> None: ...

    channel = Telegraph(sends=takes_it)
    claimed = a_claimed(a_delivery(held_by="silence", held_since=NOW), a_delivery("search"))
    assert await send(claimed, channel) == Verdict(outcome="delivered")
    [message] = channel.sent
    assert (message.id, message.channel, message.attempt) == (claimed.id, "ops", 1)
    assert [notice.service_name for notice in message.notices] == ["checkout", "search"]
    assert message.notices[0].held_by == "silence"
    assert message.notices[0].labels == {"team": "ai"}


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (DeliveryFailedError("503"), Verdict(outcome="failed", error="503")),
        (
            DeliveryFailedError("429", 30),
            Verdict(outcome="failed", error="429", retry_after=timedelta(seconds=30)),
        ),
        (
            DeliveryFailedError("429", 1e300),
            Verdict(outcome="failed", error="429", retry_after=timedelta(days=30)),
        ),
        (
            DeliveryFailedError("429", -5),
            Verdict(outcome="failed", error="429", retry_after=timedelta(0)),
        ),
        (DeliveryRefusedError("410"), Verdict(outcome="refused", error="410")),
        (
            RuntimeError("hidden-word"),
            Verdict(outcome="failed", error="the channel broke with RuntimeError; see the log"),
        ),
    ],
)
async def test_whatever_happens_is_a_verdict(error: Exception, verdict: Verdict) -> None:
    assert await send(a_claimed(), raises(error)) == verdict


async def test_a_channel_that_takes_no_notice_of_its_timeout_is_cut_off() -> None:
    async def hangs(_: Message) -> None:
        await asyncio.Event().wait()

    verdict = await send(a_claimed(), Telegraph(sends=hangs, timeout=timedelta(seconds=-1.4)))
    assert verdict.outcome == "failed"
    assert "whether it arrived is unknown" in str(verdict.error)


# Telling.


def an_attempt(claimed: ClaimedMessage, verdict: Verdict, status: str = "pending") -> Attempt:
    message = AlertMessage(
        id=claimed.id,
        channel=claimed.channel,
        service_name=None,
        status=status,  # type: ignore[arg-type]  # given as a word
        delivery_count=1,
        created_at=NOW,
        next_attempt_at=NOW,
        give_up_at=NOW,
        attempts=1,
        leased_by=None,
        leased_until=None,
        finished_at=None,
        last_error=None,
    )
    return Attempt(claimed=claimed, verdict=verdict, message=message)


def test_the_trouble_of_a_channel_is_told_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "pulsebase.monitor")
    telling, failed = Telling(), Verdict(outcome="failed", error="503")
    claimed = a_claimed()
    for verdict in (failed, failed, Verdict(outcome="delivered"), Verdict(outcome="delivered")):
        telling.ended(an_attempt(claimed, verdict))
    told = f"told 'ops' opened: service_down of 'checkout' (message {claimed.id})"
    assert [record.message for record in caplog.records] == [
        "the channel 'ops' does not take messages, they are tried again: 503",
        "the channel 'ops' takes messages again",
        told,
        told,
    ]


def test_a_message_that_is_given_up_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    telling, claimed = Telling(), a_claimed()
    telling.ended(an_attempt(claimed, Verdict(outcome="failed", error="503"), "dead"))
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert str(claimed.id) in record.message


def test_a_digest_is_named_by_its_first_services() -> None:
    names = ["a", "b", "a", "c", "d", "e"]
    assert subject_of(a_claimed(*map(a_delivery, names))) == "6 notices of 'a', 'b', 'c' and 2 more"
