"""The files of a spool and the memory behind them: where checks go, in which order they leave.

    files taken over from processes that died    emptied first, then removed
    our own file                                 what is kept now
    memory                                       what no file takes: a full disk, a folder that is
                                                 read-only; moved into the file as soon as it does

Files and memory are of one kind (`SpoolFile`), with the same bound and the same rule for what goes
first. Nothing here knows of asyncio; all of it may wait for a disk.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pulsebase.monitor.recording.spool_file import KeptCheck, SpoolFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pulsebase.monitor.configuration.values import WhenFull
    from pulsebase.monitor.recording.spool_folder import SpoolFolder

__all__ = ["LARGEST_MEMORY_BYTES", "Loan", "SpoolStore"]

log = logging.getLogger("pulsebase.monitor")

LARGEST_MEMORY_BYTES = 64 * 1024 * 1024
_LARGEST_WRITE_ROWS = 5000
_RETRY_SECONDS = 2.0  # after the disk refused to take something


@dataclass(frozen=True, slots=True)
class Loan:
    """Rows that are on their way into the database; `numbers` are their places in the file."""

    file: SpoolFile
    numbers: Sequence[int]
    rows: Sequence[KeptCheck]

    def after(self, rows: int) -> Loan:
        """The loan without its first rows."""
        return Loan(self.file, self.numbers[rows:], self.rows[rows:])


class SpoolStore:
    """Takes what it is given, always; `dropped` counts what went since it was full or damaged."""

    def __init__(
        self,
        folder: SpoolFolder | None,
        *,
        adopted: Sequence[SpoolFile] = (),
        limit_bytes: int,
        drops: WhenFull,
    ) -> None:
        self._folder = folder
        self.files = list(adopted)  # the last one is written to
        memory_bytes = min(limit_bytes, LARGEST_MEMORY_BYTES)
        self.memory = SpoolFile(None, limit_bytes=memory_bytes, drops=drops)
        self._lending: SpoolFile | None = None
        self._refused_at_seconds: float | None = None
        self.dropped = 0

    def keep(self, rows: Sequence[KeptCheck], flying: int) -> Loan | None:
        """Keep rows at the end; the loan of the first ones, where those are flying."""
        loan: Loan | None = None
        for start in range(0, len(rows), _LARGEST_WRITE_ROWS):
            part = rows[start : start + _LARGEST_WRITE_ROWS]
            ahead = min(len(part), max(0, flying - start))
            file, first = self._write(part, ahead)
            if ahead and loan is None:
                loan = Loan(file, range(first, first + ahead), part[:ahead])
                self._lending = file
        return loan

    def lend(self, most_rows: int) -> Loan | None:
        """The oldest rows; None where there are none."""
        for file in [*self.files, self.memory]:
            try:
                numbers, rows = file.lend(most_rows) if file.count else ([], [])
            except sqlite3.DatabaseError as error:
                self._replace(file, error)
                continue
            if rows:
                self._lending = file
                return Loan(file, numbers, rows)
            if file.count:
                self._replace(file, "it holds fewer checks than it says")
        return None

    def settle(self, loan: Loan, rows: int) -> None:
        """The first rows of a loan are done with."""
        file = loan.file
        if file is not self.memory and file not in self.files:
            return  # it was damaged and put aside meanwhile
        try:
            file.settle(loan.numbers[rows - 1], rows)
        except sqlite3.OperationalError as error:
            log.debug("cannot forget what was kept in %s yet: %s", file.path, error)
        except sqlite3.DatabaseError as error:
            self._replace(file, error)
        if rows == len(loan.numbers):
            self.take_back(loan)

    def take_back(self, loan: Loan) -> None:
        """A loan is over: what was not settled stays where it is."""
        loan.file.take_back()
        self._lending = None
        for file in self.files[:-1]:
            if file.count == 0:
                file.close()
                self.files.remove(file)

    def close(self) -> int:
        """Let go of the files; how many checks are lost, since no file takes them."""
        self._lending = None
        self._refused_at_seconds = None
        if self.memory.count and (file := self._own_file()):
            try:
                self._move_memory_to(file)
            except sqlite3.DatabaseError as error:
                self._say_refused(error)
        for file in self.files:
            file.close()
        lost = self.memory.count
        self.memory.abandon()
        return lost

    def _write(self, rows: Sequence[KeptCheck], flying: int) -> tuple[SpoolFile, int]:
        """Write rows to where there is room; there, and the number of the first."""
        for _ in range(2):  # a damaged file is replaced once
            file = self._own_file()
            if file is None:
                break
            try:
                self._move_memory_to(file)
                if not self.memory.count:
                    return file, self._counted(file.keep(rows, flying=flying))
                break
            except sqlite3.OperationalError as error:
                self._say_refused(error)
            except sqlite3.DatabaseError as error:
                self._replace(file, error)
        return self.memory, self._counted(self.memory.keep(rows, flying=flying))

    def _counted(self, written: tuple[int, int]) -> int:
        first, dropped = written
        self.dropped += dropped
        return first

    def _own_file(self) -> SpoolFile | None:
        """The file to write to, made when it is first needed; None where the disk refuses."""
        refused_at = self._refused_at_seconds
        if self._folder is None or (
            refused_at is not None and time.monotonic() < refused_at + _RETRY_SECONDS
        ):
            return None
        if not self.files:
            try:
                self.files.append(self._folder.create())
            except OSError as error:
                self._say_refused(error)
                return None
        return self.files[-1]

    def _move_memory_to(self, file: SpoolFile) -> None:
        """Move what waits in memory, in its order, unless some of it is on its way."""
        while self.memory.count and self._lending is not self.memory:
            numbers, rows = self.memory.lend(_LARGEST_WRITE_ROWS)
            self._counted(file.keep(rows))
            self.memory.settle(numbers[-1], len(rows))
        if self._refused_at_seconds is not None and not self.memory.count:
            log.warning("the disk takes checks again; they are kept in %s", file.path)
            self._refused_at_seconds = None

    def _say_refused(self, error: object) -> None:
        if self._refused_at_seconds is None:
            megabytes = LARGEST_MEMORY_BYTES // 2**20
            log.warning(
                "cannot keep checks on disk, at most %d MB of them wait in memory: %s",
                megabytes,
                error,
            )
        self._refused_at_seconds = time.monotonic()

    def _replace(self, file: SpoolFile, error: object) -> None:
        """Put a damaged file aside; a new one takes its place when it is needed."""
        self.dropped += file.count
        file.abandon()
        if self._lending is file:
            self._lending = None
        if file in self.files:
            self.files.remove(file)
        if file.path is not None and self._folder is not None:
            self._folder.put_aside(file.path, error)
