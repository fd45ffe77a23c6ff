"""When alerts open and close: `[alerts]`, its policies, and `alerts` of a group or a service.

The file says `open_after = "3 of 5"`; the database keeps flat keys, `down_open_checks` and so on.
What is said for both levels counts for each, unless `down` or `degraded` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.models.alert_policy import NewAlertPolicy
from pulsebase.monitor.configuration.lists import tables_at
from pulsebase.monitor.configuration.matching import matcher_of, matcher_problems
from pulsebase.monitor.configuration.origin import Origin
from pulsebase.monitor.configuration.written import (
    LONGEST_RULE,
    MOST_CHECKS,
    Agreement,
    Flapping,
    OpenAfter,
    number_of_seconds,
)
from pulsebase.notifiers.support.links import link_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.monitor.configuration.validation import Validation
    from pulsebase.monitor.configuration.written import Opening

__all__ = [
    "AlertKeys",
    "AlertReader",
    "AlertsTable",
    "DegradedKeys",
    "LevelKeys",
    "PolicyKeys",
]

_PLACE: Final = ("alerts",)
_POLICIES: Final = "policies"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelKeys:
    """`[alerts.down]`: what differs for one level."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    open_after: OpenAfter | None = None
    close_after: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could close no alert."""
        refuse(_closing_problem(self.close_after))


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradedKeys:
    """`[alerts.degraded]`, which can be left out of alerting altogether."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    enabled: bool | None = None
    open_after: OpenAfter | None = None
    close_after: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could close no alert."""
        refuse(_closing_problem(self.close_after))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertKeys:
    """`alerts` of a group or a service: None where it says nothing."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    enabled: bool | None = None
    open_after: OpenAfter | None = None
    close_after: int | None = None
    flapping: Flapping | None = None
    locations: Agreement | None = None
    location_fresh_for: Duration | None = None
    down: LevelKeys = field(default_factory=LevelKeys)
    degraded: DegradedKeys = field(default_factory=DegradedKeys)

    def __post_init__(self) -> None:
        """Refuse what the database would refuse."""
        refuse(self.problems())

    def problems(self) -> Iterator[InvalidValueError]:
        """What the database would refuse."""
        yield from _closing_problem(self.close_after)
        fresh = self.location_fresh_for
        if fresh is not None and not timedelta(0) < fresh <= LONGEST_RULE:
            bound = "more than 0s and at most 30d"
            yield InvalidValueError("location_fresh_for", format_duration(fresh), bound)

    def policy(self) -> dict[str, Any]:
        """The flat keys of what is said, as the database merges them."""
        said: dict[str, Any] = {
            "enabled": self.enabled,
            "degraded_enabled": self.degraded.enabled,
            **_level("down", self.down.open_after or self.open_after),
            "down_close_checks": self.down.close_after or self.close_after,
            **_level("degraded", self.degraded.open_after or self.open_after),
            "degraded_close_checks": self.degraded.close_after or self.close_after,
            "locations_agree": self.locations,
            "location_fresh_seconds": _seconds(self.location_fresh_for),
        }
        if self.flapping is not None:
            said["flapping_changes"] = self.flapping.count
            said["flapping_within_seconds"] = _seconds(self.flapping.within or None)
        # Null is a value in a form of opening alone: there it takes away what was inherited.
        return {key: value for key, value in said.items() if value is not None or "_open_" in key}


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsTable(AlertKeys):
    """`[alerts]`: the policy of all services, and what messages link to."""

    link: str | None = field(default=None, repr=False)

    def problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with these keys, and with those of every table of alerts."""
        yield from AlertKeys.problems(self)
        yield from link_problem(self.link)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyKeys(AlertKeys):
    """`[[alerts.policies]]`: the policy of the services that it matches."""

    services: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])

    def problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with these keys, and with those of every table of alerts."""
        yield from AlertKeys.problems(self)
        yield from matcher_problems(self)


ALERT_KEYS: Final = tuple(one.name for one in fields(AlertKeys))


class AlertReader:
    """Reads what is said of alerts; what cannot be read becomes a complaint and is left out."""

    def __init__(self, complaints: Complaints, validation: Validation) -> None:
        self._complaints = complaints
        self._validation = validation
        self._known: dict[tuple[KeyPath, str], Mapping[str, Any] | None] = {}

    def read(self, table: Any) -> tuple[list[NewAlertPolicy], str | None]:
        """The policies of `[alerts]`, its own before the others, and the link of its messages."""
        own = {**table} if isinstance(table, dict) else table
        policies = own.pop(_POLICIES, []) if isinstance(own, dict) else []
        origin = Origin(_PLACE)
        keys = self._validation.read(AlertsTable, own, origin, beside=(_POLICIES,))
        said = keys.policy() if keys else {}
        first = [NewAlertPolicy(alert_policy=said)] if said else []
        return [*first, *self._policies(policies)], keys.link if keys else None

    def _policies(self, tables: Any) -> Iterator[NewAlertPolicy]:
        place = (*_PLACE, _POLICIES)
        for index, table in enumerate(tables_at(tables, place, self._complaints)):
            keys = self._validation.read(PolicyKeys, table, Origin((*place, index)))
            if keys is None:
                continue
            if said := keys.policy():
                yield NewAlertPolicy(alert_policy=said, matcher=matcher_of(keys))
            else:
                advice = "says nothing; add what it is to change, such as open_after"
                self._complaints.about((*place, index), advice)

    def policy_of(
        self,
        table: Mapping[str, Any],
        place: KeyPath,
        *,
        inherited: Mapping[str, Any] | None = None,
        inherited_from: KeyPath = (),
    ) -> Mapping[str, Any] | None:
        """In which keys the policy of a service or a group differs; None where in none.

        Services that say the same have the same object, of which there is but one.
        """
        if "alerts" not in table:
            return inherited
        # Texts of values tell 1 from true, which equal values would not.
        key = (inherited_from, repr(table["alerts"]))
        if key not in self._known:
            own = self._own(table["alerts"], (*place, "alerts"))
            if own is None:
                return inherited
            self._known[key] = {**(inherited or {}), **own} or None
        return self._known[key]

    def _own(self, value: Any, place: KeyPath) -> dict[str, Any] | None:
        match value:
            case bool():
                return {"enabled": value}
            case dict():
                keys = self._validation.read(AlertKeys, value, Origin(place))
                return None if keys is None else keys.policy()
            case _:
                bound = "true, false, or a table such as { open_after = 5 }"
                self._complaints.invalid_raw(place, bound, value)
                return None


def _closing_problem(close_after: int | None) -> Iterator[InvalidValueError]:
    if close_after is not None and not 1 <= close_after <= MOST_CHECKS:
        bound = f"a whole number from 1 to {MOST_CHECKS}"
        yield InvalidValueError("close_after", close_after, bound)


def _level(level: str, opening: Opening | None) -> dict[str, Any]:
    """All three keys of a form of opening, so that nothing of an inherited one is left."""
    if opening is None:
        return {}
    return {
        f"{level}_open_checks": opening.checks,
        f"{level}_open_of": opening.of,
        f"{level}_open_seconds": opening.seconds,
    }


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else number_of_seconds(duration)
