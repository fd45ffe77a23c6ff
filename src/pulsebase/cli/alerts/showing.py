"""`pulsebase alerts show`: everything about one alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.cli.alerts.acts import print_acts
from pulsebase.cli.alerts.answers import alerts_of
from pulsebase.cli.alerts.listing import ALERT_STYLES
from pulsebase.cli.alerts.messages import MESSAGE_STYLES, waits_for
from pulsebase.cli.alerts.parents import ailing_parents
from pulsebase.cli.alerts.standing import Standing, began_at, details_of, reason_of, standings
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import (
    Column,
    print_json,
    print_line,
    print_styled,
    status_cell,
    tell,
)
from pulsebase.cli.text import age_text, shortened, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Call, Connection
    from pulsebase.models.alert_act import AlertAct
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.models.alert_message import AlertMessage, AlertMessageStory, MessageAttempt

__all__ = ["show"]

# A digest holds thousands of deliveries; what is older is in `alerts deliveries`.
_MOST_MESSAGES: Final = 50
_TITLE_WIDTH: Final = len("acknowledged")
_LONGEST_WHY: Final = 200
_COLUMNS: Final = (
    Column("CHANNEL"),
    Column("TOLD"),
    Column("STATUS"),
    Column("AT", rank=2),
    Column("ATTEMPTS", right=True, rank=3),
    Column("WHY", rank=1),
    Column("MESSAGE", rank=4),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What one channel is owed, or was told, about the event."""

    channel: str
    kind: str
    status: str
    created_at: datetime
    finished_at: datetime | None = None
    why: str = ""
    message_id: UUID | None = None
    attempts: tuple[MessageAttempt, ...] = ()


@dataclass(frozen=True, slots=True)
class _Alert:
    """An alert with all that belongs to it."""

    standing: Standing
    acts: Sequence[AlertAct]
    told: Sequence[_Told]
    ailing_parents: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        return {
            **self.standing.document(),
            "ailing_parents": self.ailing_parents,
            "acts": self.acts,
            "deliveries": self.told,
        }


@click.command("show", cls=DatabaseCommand)
@click.argument("reference", metavar="ID|SERVICE")
def show(reference: str) -> None:
    """Show one alert: what happened, what people did about it, and which channels were told.

    Give its ID, or the name of a SERVICE with an active alert.
    """
    options = current_options()
    with options.connect() as connection:
        found = [_alert(connection, event) for event in alerts_of(connection, reference)]
    if options.json:
        print_json({"alert_events": [alert.document() for alert in found]})
        return
    for alert in found:
        _print(alert)


def _alert(connection: Connection, event: AlertEvent) -> _Alert:
    from pulsebase.models.alert_act import AlertActModel

    if event.status == "active":
        [standing] = connection.run(standings([event], event.service_name))
    else:
        standing = Standing(event=event)
    acts = list(AlertActModel.iterate(connection, event_id=event.id))[::-1]
    told = [*_sent(connection, event), *_owed(connection, event)]
    is_child = "parent" in standing.held_by
    parents = connection.run(ailing_parents(event.service_name)) if is_child else {}
    return _Alert(standing, acts, told, parents)


def _sent(connection: Connection, event: AlertEvent) -> list[_Told]:
    """What is in messages, the oldest first."""
    from pulsebase.connection import Many
    from pulsebase.models.alert_message import AlertMessageModel

    since = event.created_at
    pages = AlertMessageModel.iterate(connection, service_name=event.service_name)
    messages = islice(takewhile(lambda each: each.created_at >= since, pages), _MOST_MESSAGES)
    calls: list[Call[AlertMessageStory | None]] = [
        AlertMessageModel.find_by_id.call(message.id) for message in messages
    ]
    if not calls:
        return []

    def ask() -> Any:
        return (yield Many(calls))

    stories: list[AlertMessageStory | None] = connection.run(ask())
    return [told for story in reversed(stories) if story for told in _told(story, event.id)]


def _told(story: AlertMessageStory, event_id: UUID) -> Iterator[_Told]:
    for delivery in story.deliveries:
        if delivery.event_id == event_id:
            yield _Told(
                channel=story.channel,
                kind=_kind(delivery.kind, delivery.sequence),
                status=story.status,
                created_at=delivery.created_at,
                finished_at=story.finished_at,
                why="" if story.status == "delivered" else _error(story),
                message_id=story.id,
                attempts=story.tried,
            )


