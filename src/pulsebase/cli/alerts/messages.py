"""`pulsebase alerts deliveries` and `replay`: what waits, what was sent, and what is dead."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.cli.alerts.answers import act_options, actor_of, usage_error
from pulsebase.cli.alerts.standing import held_words
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.alerts.wording import quoted
from pulsebase.cli.options import DatabaseCommand, Failure, current_options
from pulsebase.cli.output import Column, print_json, print_line, status_cell, tell
from pulsebase.cli.text import shortened, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Connection
    from pulsebase.models.alert_channel import AlertChannel
    from pulsebase.models.alert_delivery import WaitingDelivery
    from pulsebase.models.alert_message import AlertMessage, MessageStatus

__all__ = ["MESSAGE_STYLES", "deliveries", "replay", "waits_for"]

MESSAGE_STYLES: Final = {
    "waiting": "warning",
    "pending": "warning",
    "sending": "warning",
    "delivered": "ok",
    "dead": "problem",
}
_STATUSES: Final[Mapping[str, tuple[MessageStatus, ...]]] = {
    "waiting": (),
    "pending": ("pending", "sending"),
    "delivered": ("delivered",),
    "dead": ("dead",),
}
_DEFAULT_LIMIT: Final = 100
_LONGEST_WHY: Final = 200
_LATE: Final = timedelta(minutes=5)
_COLUMNS: Final = (
    Column("STATUS"),
    Column("CHANNEL", rank=1),
    Column("WHAT"),
    Column("AT", rank=3),
    Column("ATTEMPTS", right=True, rank=5),
    Column("WHY", rank=2),
    Column("ID", rank=4),
)


@dataclass(frozen=True, slots=True)
class _Found:
    """What is owed and waits, with what for; and the messages."""

    waiting: Sequence[tuple[WaitingDelivery, str]]
    messages: Sequence[AlertMessage]


@click.command("deliveries", cls=DatabaseCommand)
@click.option(
    "--status",
    type=click.Choice(list(_STATUSES)),
    help="Only what is owed and waits, what is being sent, what has arrived, or what is dead.",
)
@click.option("--channel", metavar="NAME", help="Only those of this channel.")
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000),
    default=_DEFAULT_LIMIT,
    metavar="N",
    help="At most so many that wait, and so many messages (100).",
)
def deliveries(status: str | None, channel: str | None, limit: int) -> None:
    """Show what is owed to channels and why it waits, what was sent, and what is dead.

    What waits comes first, the oldest first; then messages, the newest first. A message is one
    delivery, or a digest of several.
    """
    options = current_options()
    with options.connect() as connection:
        found = _find(connection, status, channel, limit + 1)
    if options.json:
        waiting = [_document(each, reason) for each, reason in found.waiting[:limit]]
        print_json({"waiting": waiting, "messages": found.messages[:limit]})
        return
    rows = [_waiting_row(each, reason) for each, reason in found.waiting[:limit]]
    rows += [_message_row(message) for message in found.messages[:limit]]
    if not rows:
        tell(_nothing(status, channel))
        return
    print_texts(_COLUMNS, rows, ["WHY"])
    if max(len(found.waiting), len(found.messages)) > limit:
        tell(f"only {limit:,} are shown; --limit shows more")
    _advise(found, limit)


def _advise(found: _Found, limit: int) -> None:
    now = datetime.now(UTC)
    late = any(each.hold_reason is None and now - each.due_at > _LATE for each, _ in found.waiting)
    if late:
        tell("some of it has been due for minutes; find out why with: pulsebase doctor")
    if any(message.status == "dead" for message in found.messages[:limit]):
        tell("send dead messages again with: pulsebase alerts replay ID, or --all-dead")


@click.command("replay", cls=DatabaseCommand)
@click.argument("ids", nargs=-1, metavar="[ID]...", type=click.UUID)
@click.option("--all-dead", is_flag=True, help="Every message that is dead.")
@click.option("--channel", metavar="NAME", help="With --all-dead: only those of this channel.")
@act_options
def replay(
    ids: tuple[UUID, ...],
    channel: str | None,
    by: str | None,
    note: str | None,
    *,
    all_dead: bool,
) -> None:
    """Send dead messages again, under the same ids, with a new time limit.

    Give their IDs, or --all-dead.
    """
    if bool(ids) == all_dead or (channel is not None and not all_dead):
        message = "give IDs of dead messages, or --all-dead, with which --channel goes"
        raise usage_error(message)
    options = current_options()
    actor = actor_of(by)
    with options.connect() as connection:
        dead = _all_dead(connection, channel) if all_dead else _dead(connection, ids)
        replayed = [_replay(connection, each.id, actor, note) for each in dead]
        disabled = _disabled(connection, {each.channel for each in replayed})
    if options.json:
        print_json({"messages": replayed})
        return
    if not replayed:
        tell(_nothing("dead", channel))
    for each in replayed:
        print_line(f"{each.id} to {each.channel} is pending again: {_what(each)}")
    for name, reason in disabled:
        enable = f"pulsebase alerts enable {quoted(name)}"
        tell(f"{name} is disabled ({reason}), so they wait; run: {enable}")


def _find(connection: Connection, status: str | None, channel: str | None, most: int) -> _Found:
    from pulsebase.models.alert_channel import AlertChannelModel
    from pulsebase.models.alert_message import AlertMessageModel

    known = {each.name: each for each in AlertChannelModel.find_all(connection)}
    if channel is not None and channel not in known:
        message = f"there is no channel {channel!r}; see: pulsebase alerts channels"
        raise Failure(message)
    waiting: list[WaitingDelivery] = []
    if status in {None, "waiting"}:
        waiting = AlertMessageModel.find_waiting(connection, channel=channel)
    messages: list[AlertMessage] = []
    if status is None:
        messages = list(islice(AlertMessageModel.iterate(connection, channel=channel), most))
    else:
        for kind in _STATUSES[status]:
            pages = AlertMessageModel.iterate(connection, status=kind, channel=channel)
            messages += islice(pages, most)
    messages.sort(key=lambda each: (each.created_at, each.id), reverse=True)
    now = datetime.now(UTC)
    told = [(each, waits_for(each, known.get(each.channel), now)) for each in waiting]
    return _Found(told, messages)


def waits_for(delivery: WaitingDelivery, channel: AlertChannel | None, now: datetime) -> str:
    """Why something that is owed is not sent yet."""
    if delivery.hold_reason is not None:
        since = f" since {time_text(delivery.held_since)}" if delivery.held_since else ""
        return f"{held_words(delivery.hold_reason)}{since}"
    if channel is None:
        return "its channel is not there any more"
    if channel.disabled_at is not None:
        return "the channel is disabled"
    if delivery.due_at > now:
        step = "an escalation, " if delivery.is_escalation else ""
        return f"{step}due at {time_text(delivery.due_at)}"
    return f"due since {time_text(delivery.due_at)}; goes out with the next round of delivery"


def _document(delivery: WaitingDelivery, reason: str) -> dict[str, Any]:
    row = {part.name: getattr(delivery, part.name) for part in fields(delivery)}
    return {**row, "waits_for": reason}


def _waiting_row(delivery: WaitingDelivery, reason: str) -> list[Cell]:
    kind = delivery.kind.replace("_", " ")
    return [
        status_cell(MESSAGE_STYLES["waiting"], "waiting"),
        delivery.channel,
        f"{delivery.service_name}: {kind} {delivery.alert_type}",
        time_text(delivery.created_at),
        "",
        reason,
        "",
    ]


def _message_row(message: AlertMessage) -> list[Cell]:
    moment = message.finished_at or message.created_at
    return [
        status_cell(MESSAGE_STYLES[message.status], message.status),
        message.channel,
        _what(message),
        time_text(moment),
        str(message.attempts),
        shortened(_why(message), _LONGEST_WHY),
        str(message.id),
    ]


def _what(message: AlertMessage) -> str:
    if message.service_name is not None and message.delivery_count == 1:
        return message.service_name
    of_it = f" of {message.service_name}" if message.service_name is not None else ""
    return f"a digest of {message.delivery_count:,}{of_it}"


def _why(message: AlertMessage) -> str:
    error = " ".join((message.last_error or "").split())
    match message.status:
        case "dead":
            return error
        case "pending" if message.attempts:
            return f"{error}; again at {time_text(message.next_attempt_at)}"
        case "sending":
            return f"until {time_text(message.leased_until)}"
        case _:
            return ""


def _nothing(status: str | None, channel: str | None) -> str:
    to_it = f" to {channel}" if channel is not None else ""
    match status:
        case "waiting":
            return f"nothing that is owed{to_it} waits"
        case "pending":
            return f"nothing is being sent{to_it}"
        case "delivered":
            return f"nothing was delivered{to_it} yet"
        case "dead":
            return f"no message{to_it} is dead"
        case _:
            return f"nothing is owed{to_it}, and nothing was sent"


def _all_dead(connection: Connection, channel: str | None) -> list[AlertMessage]:
    """The oldest first, as they were to arrive."""
    from pulsebase.models.alert_message import AlertMessageModel

    if channel is not None:
        _find(connection, "waiting", channel, 1)  # says so where there is no such channel
    return list(AlertMessageModel.iterate(connection, status="dead", channel=channel))[::-1]


def _dead(connection: Connection, ids: Sequence[UUID]) -> list[AlertMessage]:
    from pulsebase.models.alert_message import AlertMessageModel

    found: list[AlertMessage] = []
    for sought in dict.fromkeys(ids):
        message = AlertMessageModel.find_by_id(connection, sought)
        if message is None:
            fault = f"there is no message {sought}; see: pulsebase alerts deliveries --status dead"
            raise Failure(fault)
        if message.status != "dead":
            fault = f"the message {sought} is {message.status}; only dead ones are sent again"
            raise Failure(fault)
        found.append(message)
    return found


def _replay(connection: Connection, sought: UUID, actor: str, note: str | None) -> AlertMessage:
    from pulsebase.models.alert_message import AlertMessageModel

    return AlertMessageModel.replay(connection, sought, by=actor, note=note)


def _disabled(connection: Connection, names: set[str]) -> list[tuple[str, str]]:
    from pulsebase.models.alert_channel import AlertChannelModel

    return [
        (each.name, each.disabled_reason or "no reason given")
        for each in AlertChannelModel.find_all(connection)
        if each.name in names and each.disabled_at is not None
    ]
