"""`pulsebase alerts channels`, `enable` and `disable`: who is told, and who cannot be."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.cli.alerts.answers import act_options, actor_of, meant
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.alerts.wording import quoted
from pulsebase.cli.options import DatabaseCommand, Failure, current_options
from pulsebase.cli.output import Column, print_json, print_line, status_cell, tell
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from datetime import datetime

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Call, Connection, Steps
    from pulsebase.models.alert_channel import AlertChannel
    from pulsebase.models.alert_message import AlertMessage

__all__ = ["channel_state", "channels", "disable", "enable"]

_COLUMNS: Final = (
    Column("CHANNEL"),
    Column("STATE"),
    Column("LAST DELIVERED", rank=2),
    Column("WAITING", right=True, rank=3),
    Column("SENDING", right=True, rank=4),
    Column("DEAD", right=True, rank=5),
    Column("REFUSALS", right=True, rank=6),
    Column("WHY", rank=1),
)
_STYLES: Final = {"ready": "ok", "disabled": "problem", "gone": ""}
_MOST_DEAD: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A channel, when something last arrived, and how many messages were given up (up to 100)."""

    channel: AlertChannel
    last_delivered_at: datetime | None
    dead_count: int

    def document(self) -> dict[str, Any]:
        row = {part.name: getattr(self.channel, part.name) for part in fields(self.channel)}
        return {
            **row,
            "state": channel_state(self.channel),
            "last_delivered_at": self.last_delivered_at,
            "dead_count": self.dead_count,
        }


@click.command("channels", cls=DatabaseCommand)
def channels() -> None:
    """Show the channels: what each is owed, when it was last told, and why one is disabled."""
    options = current_options()
    with options.connect() as connection:
        found = connection.run(_channels())
    if options.json:
        print_json({"alert_channels": [shown.document() for shown in found]})
        return
    if not found:
        tell(
            "there are no channels; write [[channels]] into the configuration file and start: "
            "pulsebase run"
        )
        return
    print_texts(_COLUMNS, [_row(shown) for shown in found], ["WHY"])
    for shown in found:
        if shown.channel.disabled_at is not None:
            tell(f"once it is mended, run: pulsebase alerts enable {quoted(shown.channel.name)}")


@click.command("enable", cls=DatabaseCommand)
@click.argument("channel", metavar="CHANNEL")
@act_options
def enable(channel: str, by: str | None, note: str | None) -> None:
    """Send to a disabled CHANNEL again; what it is owed has waited, and goes out."""
    from pulsebase.models.alert_channel import AlertChannelModel

    options = current_options()
    actor = actor_of(by)
    with options.connect() as connection:
        before = _known(connection, channel)
        AlertChannelModel.enable(connection, channel, by=actor, note=note)
        after = _known(connection, channel)
    if options.json:
        print_json(after)
    elif before.disabled_at is None:
        tell(f"{channel} was not disabled")
    else:
        print_line(f"{channel} is enabled; what it is owed goes out")


@click.command("disable", cls=DatabaseCommand)
@click.argument("channel", metavar="CHANNEL")
@act_options
def disable(channel: str, by: str | None, note: str | None) -> None:
    """Send nothing to CHANNEL until it is enabled; what it is owed waits."""
    from pulsebase.models.alert_channel import AlertChannelModel

    options = current_options()
    actor = actor_of(by)
    with options.connect() as connection:
        before = _known(connection, channel)
        AlertChannelModel.disable(connection, channel, by=actor, reason=note)
        after = _known(connection, channel)
    if options.json:
        print_json(after)
    elif before.disabled_at is not None:
        since = time_text(before.disabled_at)
        tell(f"{channel} was disabled already at {since}: {before.disabled_reason}")
    else:
        print_line(
            f"{channel} is disabled; enable it with: pulsebase alerts enable {quoted(channel)}"
        )


def channel_state(channel: AlertChannel) -> str:
    """`ready`, `disabled`, or `gone` from the configuration."""
    if channel.disabled_at is not None:
        return "disabled"
    return "ready" if channel.is_published else "gone"


def _channels() -> Steps[list[_Shown]]:
    from pulsebase.connection import Many
    from pulsebase.models.alert_channel import AlertChannelModel
    from pulsebase.models.alert_message import AlertMessageModel

    found: list[AlertChannel] = yield AlertChannelModel.find_all.call()
    calls: list[Call[list[AlertMessage]]] = []
    for each in found:
        # The newest message that arrived is nearly always the one that arrived last.
        delivered = AlertMessageModel.find.call(status="delivered", channel=each.name, limit=1)
        dead = AlertMessageModel.find.call(status="dead", channel=each.name, limit=_MOST_DEAD)
        calls += [delivered, dead]
    answers: list[list[AlertMessage]] = (yield Many(calls)) if calls else []
    return [
        _Shown(
            channel=each,
            last_delivered_at=delivered[0].finished_at if delivered else None,
            dead_count=len(dead),
        )
        for each, delivered, dead in zip(found, answers[::2], answers[1::2], strict=True)
    ]


def _known(connection: Connection, name: str) -> AlertChannel:
    from pulsebase.models.alert_channel import AlertChannelModel

    found = {each.name: each for each in AlertChannelModel.find_all(connection)}
    if name in found:
        return found[name]
    advice = meant(name, list(found), "see: pulsebase alerts channels")
    message = f"there is no channel {name!r}; {advice}"
    raise Failure(message)


def _row(shown: _Shown) -> list[Cell]:
    channel, state = shown.channel, channel_state(shown.channel)
    more = "+" if shown.dead_count == _MOST_DEAD else ""
    return [
        channel.name,
        status_cell(_STYLES[state], state),
        time_text(shown.last_delivered_at) or "never",
        f"{channel.waiting_count:,}",
        f"{channel.unfinished_count:,}",
        f"{shown.dead_count}{more}",
        str(channel.refusals_in_a_row),
        _why(channel),
    ]


def _why(channel: AlertChannel) -> str:
    if channel.disabled_at is not None:
        reason = " ".join((channel.disabled_reason or "").split())
        return f"{reason} (since {time_text(channel.disabled_at)})"
    return "" if channel.is_published else "not in the configuration any more"
