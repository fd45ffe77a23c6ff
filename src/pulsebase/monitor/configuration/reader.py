"""Reads a configuration file: tables to values, or every problem of the file at once.

Every problem of a file is reported at once, each with its file and line and what to do; nothing
unknown is passed over. Each kind of probe brings its own keys: they are the fields of its
dataclass. Values that came from `${…}` are never shown, nor what the file itself keeps secret.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase import settings
from pulsebase.durations import Duration, format_duration
from pulsebase.errors import ConfigurationError, InvalidValueError, MissingExtraError
from pulsebase.models.fields import service_name
from pulsebase.monitor.configuration.complaints import Complaints
from pulsebase.monitor.configuration.substitution import Substitution
from pulsebase.monitor.configuration.toml_source import read_toml
from pulsebase.monitor.configuration.validation import Validation
from pulsebase.monitor.configuration.values import Configuration, DatabaseKeys, Service
from pulsebase.probes import load_probe_kind
from pulsebase.probes.support.fields import CLOSED, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.probes import Probe

__all__ = ["load_configuration"]

DEFAULT_KIND: Final = "http"
DEFAULT_INTERVAL: Final = timedelta(seconds=60)
DEFAULT_TIMEOUT: Final = timedelta(seconds=10)
SHORTEST_INTERVAL: Final = timedelta(seconds=1)

_TABLES: Final = ("database", "defaults", "services")
_COMMON_KEYS: Final = ("name", "kind", "interval", "timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pace:
    """`[defaults]`, and the same keys of a service: None where the file says nothing."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    interval: Duration | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        if self.interval is not None and self.interval < SHORTEST_INTERVAL:
            yield InvalidValueError("interval", format_duration(self.interval), "at least 1s")
        if self.timeout is not None and self.timeout <= timedelta(0):
            yield InvalidValueError("timeout", format_duration(self.timeout), "more than 0s")
        if self.timeout and self.interval and self.timeout > self.interval:
            got = format_duration(self.timeout)
            yield InvalidValueError("timeout", got, "at most the interval")


def load_configuration(path: Path, *, environ: Mapping[str, str]) -> Configuration:
    """Read a configuration file.

    Raises ConfigurationError that lists every problem, one a line, as `file:line: problem`.
    """
    source = read_toml(path)
    substitution = Substitution(environ=environ, folder=path.parent)
    tables = substitution.apply(source.tables)
    complaints = Complaints(source=source, hidden=substitution.replaced)
    for place, problem in substitution.problems:
        complaints.about(place, problem)
    reader = _Reader(complaints=complaints, validation=Validation(complaints), environ=environ)
    configuration = reader.read(tables)
    complaints.raise_any()
    return configuration


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Turns tables into values; what cannot be turned becomes a complaint and is left out."""

    complaints: Complaints
    validation: Validation
    environ: Mapping[str, str]

    def read(self, tables: dict[str, Any]) -> Configuration:
        for key in tables.keys() - set(_TABLES):
            self.complaints.unknown_key((key,), _TABLES)
        database = self._database(tables.get("database", {}))
        defaults = self.validation.read(_Pace, tables.get("defaults", {}), ("defaults",))
        services = self._services(tables.get("services", []), defaults or _Pace())
        return Configuration(database=database, services=tuple(services))

    def _database(self, table: Any) -> DatabaseKeys:
        keys = self.validation.read(DatabaseKeys, table, ("database",)) or DatabaseKeys()
        if keys.url is not None:
            try:
                settings.resolve(keys.url, keys.key, environ=self.environ)
            except ConfigurationError as error:
                self.complaints.unusable(("database", "url"), str(error))
        return keys

    def _services(self, tables: Any, defaults: _Pace) -> Iterator[Service]:
        if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
            self.complaints.about(("services",), "is a list of tables; write each as [[services]]")
            return
        if not tables:
            self.complaints.about((), "has no service; add a table [[services]] with name and url")
        lines: dict[str, KeyPath] = {}
        for index, table in enumerate(tables):
            place = ("services", index)
            service = self._service(table, place, defaults)
            name = table.get("name")
            if isinstance(name, str) and (first := lines.setdefault(name, place)) != place:
                self.complaints.duplicate_name((*place, "name"), (*first, "name"))
            if service:
                yield service

    def _service(self, table: dict[str, Any], place: KeyPath, defaults: _Pace) -> Service | None:
        name = self._name(table, place)
        kind = self._kind(table, place)
        keys = {key: table[key] for key in ("interval", "timeout") if key in table}
        pace = self.validation.read(_Pace, keys, place)
        if kind is None:
            return None
        own = {key: value for key, value in table.items() if key not in _COMMON_KEYS}
        probe = self.validation.read(kind, own, place, beside=_COMMON_KEYS)
        if name is None or pace is None or probe is None:
            return None
        interval, timeout = self._paced(pace, defaults, place)
        kind_name = table.get("kind", DEFAULT_KIND)
        return Service(name=name, kind=kind_name, interval=interval, timeout=timeout, probe=probe)

    def _name(self, table: dict[str, Any], place: KeyPath) -> str | None:
        if "name" not in table:
            self.complaints.missing_key((*place, "name"))
            return None
        try:
            return service_name(table["name"], "name")
        except InvalidValueError as error:
            self.complaints.invalid((*place, "name"), error.bound, error.value)
            return None

    def _kind(self, table: dict[str, Any], place: KeyPath) -> type[Probe] | None:
        kind = table.get("kind", DEFAULT_KIND)
        try:
            if isinstance(kind, str):
                return load_probe_kind(kind)
            self.complaints.invalid((*place, "kind"), "text in quotes", kind)
        except (ConfigurationError, MissingExtraError) as error:
            self.complaints.unusable((*place, "kind"), str(error))
        return None

    def _paced(self, pace: _Pace, defaults: _Pace, place: KeyPath) -> tuple[timedelta, timedelta]:
        interval = pace.interval or defaults.interval or DEFAULT_INTERVAL
        inherited = defaults.timeout or DEFAULT_TIMEOUT
        if pace.timeout is not None and pace.timeout > interval:
            bound = f"at most the interval, which is {format_duration(interval)}"
            got = format_duration(pace.timeout)
            self.complaints.invalid((*place, "timeout"), bound, got)
        # A timeout that the service did not ask for gives way to its interval.
        return interval, pace.timeout or min(inherited, interval)
