"""The tables `[groups.…]` and `[[services]]`, made services."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pulsebase.errors import ConfigurationError, InvalidValueError, MissingExtraError
from pulsebase.models.fields import service_name
from pulsebase.monitor.configuration.dependencies import Dependencies, Needs
from pulsebase.monitor.configuration.interning import Interning
from pulsebase.monitor.configuration.lists import Advice
from pulsebase.monitor.configuration.origin import Origin, joined
from pulsebase.monitor.configuration.pace import (
    MOST_LABELS,
    PACE_KEYS,
    SHARED_KEYS,
    Level,
    Pace,
    SharedKeys,
    resolve_pace,
)
from pulsebase.monitor.configuration.values import Service
from pulsebase.probes import load_probe_kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulsebase.monitor.configuration.alerts import AlertReader
    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.monitor.configuration.validation import Validation
    from pulsebase.probes import Probe

__all__ = ["DEFAULT_KIND", "GROUP_KEYS", "SERVICE_KEYS", "ServiceReader"]

DEFAULT_KIND: Final = "http"
GROUP_KEYS: Final = ("kind", *SHARED_KEYS, "alerts", "depends_on")
SERVICE_KEYS: Final = ("name", "group", *GROUP_KEYS)

_NO_GROUP: Final = "add a table [groups.NAME] for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What the services of a group have in common; without a name, what those without one have.

    `own` are its keys of the kind as the file has them, `usable` those that nothing is wrong with.
    """

    place: KeyPath
    level: Level
    labels: Mapping[str, str]
    kind_name: str | None = None
    own: Mapping[str, Any] = field(default_factory=dict[str, Any])
    usable: Mapping[str, Any] = field(default_factory=dict[str, Any])
    alert_policy: Mapping[str, Any] | None = None
    needs: Needs = field(default_factory=Needs)


