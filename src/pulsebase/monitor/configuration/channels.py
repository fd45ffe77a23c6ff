"""`[[channels]]`: whom to tell, by which rules, and how."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError, MissingExtraError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.models.alert_channel import NewAlertChannel
from pulsebase.monitor.configuration.lists import NameRegister, tables_at
from pulsebase.monitor.configuration.origin import Origin
from pulsebase.monitor.configuration.values import NAME_RULE, Channel, readable
from pulsebase.monitor.configuration.written import LONGEST_RULE, Rate
from pulsebase.notifiers import load_notifier_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.monitor.configuration.validation import Validation
    from pulsebase.notifiers import Notifier

__all__ = ["CHANNEL_KEYS", "ChannelKeys", "ChannelReader"]

_LONGEST_WINDOW: Final = timedelta(hours=1)
_SHORTEST: Final = timedelta(seconds=1)
_URL_RULE: Final = "a URL such as https://… or mailto://…"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelKeys:
    """The keys of every channel, whatever its kind; the kind has those that say how to tell."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    name: str
    group_window: Duration = timedelta(seconds=10)
    rate: Rate | None = None
    remind_every: Duration | None = None
    give_up_after: Duration = timedelta(days=1)

    def __post_init__(self) -> None:
        """Refuse what nobody could want to be told by."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        if not readable(self.name):
            yield InvalidValueError("name", self.name, NAME_RULE)
        if self.group_window > _LONGEST_WINDOW:
            got = format_duration(self.group_window)
            yield InvalidValueError("group_window", got, "at most 1h")
        for name in ("remind_every", "give_up_after"):
            duration: timedelta | None = getattr(self, name)
            if duration is not None and not _SHORTEST <= duration <= LONGEST_RULE:
                yield InvalidValueError(name, format_duration(duration), "from 1s to 30d")

    def rules(self) -> NewAlertChannel:
        """What the database is told."""
        return NewAlertChannel(
            name=self.name,
            group_window=self.group_window,
            rate_limit=self.rate.count if self.rate else None,
            rate_period=self.rate.within if self.rate else None,
            remind_every=self.remind_every,
            give_up_after=self.give_up_after,
        )


CHANNEL_KEYS: Final = tuple(one.name for one in fields(ChannelKeys))


class ChannelReader:
    """Reads channels; what cannot be read becomes a complaint and is left out.

    `link` is what messages of a channel link to that says nothing else, and stands in `[alerts]`.
    `names` are, once it has read, those of all channels.
    """

    def __init__(self, complaints: Complaints, validation: Validation, *, link: str | None) -> None:
        self._complaints = complaints
        self._validation = validation
        self._inherited = {} if link is None else {"link": link}
        self.names = NameRegister("channel", complaints)

    def read(self, tables: Any) -> Iterator[Channel]:
        """The channels of a file in its order."""
        for index, table in enumerate(tables_at(tables, ("channels",), self._complaints)):
            place = ("channels", index)
            self.names.add(table, place)
            if channel := self._channel(table, place):
                yield channel

    def _channel(self, table: dict[str, Any], place: KeyPath) -> Channel | None:
        shared = {key: table[key] for key in CHANNEL_KEYS if key in table}
        keys = self._validation.read(ChannelKeys, shared, Origin(place))
        notifier = self._notifier(table, place)
        if keys is None or notifier is None:
            return None
        return Channel(rules=keys.rules(), notifier=notifier)

    def _notifier(self, table: Mapping[str, Any], place: KeyPath) -> Notifier | None:
        own = {key: value for key, value in table.items() if key not in CHANNEL_KEYS}
        if (kind := self._kind(own, place)) is None:
            return None
        origin = Origin(place, own, ("alerts",), self._inherited)
        both = {**self._inherited, **own}
        return self._validation.read(kind, both, origin, beside=CHANNEL_KEYS)

    def _kind(self, own: Mapping[str, Any], place: KeyPath) -> type[Notifier] | None:
        at = (*place, "url")
        if "url" not in own:
            self._complaints.missing_key(at)
            return None
        url = own["url"]
        if not isinstance(url, str) or "://" not in url:
            self._complaints.invalid_raw(at, f"{_URL_RULE}, in quotes", url)
            return None
        try:
            return load_notifier_kind(url.partition("://")[0])
        except MissingExtraError as error:
            # The error's own words name the scheme, which may have come from `${…}`.
            advice = f'run: pip install "pulsebase[{error.extra}]"'
            self._complaints.about(at, f"is for Apprise, which is not installed; {advice}")
        return None
