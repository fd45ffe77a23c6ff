"""Alert channels: the rows of `alert_channels` and `alert_routes`, whom to tell of which alert.

Addresses and secrets are not here: they stay with whoever delivers. Here are the rules.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pulsebase.connection import Call
from pulsebase.errors import InvalidValueError, NotFoundError
from pulsebase.models import fields
from pulsebase.models.alert_act import new_act, note_text
from pulsebase.models.alert_event import ALERT_TYPES
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pulsebase.models.alert_event import AlertType

__all__ = [
    "AlertChannel",
    "AlertChannelModel",
    "NewAlertChannel",
    "NewAlertRoute",
    "PublishedChannels",
    "RouteHours",
]

_DAY = timedelta(days=1)
_TIME = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d|24:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertChannel:
    """A channel as the database knows it. Times are in UTC.

    `is_published` is False once it has gone from the configuration: it is told nothing new, but
    still that what it was told of is over. `waiting_count` is what it is owed and is in no message
    yet, `unfinished_count` its messages that were neither delivered nor given up.
    """

    name: str
    is_published: bool
    group_window: timedelta
    rate_limit: int | None
    rate_period: timedelta | None
    remind_every: timedelta | None
    give_up_after: timedelta
    refusals_in_a_row: int
    disabled_at: datetime | None
    disabled_reason: str | None
    updated_at: datetime
    waiting_count: int
    unfinished_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlertChannel:
    """The rules of a channel, valid by construction.

    What comes within `group_window` of each other is one message (none: each its own); no more than
    `rate_limit` messages in a `rate_period`, and the rest together after it; what is still active
    is told again every `remind_every`; a message is tried for `give_up_after`.
    """

    name: str
    group_window: timedelta = timedelta(seconds=10)
    rate_limit: int | None = None
    rate_period: timedelta | None = None
    remind_every: timedelta | None = None
    give_up_after: timedelta = _DAY

    def __post_init__(self) -> None:
        """Check every field."""
        fields.service_name(self.name, "name")
        if self.group_window != timedelta(0):
            fields.duration("group_window", self.group_window)
        fields.duration("give_up_after", self.give_up_after)
        fields.optional(fields.duration, "rate_period", self.rate_period)
        fields.optional(fields.duration, "remind_every", self.remind_every)
        if self.rate_limit is not None:
            fields.whole_number("rate_limit", self.rate_limit, 1, fields.LARGEST_INTEGER)
        if (self.rate_limit is None) != (self.rate_period is None):
            field = "rate_period"
            raise InvalidValueError(field, self.rate_period, "given together with rate_limit")

    def _members(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "group_window_seconds": self.group_window.total_seconds(),
            "rate_limit": self.rate_limit,
            "rate_period_seconds": _seconds(self.rate_period),
            "remind_every_seconds": _seconds(self.remind_every),
            "give_up_after_seconds": self.give_up_after.total_seconds(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteHours:
    """Hours of the day, `HH:MM`, by the clock of a time zone; `until` is not included.

    Over midnight they belong to the day on which they begin. `days` are 1 (Monday) to 7.
    """

    begin: str = "00:00"
    until: str = "24:00"
    days: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7)
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check every field."""
        _require_time("begin", self.begin)
        _require_time("until", self.until)
        for day in self.days:
            fields.whole_number("days", day, 1, 7)
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError, TypeError):
            field = "zone"
            raise InvalidValueError(field, self.zone, "a time zone such as Europe/Berlin") from None

    def _members(self) -> dict[str, Any]:
        days = sorted(set(self.days))
        return {"from": self.begin, "until": self.until, "days": days, "zone": self.zone}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlertRoute:
    """Which alerts go to some channels, and after how long; valid by construction.

    `matcher` names services and labels, in both of which `*` is any text; None is every service.
    Without `alert_types` all types go. With `after`, only what is still active by then, and
    acknowledged by nobody.
    """

    channels: tuple[str, ...]
    matcher: dict[str, Any] | None = None
    alert_types: tuple[AlertType, ...] | None = None
    hours: RouteHours | None = None
    after: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        """Check every field."""
        for name in self.channels:
            fields.service_name(name, "channels")
        for alert_type in self.alert_types or ():
            fields.one_of("alert_types", alert_type, ALERT_TYPES)
        fields.optional(fields.json_object, "matcher", self.matcher)
        if self.after != timedelta(0):
            fields.duration("after", self.after)

    def _members(self) -> dict[str, Any]:
        return {
            "channels": list(self.channels),
            "matcher": self.matcher,
            "alert_types": None if self.alert_types is None else list(self.alert_types),
            "hours": None if self.hours is None else self.hours._members(),  # noqa: SLF001 -- the same module
            "after_seconds": self.after.total_seconds(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedChannels:
    """What publishing changed: channels that are new or have other rules, those that are gone."""

    changed: int
    unpublished: int
    is_rerouted: bool


def _columns(row: Mapping[str, Any]) -> AlertChannel:
    return AlertChannel(
        name=row["name"],
        is_published=bool(row["is_published"]),
        group_window=timedelta(seconds=row["group_window_seconds"]),
        rate_limit=row["rate_limit"],
        rate_period=_duration(row["rate_period_seconds"]),
        remind_every=_duration(row["remind_every_seconds"]),
        give_up_after=timedelta(seconds=row["give_up_after_seconds"]),
        refusals_in_a_row=int(row["refusals_in_a_row"]),
        disabled_at=None
        if row["disabled_at"] is None
        else fields.parsed_instant(row["disabled_at"]),
        disabled_reason=row["disabled_reason"],
        updated_at=fields.parsed_instant(row["updated_at"]),
        waiting_count=int(row["waiting_count"]),
        unfinished_count=int(row["unfinished_count"]),
    )


_row = fields.decoder(_columns)
_published = fields.decoder(
    lambda row: PublishedChannels(
        changed=int(row["changed"]),
        unpublished=int(row["unpublished"]),
        is_rerouted=bool(row["is_rerouted"]),
    )
)


class AlertChannelModel:
    """Keeps the rules by which channels are told.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def publish(
        *, channels: Iterable[NewAlertChannel], routes: Iterable[NewAlertRoute] = ()
    ) -> Call[PublishedChannels]:
        """Make these the channels and routes, in the place of those that are there.

        A channel that no route names is told everything. One that is missing is told nothing new; a
        disabled one stays disabled.
        """
        arguments = {"channels": _array(channels), "routes": _array(routes)}
        return Call(Request("publish_alert_channels", arguments), _published)

    @operation
    @staticmethod
    def find_all() -> Call[list[AlertChannel]]:
        """All channels, by name, also those that are not published any more."""
        return Call(Request("find_alert_channels"), fields.rows(_row))

    @operation
    @staticmethod
    def enable(name: str, *, by: str, note: str | None = None) -> Call[AlertChannel]:
        """Send to a disabled channel again, what it is owed first; returns the channel.

        Raises NotFoundError when there is no channel with this name.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "name": fields.service_name(name, "name"),
            **new_act(fields.service_name(by, "by"), note),
        }
        return Call(Request("enable_alert_channel", arguments), lambda row: _found(row, name))

    @operation
    @staticmethod
    def disable(name: str, *, by: str, reason: str | None = None) -> Call[AlertChannel]:
        """Send nothing to a channel until it is enabled; what it is owed waits. Returns it.

        Raises NotFoundError when there is no channel with this name.
        """
        act = new_act(fields.service_name(by, "by"), None)
        arguments: dict[str, str | int | JsonText | None] = {
            "name": fields.service_name(name, "name"),
            "actor": act["actor"],
            "reason": fields.optional(note_text, "reason", reason),
            "act_id": act["act_id"],
        }
        return Call(Request("disable_alert_channel", arguments), lambda row: _found(row, name))


def _found(row: Any, name: str) -> AlertChannel:
    if row is None:
        msg = f"there is no channel with the name {name}"
        raise NotFoundError(msg)
    return _row(row)


def _array(given: Iterable[NewAlertChannel] | Iterable[NewAlertRoute]) -> JsonText:
    return JsonText(json.dumps([each._members() for each in given]))  # noqa: SLF001 -- the same module


def _require_time(field: str, value: object) -> None:
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise InvalidValueError(field, value, "a time as HH:MM")


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
