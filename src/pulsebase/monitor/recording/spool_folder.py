"""The folder of the spools: whose file is whose, and what becomes of those that nobody owns.

    spool-<target>-<n>.sqlite3        the n-th process that keeps checks for a database
    ….sqlite3.damaged-<time>          what could not be read; it is left for a person to look at

`<target>` is a hash of the database's address and name, without user and password. A file without a
living owner is taken over by the next process that opens a spool for the same database.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pulsebase.errors import ConfigurationError
from pulsebase.monitor.recording.spool_file import (
    PRIMARY_CODE,
    SpoolDamagedError,
    SpoolFile,
    SpoolInUseError,
)

if TYPE_CHECKING:
    from pulsebase.monitor.configuration.values import MonitorKeys, WhenFull
    from pulsebase.settings import Target

__all__ = ["SpoolFolder", "folder_for"]

log = logging.getLogger("pulsebase.monitor")

_MOST_FILES = 1000  # of one database; more processes than that do not share a machine
_HASH_CHARACTERS = 12
_OF_ANOTHER_USER = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY)


def folder_for(keys: MonitorKeys) -> Path:
    """The configured folder, or what systemd gives the service, or the user's folder for state."""
    if keys.spool:
        return Path(keys.spool).expanduser()
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given.partition(os.pathsep)[0])
    try:
        import platformdirs

        return platformdirs.user_state_path("pulsebase", appauthor=False)
    except (ImportError, RuntimeError):
        msg = 'there is no folder to keep checks in; name one with spool = "…" under [monitor]'
        raise ConfigurationError(msg) from None


class SpoolFolder:
    """The files of one database in one folder."""

    def __init__(self, folder: Path, target: Target, *, limit_bytes: int, drops: WhenFull) -> None:
        self.path = folder
        digest = hashlib.sha256(str(target).encode()).hexdigest()
        self._name = f"spool-{digest[:_HASH_CHARACTERS]}"
        self._limit_bytes = limit_bytes
        self._drops: WhenFull = drops

    def prepare(self) -> None:
        """Make the folder, for this user alone; raises OSError where nothing can be written."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(self.path, os.W_OK | os.X_OK):
            msg = f"the folder {self.path} cannot be written"
            raise PermissionError(msg)

    def adopt(self) -> list[SpoolFile]:
        """The files with checks whose owners are gone, oldest checks first; they are ours now."""
        found: list[SpoolFile] = []
        for path in sorted(self.path.glob(f"{self._name}-*.sqlite3")):
            try:
                file = self._opened(path)
            except (sqlite3.OperationalError, OSError) as error:
                log.warning("cannot look for checks in %s: %s", path, error)
                continue
            if file and file.count:
                found.append(file)
            elif file:
                file.close()
        return sorted(found, key=lambda file: file.first_text)

    def create(self) -> SpoolFile:
        """A file of our own; raises OSError where none can be made."""
        self.prepare()
        for number in range(1, _MOST_FILES):
            path = self.path / f"{self._name}-{number}.sqlite3"
            try:
                if file := self._opened(path):
                    return file
            except sqlite3.OperationalError as error:
                if (error.sqlite_errorcode & PRIMARY_CODE) not in _OF_ANOTHER_USER:
                    msg = f"{path}: {error}"
                    raise OSError(msg) from error
        msg = f"no file can be made in the folder {self.path}"
        raise PermissionError(msg)

    def put_aside(self, path: Path, reason: object) -> None:
        """Rename a file that cannot be read, so that a new one can take its place; say so."""
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = path.with_name(f"{path.name}.damaged-{stamp}")
        try:
            path.rename(aside)
            for ending in ("-wal", "-journal"):
                if (journal := path.with_name(path.name + ending)).exists():
                    journal.rename(aside.with_name(aside.name + ending))
        except OSError as error:
            log.error("cannot put %s aside (%s); remove it", path, error)  # noqa: TRY400 -- the sentence says all
            return
        log.error(
            "cannot read the checks that were kept in %s (%s); they are in %s now",
            path,
            reason,
            aside,
        )

    def _opened(self, path: Path) -> SpoolFile | None:
        """The file, or a new one in place of one that cannot be read; None where it is in use."""
        try:
            return self._open(path)
        except SpoolInUseError:
            return None
        except SpoolDamagedError as error:
            self.put_aside(path, error)
        try:
            return self._open(path)
        except (SpoolInUseError, SpoolDamagedError):
            return None

    def _open(self, path: Path) -> SpoolFile:
        return SpoolFile(path, limit_bytes=self._limit_bytes, drops=self._drops)
