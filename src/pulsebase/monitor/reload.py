"""Takes over what a configuration file says when it has changed, while the monitor goes on.

The contents of the file, and of every `${file:…}` in it, are looked at again and again. A change
counts when two looks agree: an editor may be half through writing. Contents are compared, not
times, since Kubernetes changes a mounted file by pointing a symbolic link elsewhere, and editors
put a new file in the place of the old one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from pulsebase.monitor.configuration import UnusableFileError, load_configuration
from pulsebase.monitor.configuration.sources import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pulsebase.monitor.configuration import Configuration

    Contents = Mapping[Path, bytes | None]

__all__ = ["Reloading", "needing_restart"]

log = logging.getLogger("pulsebase.monitor")

_PAUSE_SECONDS: Final = 2.0
# Of `[monitor]`, what a monitor is made with; the rest it can change at any time.
_FIXED_KEYS: Final = (
    "name",
    "location",
    "heartbeat_interval",
    "spool",
    "spool_limit",
    "spool_drops",
)
_ALERTING: Final = {
    "policies": "policies",
    "channels": "channels",
    "routes": "routes",
    "maintenance": "maintenance windows",
}


class Reloading:
    """Hands every new configuration to `apply`; one that is wrong is refused and told, once.

    The file is read in a thread: fifty thousand services take a second, and no probe shall wait.
    """

    def __init__(
        self,
        path: Path,
        configuration: Configuration,
        *,
        environ: Mapping[str, str],
        apply: Callable[[Configuration], None],
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        self._path = path
        self._environ = environ
        self._apply = apply
        self._pause_seconds = pause_seconds
        self._at_start = configuration
        self._current = configuration
        # What was judged last, taken over or not; it says which files to look at, too.
        self._judged: Contents = configuration.sources
        self._seen: Contents | None = None
        self._asked = asyncio.Event()

    def reload_now(self) -> None:
        """Read the file as it stands, changed or not; somebody asks who has finished writing."""
        self._asked.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_seconds):
                    await self._asked.wait()
            await self._turn()

    async def _turn(self) -> None:
        if self._asked.is_set():
            self._asked.clear()
            await self._read(None)
            return
        contents = await asyncio.to_thread(self._look)
        is_new = contents != self._judged
        if is_new and contents == self._seen:
            await self._read(contents)
        self._seen = contents

    def _look(self) -> Contents:
        return {path: fingerprint(path, is_value=path != self._path) for path in self._judged}

    async def _read(self, agreed: Contents | None) -> None:
        """Read and judge the file; with contents that were agreed on, only if it holds them."""
        try:
            found = await asyncio.to_thread(load_configuration, self._path, environ=self._environ)
        except UnusableFileError as error:
            if _holds(error.sources, agreed):
                self._judged = {**self._judged, **(agreed or {}), **error.sources}
                self._refuse(error)
        except Exception:
            log.exception("the configuration file could not be read again; the one before goes on")
            self._judged = agreed or self._judged
        else:
            if _holds(found.sources, agreed):
                self._judged = found.sources
                await self._take_over(found, was_asked=agreed is None)

    def _refuse(self, error: UnusableFileError) -> None:
        for problem in error.problems:
            log.error("%s", problem)
        log.error("the configuration file was refused; the one before goes on")

    async def _take_over(self, found: Configuration, *, was_asked: bool) -> None:
        difference = await asyncio.to_thread(_difference, self._current, found)
        if difference is None:
            level = logging.INFO if was_asked else logging.DEBUG
            log.log(level, "nothing in %s has changed", self._path)
            return
        try:
            self._apply(found)
        except Exception:
            log.exception("the changed configuration could not be taken over; restart to apply it")
            return
        self._current = found
        log.info("%s was read again: %s", self._path, difference)
        if fixed := needing_restart(self._at_start, found):
            log.warning("restart to apply: %s", ", ".join(fixed))


def needing_restart(running: Configuration, found: Configuration) -> list[str]:
    """What differs from the running configuration and cannot change while it runs."""
    keys = [
        f"{key} in [monitor]"
        for key in _FIXED_KEYS
        if getattr(running.monitor, key) != getattr(found.monitor, key)
    ]
    return [*(["[database]"] if running.database != found.database else []), *keys]


def _holds(sources: Contents, agreed: Contents | None) -> bool:
    """Whether what was read is what was agreed on; files that are new were not looked at before."""
    return agreed is None or all(sources[path] == agreed[path] for path in sources.keys() & agreed)


def _difference(before: Configuration, after: Configuration) -> str | None:
    """How many services are touched; None where the two say the same."""
    if before == after:
        return None
    old = {service.name: service for service in before.services}
    new = {service.name: service for service in after.services}
    both = old.keys() & new.keys()
    changed = sum(old[name] != new[name] for name in both)
    others = [
        words for key, words in _ALERTING.items() if getattr(before, key) != getattr(after, key)
    ]
    alerting = f"; changed: {', '.join(others)}" if others else ""
    return (
        f"services: {len(new) - len(both)} new, {len(old) - len(both)} gone, {changed} changed, "
        f"{len(both) - changed} undisturbed{alerting}"
    )
