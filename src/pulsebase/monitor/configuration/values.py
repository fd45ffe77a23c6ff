"""What a configuration file says, as frozen values; what can be compared can be reloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pulsebase.durations import Duration  # noqa: TC001 -- pydantic resolves the fields at run time
from pulsebase.probes.support.fields import CLOSED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.probes import Probe

__all__ = ["Configuration", "DatabaseKeys", "MonitorKeys", "Service", "WhenFull"]

# What goes first when the spool is full: the oldest checks, the newest, or the healthy ones.
WhenFull = Literal["oldest", "newest", "healthy"]


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
    connectivity: tuple[str, ...] = ()
    concurrency: int = 1000
    host_concurrency: int = 100
    heartbeat_interval: Duration = timedelta(seconds=5)
    dead_man_url: str | None = field(default=None, repr=False)
    dead_man_interval: Duration = timedelta(seconds=60)
    spool: str | None = None
    spool_limit: int = 256 * 1024 * 1024
    spool_drops: WhenFull = "oldest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service to watch: how often, how long to wait, and how to look.

    After a look that was not healthy the next one comes after `retry_interval`, where it is set;
    the turns of the interval keep their phase.
    """

    name: str
    kind: str
    interval: timedelta
    timeout: timedelta
    probe: Probe
    retry_interval: timedelta | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A whole file, checked. Services are in the file's order and their names are unique."""

    services: tuple[Service, ...]
    database: DatabaseKeys = field(default_factory=DatabaseKeys)
    monitor: MonitorKeys = field(default_factory=MonitorKeys)