def _owed(connection: Connection, event: AlertEvent) -> list[_Told]:
    """What waits and is in no message yet."""
    from pulsebase.models.alert_channel import AlertChannelModel
    from pulsebase.models.alert_message import AlertMessageModel

    found = AlertMessageModel.find_waiting(connection, service_name=event.service_name)
    waiting = [delivery for delivery in found if delivery.event_id == event.id]
    if not waiting:
        return []
    known = {channel.name: channel for channel in AlertChannelModel.find_all(connection)}
    now = datetime.now(UTC)
    return [
        _Told(
            channel=delivery.channel,
            kind=_kind(delivery.kind, delivery.sequence),
            status="waiting",
            created_at=delivery.created_at,
            why=waits_for(delivery, known.get(delivery.channel), now),
        )
        for delivery in waiting
    ]


def _kind(kind: str, sequence: int) -> str:
    return f"{kind} {sequence}" if sequence else kind.replace("_", " ")


def _error(message: AlertMessage) -> str:
    error = " ".join((message.last_error or "").split())
    again = f"again at {time_text(message.next_attempt_at)}"
    return f"{error}; {again}" if message.status == "pending" and error else error


def _print(alert: _Alert) -> None:
    event = alert.standing.event
    print_styled(
        f"{event.service_name}: ",
        status_cell(ALERT_STYLES[event.alert_type], event.alert_type),
        ", ",
        status_cell(event.status),
    )
    for title, text in (*_facts(alert.standing), ("depends on", _ailing(alert))):
        if text:
            print_line(f"  {title:<{_TITLE_WIDTH}}  {text}")
    if alert.acts:
        print_line("what people did")
        print_acts(alert.acts, {})
    if alert.told:
        print_line("what channels were told")
        print_texts(_COLUMNS, [_row(told) for told in alert.told], ["WHY"])
    elif event.status == "active":
        tell("no channel was told, or is to be; see: pulsebase alerts channels")


def _facts(standing: Standing) -> Iterator[tuple[str, str]]:
    event = standing.event
    details = details_of(event)
    began = began_at(event)
    end = event.resolved_at or datetime.now(UTC)
    yield "since", f"{time_text(began)} (for {age_text((end - began).total_seconds())})"
    yield "reason", reason_of(event)
    yield "opened after", _rule(details.get("policy"))
    yield "resolved", _resolved(event, details)
    yield "acknowledged", _by(standing.acknowledged_words())
    yield "quiet", standing.quiet_words()
    yield "first failed", _check(details.get("first_failed"))
    yield "last failed", _check(details.get("last_failed"))
    yield "location", _location(details)
    yield "incident", _text(details.get("incident_id"))
    yield "id", str(event.id)


def _resolved(event: AlertEvent, details: Mapping[str, Any]) -> str:
    if event.status != "resolved":
        return ""
    how = {
        "recovery": ", when it recovered",
        "superseded": ", when another alert took its place",
        "person": f" by {_text(details.get('actor')) or 'somebody'}",
    }.get(_text(details.get("resolved_by")), "")
    note = _text(details.get("note"))
    return f"{time_text(event.resolved_at)}{how}{f': {note}' if note else ''}"


def _ailing(alert: _Alert) -> str:
    return ", ".join(f"{name}, which is {how}" for name, how in alert.ailing_parents.items())


def _rule(policy: object) -> str:
    """The rule by which it opened, as a configuration writes it."""
    match policy:
        case {"seconds": int() | float() as seconds}:
            return f"{age_text(seconds)} of failing checks"
        case {"checks": int() as checks, "of": int() as newest} if newest != checks:
            return f"{checks} failing checks of {newest}"
        case {"checks": int() as checks}:
            return "a failing check" if checks == 1 else f"{checks} failing checks in a row"
        case _:
            return ""


def _by(words: str) -> str:
    return f"by {words}" if words else ""


def _check(check: object) -> str:
    """A failing check in the details; whatever is not as expected is left out."""
    if not isinstance(check, dict):
        return ""
    latency = check.get("latency_ms")
    parts = [
        _instant(check.get("checked_at")),
        _text(check.get("status")),
        f"{latency:,} ms" if isinstance(latency, int) else "",
        _text(check.get("reason")),
    ]
    return "  ".join(part for part in parts if part)


def _location(details: Mapping[str, Any]) -> str:
    location = details.get("locations", details.get("location"))
    return ", ".join(map(str, location)) if isinstance(location, list) else _text(location)


def _instant(value: object) -> str:
    from pulsebase.models.fields import parsed_instant

    try:
        return time_text(parsed_instant(value)) if isinstance(value, str) else ""
    except (ValueError, OverflowError):  # details can be anybody's
        return ""


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _row(told: _Told) -> list[Cell]:
    return [
        told.channel,
        told.kind,
        status_cell(MESSAGE_STYLES[told.status], told.status),
        time_text(told.finished_at or told.created_at),
        str(len(told.attempts)) if told.message_id else "",
        shortened(told.why, _LONGEST_WHY),
        str(told.message_id or ""),
    ]
