"""What a configuration file says, as frozen values; what can be compared can be reloaded."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import urlsplit

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.monitor.configuration.sizes import Size, format_size
from pulsebase.probes.support.fields import host_problem, port_problem
from pulsebase.probes.support.redaction import HIDDEN, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pulsebase.models.alert_channel import NewAlertChannel, NewAlertRoute
    from pulsebase.models.alert_policy import NewAlertPolicy
    from pulsebase.models.alert_silence import MaintenanceWindow
    from pulsebase.notifiers import Notifier
    from pulsebase.probes import Probe

__all__ = [
    "NAME_RULE",
    "Channel",
    "Configuration",
    "DatabaseKeys",
    "MonitorKeys",
    "Service",
    "WhenFull",
    "readable",
]

# What goes first when the spool is full: the oldest checks, the newest, or the healthy ones.
WhenFull = Literal["oldest", "newest", "healthy"]

_LONGEST_NAME: Final = 100
_MOST_AT_ONCE: Final = 100_000
_SHORTEST_HEARTBEAT: Final = timedelta(seconds=1)
_LONGEST_HEARTBEAT: Final = timedelta(minutes=5)
_SMALLEST_SPOOL: Final = 1024**2
NAME_RULE: Final = "1 to 100 readable characters"
_WEB_URL_RULE: Final = "an http:// or https:// URL with a host, in printable ASCII"
_TARGET_RULE: Final = 'an http(s):// URL or "tcp://host:port" each'


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseKeys:
    """`[database]`: where to record; without it the environment decides."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorKeys:
    """`[monitor]`: how this process works, apart from what it watches."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    name: str | None = None
    location: str | None = None
    connectivity: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int = 1000
    host_concurrency: int = 100
    heartbeat_interval: Duration = timedelta(seconds=5)
    dead_man_url: str | None = field(default=None, repr=False)
    dead_man_interval: Duration = timedelta(seconds=60)
    spool: str | None = None
    spool_limit: Size = 256 * 1024 * 1024
    spool_drops: WhenFull = "oldest"

    def __post_init__(self) -> None:
        """Refuse what could only fail while the monitor runs."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        for key, text in (("name", self.name), ("location", self.location)):
            if text is not None and not readable(text):
                yield InvalidValueError(key, text, NAME_RULE)
        for target in self.connectivity:
            yield from _target_problem(target)
        for key, count in (
            ("concurrency", self.concurrency),
            ("host_concurrency", self.host_concurrency),
        ):
            if not 0 < count <= _MOST_AT_ONCE:
                yield InvalidValueError(key, count, f"a whole number from 1 to {_MOST_AT_ONCE}")
        if not _SHORTEST_HEARTBEAT <= self.heartbeat_interval <= _LONGEST_HEARTBEAT:
            got = format_duration(self.heartbeat_interval)
            yield InvalidValueError("heartbeat_interval", got, "from 1s to 5m")
        yield from self._dead_man_problems()
        yield from self._spool_problems()

    def _dead_man_problems(self) -> Iterator[InvalidValueError]:
        if self.dead_man_url is not None and not _is_web_url(self.dead_man_url):
            # All of it is secret: who knows it can hide that this monitor is gone.
            yield InvalidValueError("dead_man_url", HIDDEN, _WEB_URL_RULE)
        if self.dead_man_interval < timedelta(seconds=1):
            got = format_duration(self.dead_man_interval)
            yield InvalidValueError("dead_man_interval", got, "at least 1s")

    def _spool_problems(self) -> Iterator[InvalidValueError]:
        if self.spool is not None and not (self.spool and self.spool.isprintable()):
            yield InvalidValueError("spool", self.spool, "the path of a folder")
        if self.spool_limit < _SMALLEST_SPOOL:
            got = format_size(self.spool_limit)
            yield InvalidValueError("spool_limit", got, "at least 1MiB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service to watch: how often, how long to wait, and how to look.

    After a look that was not healthy the next one comes after `retry_interval`, where it is set;
    the turns of the interval keep their phase. While one of those in `depends_on` is not well,
    nobody is told that this one is not; `alert_policy` are the keys in which its policy differs.
    """

    name: str
    kind: str
    interval: timedelta
    timeout: timedelta
    probe: Probe
    retry_interval: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    depends_on: tuple[str, ...] = ()
    alert_policy: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Somebody to tell: by which rules, which the database knows, and how, which it does not."""

    rules: NewAlertChannel
    notifier: Notifier

    @property
    def name(self) -> str:
        """The name under which it is owed messages."""
        return self.rules.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A whole file, checked. Services are in the file's order and their names are unique.

    Policies are in the order in which they are merged, that of `[alerts]` itself first.
    `sources` are the files that it was read from, the file itself and every `${file:…}`, each with
    a digest of what it held, or None where it could not be read.
    """

    services: tuple[Service, ...]
    database: DatabaseKeys = field(default_factory=DatabaseKeys)
    monitor: MonitorKeys = field(default_factory=MonitorKeys)
    policies: tuple[NewAlertPolicy, ...] = ()
    channels: tuple[Channel, ...] = ()
    routes: tuple[NewAlertRoute, ...] = ()
    maintenance: tuple[MaintenanceWindow, ...] = ()
    sources: Mapping[Path, bytes | None] = field(
        default_factory=dict["Path", "bytes | None"], compare=False, repr=False
    )

    @property
    def notifiers(self) -> dict[str, Notifier]:
        """How to tell each channel, by its name."""
        return {channel.name: channel.notifier for channel in self.channels}


def readable(text: str) -> bool:
    """Whether people can read a name: some characters, none of them invisible, not too many."""
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and text == text.strip()


def _target_problem(target: str) -> Iterator[InvalidValueError]:
    if not target.startswith("tcp://"):
        if not _is_web_url(target):
            yield InvalidValueError("connectivity", redact_url(target), _TARGET_RULE)
        return
    try:
        parts = urlsplit(target)
        wrong = [*host_problem(parts.hostname or ""), *port_problem(parts.port or 0)]
        beside = "@" in parts.netloc or parts.path or parts.query or parts.fragment
    except ValueError:
        wrong, beside = [], "not a URL"
    if wrong or beside:
        yield InvalidValueError("connectivity", redact_url(target), _TARGET_RULE)


def _is_web_url(url: str) -> bool:
    if not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0
