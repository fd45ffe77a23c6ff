"""Which monitors died on this machine, so that one that is started again need not wait for them.

Each running monitor holds a lock on a small file named after its id. The system lets go of a lock
when its process dies, however it dies: a file that can be locked belongs to nobody any more, and
its row in the database can go at once instead of after some heartbeats.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Footprints"]

log = logging.getLogger("pulsebase.monitor")

_SUFFIX = ".running"
_LONGEST_KEPT_SECONDS = 86_400.0  # as long as the database remembers


class Footprints:
    """The files of a folder, by default one of this user. Where none can be kept, nothing is lost.

    Then, and on Windows, the others wait until a dead monitor's beats have failed to come.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[UUID, int] = {}

    def leave(self, identifier: UUID) -> list[UUID]:
        """Say that this monitor runs, until `erase` or its death; which others have died."""
        try:
            folder = self._folder or _users_folder()
            folder.mkdir(parents=True, exist_ok=True)
            self._folder = folder
            abandoned = list(_abandoned(folder))
            # Locked before it has its name: nobody sees it without an owner.
            unnamed = folder / f"{identifier}.starting"
            self._held[identifier] = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
            if _locked(self._held[identifier]):
                unnamed.rename(folder / f"{identifier}{_SUFFIX}")
        except (OSError, ImportError, RuntimeError) as error:
            log.debug("keeping no file about this monitor: %s", error)
            return []
        return abandoned

    def erase(self, identifier: UUID) -> None:
        """Remove the file of a monitor whose row is gone."""
        if self._folder is not None:
            with suppress(OSError):
                (self._folder / f"{identifier}{_SUFFIX}").unlink(missing_ok=True)
        if identifier in self._held:
            os.close(self._held.pop(identifier))


def _users_folder() -> Path:
    import platformdirs

    return Path(platformdirs.user_state_path("pulsebase", appauthor=False)) / "monitors"


def _abandoned(folder: Path) -> Iterator[UUID]:
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        with suppress(OSError, ValueError):
            identifier = UUID(path.stem)
            descriptor = os.open(path, os.O_RDWR)
            try:
                if not _locked(descriptor):
                    continue
                if time.time() - path.stat().st_mtime > _LONGEST_KEPT_SECONDS:
                    path.unlink()  # it may have been about another database, which we never meet
                yield identifier
            finally:
                os.close(descriptor)


def _locked(descriptor: int) -> bool:
    """Whether the lock could be taken."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
