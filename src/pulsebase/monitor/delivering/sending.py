"""One claimed message: sent, and its report stored, for as long as it is ours.

The time that it is ours for, its lease, begins before the claim is asked for, so ours ends before
the database's does. Sending takes the smaller part of it. The rest is for the report: as long as it
is not stored, somebody else would send the message again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pulsebase.errors import NotFoundError, PulsebaseError, UnavailableError
from pulsebase.models.alert_message import AlertMessageModel
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.notifiers import DeliveryFailedError, DeliveryRefusedError, Message, Notice

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pulsebase.connection import AsyncConnection
    from pulsebase.models.alert_message import AlertMessage, ClaimedMessage, Outcome
    from pulsebase.monitor.reachability import Reachability
    from pulsebase.notifiers import Notifier

__all__ = ["Attempt", "Verdict", "lease_for", "report", "send"]

log = logging.getLogger("pulsebase.monitor")

_LEASE_RESERVE: Final = timedelta(seconds=3)
# A kind keeps its own timeout, and may need a moment more to say so.
_GRACE_SECONDS: Final = 1.5
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 2.0
_LONGEST_WAIT_SECONDS: Final = 30 * 86_400.0
_NOTICE_FIELDS: Final = tuple(field.name for field in fields(Notice))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How an attempt to send ended; `error` says why it did not arrive, as far as is known."""

    outcome: Outcome
    error: str | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt that is over. `message` is the message afterwards, None if it was not reported."""

    claimed: ClaimedMessage
    verdict: Verdict
    message: AlertMessage | None


def lease_for(notifiers: Iterable[Notifier]) -> timedelta:
    """How long claimed messages must be ours, so that there is time to send and to report."""
    return 2 * max(each.timeout for each in notifiers) + _LEASE_RESERVE


async def send(claimed: ClaimedMessage, notifier: Notifier) -> Verdict:
    """Send a message once. Raises nothing: whatever happens is a verdict."""
    limit_seconds = notifier.timeout.total_seconds() + _GRACE_SECONDS
    try:
        async with asyncio.timeout(limit_seconds):
            await notifier.send(message_of(claimed))
    except TimeoutError:
        reason = f"not done within {limit_seconds:g} s; whether it arrived is unknown"
        return Verdict(outcome="failed", error=reason)
    except DeliveryFailedError as error:
        return Verdict(
            outcome="failed", error=str(error), retry_after=_pause(error.retry_after_seconds)
        )
    except DeliveryRefusedError as error:
        return Verdict(outcome="refused", error=str(error))
    except Exception as error:
        # What a foreign exception says could be a secret; its class is none.
        kind = type(error).__name__
        log.exception("the channel %r broke; its message is tried again", claimed.channel)
        return Verdict(outcome="failed", error=f"the channel broke with {kind}; see the log")
    return Verdict(outcome="delivered")


async def report(
    claimed: ClaimedMessage,
    verdict: Verdict,
    *,
    connection: AsyncConnection,
    reachability: Reachability,
    until_seconds: float,
) -> AlertMessage | None:
    """Store what became of an attempt, trying again until the lease ends; the message afterwards.

    None when it could not be stored: then the message is sent again, under the same id.
    """
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            async with asyncio.timeout(max(0.0, until_seconds - steady_seconds())):
                message = await _finish(connection, claimed, verdict)
            reachability.succeeded()
        except NotFoundError:
            return None  # it was tidied away meanwhile
        except (UnavailableError, TimeoutError) as error:
            reachability.failed()
            reason = str(error) or "no answer in time"
        except PulsebaseError as error:
            reason = str(error)
        else:
            return message
        if steady_seconds() + pause_seconds >= until_seconds:
            _tell_lost_report(claimed, verdict, reason)
            return None
        await asyncio.sleep(pause_seconds)
        pause_seconds = min(_LONGEST_PAUSE_SECONDS, 2 * pause_seconds)


def message_of(claimed: ClaimedMessage) -> Message:
    """What a channel is handed."""
    return Message(
        id=claimed.id,
        channel=claimed.channel,
        attempt=claimed.attempt,
        created_at=claimed.created_at,
        notices=tuple(map(_notice, claimed.deliveries)),
    )


def _notice(delivery: Any) -> Notice:
    return Notice(**{name: getattr(delivery, name) for name in _NOTICE_FIELDS})


def _pause(seconds: float | None) -> timedelta | None:
    if seconds is None:
        return None
    return timedelta(seconds=min(_LONGEST_WAIT_SECONDS, max(0.0, seconds)))


async def _finish(
    connection: AsyncConnection, claimed: ClaimedMessage, verdict: Verdict
) -> AlertMessage:
    return await AlertMessageModel.finish(
        connection,
        claimed.id,
        attempt=claimed.attempt,
        outcome=verdict.outcome,
        error=verdict.error,
        retry_after=verdict.retry_after,
    )


def _tell_lost_report(claimed: ClaimedMessage, verdict: Verdict, reason: str) -> None:
    log.warning(
        "the message %s to %r was %s, which could not be recorded, so it is sent again: %s",
        claimed.id,
        claimed.channel,
        verdict.outcome,
        reason,
    )
