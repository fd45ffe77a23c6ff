"""Reads a configuration file: tables to values, or every problem of the file at once.

Every problem of a file is reported at once, each with its file and line and what to do; nothing
unknown is passed over. Each kind of probe brings its own keys: they are the fields of its
dataclass. Values that came from `${…}` are never shown, nor what the file itself keeps secret.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pulsebase import settings
from pulsebase.errors import ConfigurationError
from pulsebase.monitor.configuration.alerts import AlertReader
from pulsebase.monitor.configuration.channels import ChannelReader
from pulsebase.monitor.configuration.complaints import Complaints
from pulsebase.monitor.configuration.maintenance import MaintenanceReader
from pulsebase.monitor.configuration.origin import Origin
from pulsebase.monitor.configuration.pace import Level, SharedKeys, resolve_pace
from pulsebase.monitor.configuration.routes import RouteReader
from pulsebase.monitor.configuration.services import ServiceReader
from pulsebase.monitor.configuration.sources import Sources
from pulsebase.monitor.configuration.substitution import Substitution
from pulsebase.monitor.configuration.toml_source import read_toml
from pulsebase.monitor.configuration.validation import Validation
from pulsebase.monitor.configuration.values import Configuration, DatabaseKeys, MonitorKeys

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TABLES", "load_configuration"]

TABLES: Final = (
    "database",
    "monitor",
    "defaults",
    "alerts",
    "groups",
    "services",
    "channels",
    "routes",
    "maintenance",
)


def load_configuration(path: Path, *, environ: Mapping[str, str]) -> Configuration:
    """Read a configuration file.

    Raises UnusableFileError, a ConfigurationError, that lists every problem, one a line, as
    `file:line: problem`.
    """
    sources = Sources()
    source = read_toml(path, sources)
    substitution = Substitution(environ=environ, folder=path.parent, sources=sources)
    tables = substitution.apply(source.tables)
    complaints = Complaints(source=source, hidden=substitution.replaced)
    for place, problem in substitution.problems:
        complaints.about(place, problem)
    reader = _Reader(
        complaints=complaints,
        validation=Validation(complaints),
        environ=environ,
        folder=path.parent,
    )
    configuration = reader.read(tables)
    complaints.raise_any(sources.digests)
    return replace(configuration, sources=sources.digests)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Turns tables into values; what cannot be turned becomes a complaint and is left out."""

    complaints: Complaints
    validation: Validation
    environ: Mapping[str, str]
    folder: Path

    def read(self, tables: dict[str, Any]) -> Configuration:
        for key in tables.keys() - set(TABLES):
            self.complaints.unknown_key((key,), TABLES)
        alerts = AlertReader(self.complaints, self.validation)
        policies, link = alerts.read(tables.get("alerts", {}))
        services = ServiceReader(self.complaints, self.validation, self._defaults(tables), alerts)
        reader = ChannelReader(self.complaints, self.validation, link=link)
        channels = tuple(reader.read(tables.get("channels", [])))
        routes = RouteReader(self.complaints, self.validation, reader.names)
        windows = MaintenanceReader(self.complaints, self.validation)
        return Configuration(
            database=self._database(tables.get("database", {})),
            monitor=self._monitor(tables.get("monitor", {})),
            policies=tuple(policies),
            services=tuple(services.read(tables.get("groups", {}), tables.get("services", []))),
            channels=channels,
            routes=tuple(routes.read(tables.get("routes", []))),
            maintenance=tuple(windows.read(tables.get("maintenance", []))),
        )

    def _database(self, table: Any) -> DatabaseKeys:
        keys = self.validation.read(DatabaseKeys, table, Origin(("database",))) or DatabaseKeys()
        if keys.url is not None:
            try:
                settings.resolve(keys.url, keys.key, environ=self.environ)
            except ConfigurationError as error:
                self.complaints.unusable(("database", "url"), str(error))
        return keys

    def _monitor(self, table: Any) -> MonitorKeys:
        keys = self.validation.read(MonitorKeys, table, Origin(("monitor",))) or MonitorKeys()
        if keys.spool is None:
            return keys
        try:
            folder = self.folder / Path(keys.spool).expanduser()
        except RuntimeError:  # pathlib's word for a home folder that nobody has
            self.complaints.about(("monitor", "spool"), "begins with the home of nobody; name it")
            return keys
        return replace(keys, spool=str(folder.absolute()))

    def _defaults(self, tables: dict[str, Any]) -> Level:
        place = ("defaults",)
        keys = self.validation.read(SharedKeys, tables.get("defaults", {}), Origin(place))
        level = Level(place, keys)
        resolve_pace((level,), self.complaints)
        return level
