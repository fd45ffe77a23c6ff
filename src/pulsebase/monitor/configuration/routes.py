"""`[[routes]]`: which alerts go to which channels, at which hours, and after how long."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.models.alert_channel import NewAlertRoute, RouteHours
from pulsebase.models.schedules.wall_clock import zone_of
from pulsebase.monitor.configuration.lists import Advice, tables_at
from pulsebase.monitor.configuration.matching import matcher_of, matcher_problems
from pulsebase.monitor.configuration.origin import Origin
from pulsebase.monitor.configuration.written import LONGEST_RULE, TimeOfDay, Weekday

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.lists import NameRegister
    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.monitor.configuration.validation import Validation

__all__ = ["HoursKeys", "RouteKeys", "RouteReader", "begin_problem", "days_problem", "zone_problem"]

_EVERY_DAY: Final = (1, 2, 3, 4, 5, 6, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoursKeys:
    """`hours` of a route."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    begin: Annotated[TimeOfDay | None, Field(alias="from")] = None
    until: TimeOfDay | None = None
    days: tuple[Weekday, ...] | None = None
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse hours that never come."""
        problems = [*begin_problem(self.begin), *days_problem(self.days)]
        refuse([*problems, *zone_problem(self.zone)])

    def hours(self) -> RouteHours:
        """As the database keeps them."""
        return RouteHours(
            begin=self.begin or "00:00",
            until=self.until or "24:00",
            days=_EVERY_DAY if self.days is None else self.days,
            zone=self.zone,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteKeys:
    """`[[routes]]`: what it does not say matches always."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    channels: tuple[str, ...]
    services: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    types: tuple[Literal["service_down", "service_degraded"], ...] | None = None
    hours: HoursKeys | None = None
    after: Duration = timedelta(0)

    def __post_init__(self) -> None:
        """Refuse what would give nothing to anybody."""
        refuse([*self._problems(), *matcher_problems(self)])

    def _problems(self) -> Iterator[InvalidValueError]:
        if not self.channels:
            yield InvalidValueError("channels", [], "at least one channel")
        if self.types is not None and not self.types:
            yield InvalidValueError("types", [], "at least one; leave it out for all types")
        if self.after > LONGEST_RULE:
            yield InvalidValueError("after", format_duration(self.after), "at most 30d")

    def route(self) -> NewAlertRoute:
        """As the database keeps it."""
        return NewAlertRoute(
            channels=tuple(dict.fromkeys(self.channels)),
            matcher=matcher_of(self),
            alert_types=self.types,
            hours=None if self.hours is None else self.hours.hours(),
            after=self.after,
        )


class RouteReader:
    """Reads routes; what cannot be read becomes a complaint and is left out.

    `channels` are the names of all channels, also of those that something is wrong with.
    """

    def __init__(
        self, complaints: Complaints, validation: Validation, channels: NameRegister
    ) -> None:
        self._complaints = complaints
        self._validation = validation
        self._channels = channels.names
        otherwise = "add a table [[channels]] with this name"
        self._advice = Advice(channels.visible_names, otherwise=otherwise)

    def read(self, tables: Any) -> Iterator[NewAlertRoute]:
        """The routes of a file in its order."""
        for index, table in enumerate(tables_at(tables, ("routes",), self._complaints)):
            place = ("routes", index)
            self._judge_channels(table.get("channels"), (*place, "channels"))
            if keys := self._validation.read(RouteKeys, table, Origin(place)):
                yield from self._route(keys, place)

    def _route(self, keys: RouteKeys, place: KeyPath) -> Iterator[NewAlertRoute]:
        try:
            yield keys.route()
        except InvalidValueError as error:  # a channel is there, under a name that none can have
            self._complaints.invalid((*place, error.field), error.bound, error.value)

    def _judge_channels(self, names: Any, place: KeyPath) -> None:
        for index, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name not in self._channels:
                at = (*place, index)
                shown, advice = self._complaints.shown_name(at, name), self._advice.about(name)
                self._complaints.about(at, f"names {shown}, which is not a channel; {advice}")


def begin_problem(begin: str | None) -> Iterator[InvalidValueError]:
    """What is wrong with a time of day at which something begins."""
    if begin == "24:00":
        yield InvalidValueError("from", begin, 'at most "23:59"')


def days_problem(days: tuple[int, ...] | None) -> Iterator[InvalidValueError]:
    """What is wrong with days of the week."""
    if days is not None and not days:
        yield InvalidValueError("days", [], "at least one day; leave it out for every day")


def zone_problem(zone: str) -> Iterator[InvalidValueError]:
    """What is wrong with the name of a time zone."""
    try:
        zone_of(zone)
    except InvalidValueError as error:
        yield error
