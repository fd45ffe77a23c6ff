"""What people read of deliveries: each message that went out, and a channel's troubles once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from pulsebase.monitor.counted import counted

if TYPE_CHECKING:
    from pulsebase.models.alert_message import ClaimedMessage
    from pulsebase.monitor.delivering.sending import Attempt

__all__ = ["Telling", "subject_of"]

log = logging.getLogger("pulsebase.monitor")

_MOST_NAMES: Final = 3


class Telling:
    """Remembers which channels are in trouble, so that it tells the beginning and the end."""

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over."""
        channel, subject = attempt.claimed.channel, subject_of(attempt.claimed)
        verdict, message = attempt.verdict, attempt.message
        if verdict.outcome == "delivered":
            if channel in self._failing:
                log.warning("the channel %r takes messages again", channel)
                self._failing.discard(channel)
            log.info("told %r %s (message %s)", channel, subject, attempt.claimed.id)
            return
        if verdict.outcome == "refused" or (message and message.status == "dead"):
            log.error(
                "the channel %r was not told %s, and will not be unless you run:"
                " pulsebase alerts replay %s; %s",
                channel,
                subject,
                attempt.claimed.id,
                verdict.error,
            )
            return
        level = logging.DEBUG if channel in self._failing else logging.WARNING
        self._failing.add(channel)
        log.log(
            level,
            "the channel %r does not take messages, they are tried again: %s",
            channel,
            verdict.error,
        )


def subject_of(claimed: ClaimedMessage) -> str:
    """What a message is about, in a few words."""
    match claimed.deliveries:
        case [only]:
            return f"{only.kind.replace('_', ' ')}: {only.alert_type} of {only.service_name!r}"
    names = list(dict.fromkeys(each.service_name for each in claimed.deliveries))
    more = len(names) - _MOST_NAMES
    shown = ", ".join(map(repr, names[:_MOST_NAMES])) + (f" and {more:,} more" if more > 0 else "")
    return f"{counted(len(claimed.deliveries), 'notice')} of {shown}"
