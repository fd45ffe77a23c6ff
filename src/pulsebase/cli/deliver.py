"""`pulsebase deliver`: what channels are owed, sent once; for cron."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from pulsebase.cli.options import DatabaseCommand, Failure, current_options
from pulsebase.cli.output import print_json, print_line, tell
from pulsebase.cli.watching import (
    config_option,
    make_ready,
    open_door,
    read_configuration,
    target_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pulsebase.monitor.configuration import Configuration
    from pulsebase.monitor.delivering.once import Round
    from pulsebase.monitor.delivering.sending import Attempt
    from pulsebase.settings import Target

__all__ = ["deliver"]


@click.command(cls=DatabaseCommand)
@config_option
def deliver(path: Path) -> None:
    """Send what the channels of the configuration file are owed, once.

    For cron, where no `pulsebase run` delivers all the time. What may not go yet is left for the
    next time, and so is a channel that does not take a message. What the file says about alerts is
    taken over first.

    \b
    Exit codes: 0 everything arrived, or there was nothing to send,
    1 a message did not arrive, or nothing could be sent.
    """  # noqa: D301 -- click's mark for a paragraph that it must not wrap
    configuration = read_configuration(path)
    target = target_of(configuration, current_options())
    done = asyncio.run(_deliver(configuration, target))
    if current_options().json:
        print_json(_document(done))
    else:
        _show(done.attempts)
    if any(attempt.verdict.outcome != "delivered" for attempt in done.attempts):
        raise SystemExit(1)


async def _deliver(configuration: Configuration, target: Target) -> Round:
    from pulsebase.monitor.delivering.once import deliver_once
    from pulsebase.monitor.publishing import Publishing
    from pulsebase.monitor.reachability import Reachability

    async with open_door(target) as connection:
        if trouble := await make_ready(connection, target):
            raise Failure(trouble)
        publishing = Publishing(connection, configuration, reachability=Reachability())
        await publishing.publish_once()
        return await deliver_once(connection, configuration.notifiers)


def _show(attempts: Sequence[Attempt]) -> None:
    """One line for all that arrived, and one on stderr for each message that did not."""
    from pulsebase.monitor.counted import counted
    from pulsebase.monitor.delivering.telling import subject_of

    arrived = sum(attempt.verdict.outcome == "delivered" for attempt in attempts)
    for attempt in attempts:
        if attempt.verdict.outcome != "delivered":
            fate = "is tried again" if _is_tried_again(attempt) else "is dead"
            channel, subject = attempt.claimed.channel, subject_of(attempt.claimed)
            tell(f"{channel} was not told {subject}; it {fate}: {attempt.verdict.error}")
    failed = len(attempts) - arrived
    print_line(
        f"delivered {counted(arrived, 'message')}"
        + (f", and not {counted(failed, 'message')}" if failed else "")
    )


def _is_tried_again(attempt: Attempt) -> bool:
    status = attempt.message.status if attempt.message else None
    return attempt.verdict.outcome == "failed" and status != "dead"


def _document(done: Round) -> dict[str, Any]:
    return {
        "evaluated": done.evaluated,
        "messages": [_message(attempt) for attempt in done.attempts],
        "next_due_at": done.next_due_at.isoformat() if done.next_due_at else None,
    }


def _message(attempt: Attempt) -> dict[str, Any]:
    """`status` is what the message is now; None where the report could not be stored."""
    claimed, verdict = attempt.claimed, attempt.verdict
    return {
        "id": str(claimed.id),
        "channel": claimed.channel,
        "attempt": claimed.attempt,
        "outcome": verdict.outcome,
        "error": verdict.error,
        "status": attempt.message.status if attempt.message else None,
        "service_names": sorted({each.service_name for each in claimed.deliveries}),
    }