class ServiceReader:
    """Reads groups and services; what cannot be read becomes a complaint and is left out."""

    def __init__(
        self,
        complaints: Complaints,
        validation: Validation,
        defaults: Level,
        alerts: AlertReader,
    ) -> None:
        self._complaints = complaints
        self._alerts = alerts
        self._validation = validation
        self._defaults = defaults
        self._nobody = Group(place=(), level=Level(()), labels=_labels_of(defaults))
        self._groups: dict[str, Group] = {}
        self._advice = Advice((), otherwise=_NO_GROUP)
        self._paces: dict[tuple[object, ...], Pace] = {}
        self._interning = Interning()
        self._dependencies = Dependencies(complaints)

    def read(self, groups: Any, services: Any) -> Iterator[Service]:
        """The services of a file in its order."""
        tables = self._service_tables(services)
        self._read_groups(groups, tables)
        places: dict[str, KeyPath] = {}
        for index, table in enumerate(tables):
            place = ("services", index)
            service = self._service(table, place)
            name = table.get("name")
            if isinstance(name, str) and (first := places.setdefault(name, place)) != place:
                self._complaints.duplicate_name((*place, "name"), (*first, "name"))
            if service:
                yield service
        self._dependencies.judge(places)

    def _service_tables(self, tables: Any) -> list[dict[str, Any]]:
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self._complaints.about(("services",), "is a list of tables; write each as [[services]]")
            return []
        if not tables:
            self._complaints.about((), "has no service; add a table [[services]] with name and url")
        return tables

    def _read_groups(self, groups: Any, services: list[dict[str, Any]]) -> None:
        if not isinstance(groups, dict):
            self._complaints.about(("groups",), "is a table of tables; write each as [groups.NAME]")
            return
        members: dict[Any, tuple[int, dict[str, Any]]] = {}
        for index, table in enumerate(services if groups else ()):
            if isinstance(name := table.get("group"), str):
                members.setdefault(name, (index, table))
        self._advice = Advice(groups, otherwise=_NO_GROUP)
        for name, table in groups.items():
            if isinstance(table, dict):
                self._groups[name] = self._group(table, ("groups", name), members.get(name))
            else:
                self._complaints.about(("groups", name), "must be a table")

    def _group(
        self, table: dict[str, Any], place: KeyPath, member: tuple[int, dict[str, Any]] | None
    ) -> Group:
        shared = _only(table, SHARED_KEYS)
        level = Level(place, self._validation.read(SharedKeys, shared, Origin(place)))
        resolve_pace((level, self._defaults), self._complaints)
        own = {key: value for key, value in table.items() if key not in GROUP_KEYS}
        kind_name = table.get("kind", DEFAULT_KIND if own else None)
        kind = self._kind(kind_name, place) if own or "kind" in table else None
        if kind is not None:
            self._judge_group(kind, own, place, member)
        return Group(
            place=place,
            level=level,
            labels={**self._nobody.labels, **_labels_of(level)},
            kind_name=kind_name,
            own=own,
            usable={
                key: value
                for key, value in own.items()
                if not self._complaints.is_about((*place, key))
            },
            alert_policy=self._alerts.policy_of(table, place),
            needs=self._dependencies.read(table, place, self._nobody.needs),
        )

    def _judge_group(
        self,
        kind: type[Probe],
        own: dict[str, Any],
        place: KeyPath,
        member: tuple[int, dict[str, Any]] | None,
    ) -> None:
        """Complain about a group's keys of its kind, once and not at each of its services.

        A kind judges its keys only when all that it needs are there: what the group leaves to its
        services is borrowed from the first of them.
        """
        index, service = member or (0, {})
        needed = self._validation.required_keys(kind)
        borrowed = {key: service[key] for key in needed if key in service and key not in own}
        origin = Origin(("services", index), borrowed, place, own)
        both = {**own, **borrowed}
        self._validation.read(kind, both, origin, beside=GROUP_KEYS, is_whole=False)

    def _service(self, table: dict[str, Any], place: KeyPath) -> Service | None:
        name = self._name(table, place)
        group = self._group_of(table, place)
        inherits = group or self._nobody
        pace = self._pace(table, place, inherits)
        labels = self._labels(table, place, inherits)
        kind_name = table.get("kind", group.kind_name if group else None) or DEFAULT_KIND
        probe = self._probe(table, place, group, kind_name)
        policy = self._policy(table, place, inherits)
        needs = self._dependencies.read(table, place, inherits.needs)
        self._dependencies.note(name, needs)
        if name is None or pace is None or labels is None or probe is None:
            return None
        return Service(
            name=name,
            kind=kind_name,
            interval=pace.interval,
            timeout=pace.timeout,
            retry_interval=pace.retry_interval,
            labels=labels,
            probe=probe,
            depends_on=needs.names,
            alert_policy=policy,
        )

    def _name(self, table: dict[str, Any], place: KeyPath) -> str | None:
        if "name" not in table:
            self._complaints.missing_key((*place, "name"))
            return None
        try:
            return service_name(table["name"], "name")
        except InvalidValueError as error:
            self._complaints.invalid((*place, "name"), error.bound, error.value)
            return None

    def _group_of(self, table: dict[str, Any], place: KeyPath) -> Group | None:
        """The group of a service; None where it names one that is not there."""
        if "group" not in table:
            return self._nobody
        name = table["group"]
        if isinstance(name, str):
            if (group := self._groups.get(name)) is None:
                advice = self._advice.about(name)
                self._complaints.about((*place, "group"), f"is not the name of a group; {advice}")
            return group
        self._complaints.invalid((*place, "group"), "the name of a group, in quotes", name)
        return None

    def _pace(self, table: dict[str, Any], place: KeyPath, group: Group) -> Pace | None:
        """What counts; found once for all services that say the same."""
        said = tuple(map(table.get, PACE_KEYS))
        key = (group.place, *said)
        # Of anything but texts and None, equal need not be the same: 1 is not true.
        can_be_shared = all(text is None or isinstance(text, str) for text in said)
        if can_be_shared and (known := self._paces.get(key)) is not None:
            return known
        complaints_before = self._complaints.count
        own = self._validation.read(SharedKeys, _only(table, PACE_KEYS), Origin(place))
        if own is None:
            return None
        pace = resolve_pace((Level(place, own), group.level, self._defaults), self._complaints)
        if can_be_shared and self._complaints.count == complaints_before:
            self._paces[key] = pace
        return pace

    def _labels(
        self, table: dict[str, Any], place: KeyPath, group: Group
    ) -> Mapping[str, str] | None:
        if "labels" not in table:
            return group.labels
        own = self._validation.read(SharedKeys, _only(table, ("labels",)), Origin(place))
        if own is None:
            return None
        labels = {**group.labels, **own.labels}
        if len(labels) > MOST_LABELS:
            bound = f"at most {MOST_LABELS}, with those of its group and of [defaults]"
            self._complaints.invalid((*place, "labels"), bound, len(labels))
        return self._interning.value(labels)

    def _policy(
        self, table: dict[str, Any], place: KeyPath, group: Group
    ) -> Mapping[str, Any] | None:
        return self._alerts.policy_of(
            table, place, inherited=group.alert_policy, inherited_from=group.place
        )

    def _probe(
        self, table: dict[str, Any], place: KeyPath, group: Group | None, kind_name: Any
    ) -> Probe | None:
        """The probe of a service, from its own keys and those of its group."""
        inherits = group or self._nobody
        if inherits.own and "kind" in table and kind_name != inherits.kind_name:
            words = "is not the kind of its group, which brings keys of its own kind; leave it out"
            self._complaints.about((*place, "kind"), words)
            return None
        at = place if "kind" in table else inherits.place or place
        if (kind := self._kind(kind_name, at)) is None:
            return None
        own = {key: value for key, value in table.items() if key not in SERVICE_KEYS}
        if inherits.own:
            origin = Origin(place, own, inherits.place, inherits.own)
            own = joined(inherits.usable, own)
        else:
            origin = Origin(place, own)
        is_whole = group is not None
        probe = self._validation.read(kind, own, origin, beside=SERVICE_KEYS, is_whole=is_whole)
        if probe is not None:
            self._interning.within(probe)
        return probe

    def _kind(self, name: Any, place: KeyPath) -> type[Probe] | None:
        try:
            if isinstance(name, str):
                return load_probe_kind(name)
            self._complaints.invalid((*place, "kind"), "text in quotes", name)
        except (ConfigurationError, MissingExtraError) as error:
            self._complaints.unusable((*place, "kind"), str(error))
        return None


def _only(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: table[key] for key in keys if key in table}


def _labels_of(level: Level) -> Mapping[str, str]:
    return level.keys.labels if level.keys else {}
