"""One file of the spool: rows in the order in which they came, crash-safe, locked while it is open.

It is a SQLite database. Its exclusive mode is our lock, since the system lets go of it when the
process dies, however it dies. Healthy checks lie apart from the others, so that dropping those
first frees whole pages, which the next rows fill again: the file does not outgrow its limit.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pulsebase.monitor.configuration.values import WhenFull

__all__ = ["PRIMARY_CODE", "KeptCheck", "SpoolDamagedError", "SpoolFile", "SpoolInUseError"]

_APPLICATION_ID = 0x70756C73  # "puls"
_VERSION = 1
_LARGEST_LOAN_CHARACTERS = 4_000_000
_SHRINK_ABOVE_PAGES = 256
PRIMARY_CODE = 0xFF  # the part of an extended code of SQLite that tells the kind
# What SQLite says of a file that is held by another process, and of a disk that takes no more. All
# else that it says while a file is opened means that the file is no good.
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_UNWRITABLE = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)


class SpoolInUseError(Exception):
    """Another process works with this file, or it has just been removed."""


class SpoolDamagedError(Exception):
    """This file is not one that can be read as a spool."""


@dataclass(frozen=True, slots=True)
class KeptCheck:
    """A row as it lies in the spool: the JSON that the database will be sent."""

    text: str
    is_healthy: bool

    def json(self) -> str:
        """The row as JSON text."""
        return self.text

    @property
    def service_name(self) -> str:
        """Whose check it is, as far as that can be read."""
        try:
            return str(json.loads(self.text)["service_name"])
        except (ValueError, TypeError, KeyError, RecursionError):
            return "?"


class SpoolFile:
    """Rows with ascending numbers in a file, or in memory where `path` is None.

    `limit_bytes` bounds the pages that are in use. Raises `sqlite3.OperationalError` where the disk
    does not take or give something, and changes nothing then; any other `sqlite3.DatabaseError`
    means that the file is damaged.
    """

    def __init__(self, path: Path | None, *, limit_bytes: int, drops: WhenFull) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._drops: WhenFull = drops
        self._settled = 0  # rows up to this number are in the database, if not yet gone from here
        self._lent = 0  # rows up to this number are on their way; they are not dropped
        with _judged():
            self._connection = _open(path)
            try:
                self._measure()
            except BaseException:
                self.abandon()
                raise

    def keep(self, rows: Sequence[KeptCheck], *, flying: int = 0) -> tuple[int, int]:
        """Write rows at the end, synced to the disk; the first row's number, and how many went.

        When the file is over its limit, rows go as `drops` says, but none that is lent. The first
        `flying` of these rows are on their way already, and are lent from the start.
        """
        first = self._last + 1
        lent = first + flying - 1 if flying else self._lent
        numbered = list(enumerate(rows, first))
        healthy = [(number, row.text) for number, row in numbered if row.is_healthy]
        unwell = [(number, row.text) for number, row in numbered if not row.is_healthy]
        with self._transaction("full"):
            self._connection.executemany("insert into healthy values (?, ?)", healthy)
            self._connection.executemany("insert into unwell values (?, ?)", unwell)
            dropped = self._shrink(self.count + len(rows), max(lent, self._settled))
        self._lent = lent
        self._last += len(rows)
        self.count += len(rows) - dropped
        return first, dropped

    def lend(self, most_rows: int) -> tuple[list[int], list[KeptCheck]]:
        """The first rows that are not settled, with their numbers; bounded in size, too."""
        numbers: list[int] = []
        rows: list[KeptCheck] = []
        characters = 0
        for number, healthy, text in self._connection.execute(
            "select seq, 1, row from healthy where seq > :settled"
            " union all select seq, 0, row from unwell where seq > :settled"
            " order by seq limit :most",
            {"settled": self._settled, "most": most_rows},
        ):
            characters += len(text)
            if rows and characters > _LARGEST_LOAN_CHARACTERS:
                break
            numbers.append(number)
            rows.append(KeptCheck(text, bool(healthy)))
        self._lent = numbers[-1] if numbers else 0
        return numbers, rows

    def take_back(self) -> None:
        """What was lent did not get through: it is like any other row again."""
        self._lent = 0

    def settle(self, number: int, rows: int) -> None:
        """Forget the rows up to this number, which are so many.

        They are not seen again even where the disk is too full to forget them. What a crash brings
        back is in the database already, and is not inserted twice.
        """
        self._settled = number
        self.count -= rows
        with self._transaction("normal"):
            self._connection.execute("delete from healthy where seq <= ?", (number,))
            self._connection.execute("delete from unwell where seq <= ?", (number,))
        if self.count == 0 and self._number("pragma page_count") > _SHRINK_ABOVE_PAGES:
            self._connection.execute("vacuum")
            self._connection.execute("pragma wal_checkpoint(truncate)")

    @property
    def first_text(self) -> str:
        """The oldest row; it begins with its id, which begins with its time."""
        row = self._connection.execute(
            "select row from (select seq, row from healthy union all select seq, row from unwell)"
            " order by seq limit 1"
        ).fetchone()
        return str(row[0]) if row else ""

    def close(self) -> None:
        """Let go of the file; an empty one is removed."""
        with suppress(sqlite3.DatabaseError, OSError):
            if self.count == 0 and self.path is not None:
                # Under the lock, and first without the journals that carry the name: as soon as
                # this file is gone, another process may make one of the same name.
                self._connection.execute("pragma journal_mode = delete")
                self.path.unlink(missing_ok=True)
        self.abandon()

    def abandon(self) -> None:
        """Let go of the file as it is."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _measure(self) -> None:
        self._page_bytes = self._number("pragma page_size")
        self.count = self._number("select (select count(*) from healthy) + count(*) from unwell")
        self._last = self._number(
            "select max(seq) from (select max(seq) as seq from healthy"
            " union all select max(seq) from unwell)"
        )

    def _shrink(self, stored: int, lent: int) -> int:
        """Drop rows until the pages in use fit into the limit; how many went."""
        dropped = 0
        while (used := self._used_bytes()) > self._limit_bytes:
            share = (used - self._limit_bytes) / used
            gone = self._drop(1 + int((stored - dropped) * share), lent)
            if gone == 0:
                break
            dropped += gone
        return dropped

    def _drop(self, rows: int, lent: int) -> int:
        match self._drops:
            case "oldest":
                return self._drop_oldest(rows, lent)
            case "newest":
                return self._drop_newest(rows, lent)
            case "healthy":
                return self._drop_healthy(rows, lent) or self._drop_oldest(rows, lent)
            case _:
                assert_never(self._drops)

    def _drop_oldest(self, rows: int, lent: int) -> int:
        bound = self._number(
            "select max(seq) from (select seq from healthy where seq > :lent"
            " union all select seq from unwell where seq > :lent order by seq limit :rows)",
            {"lent": lent, "rows": rows},
        )
        given = {"lent": lent, "bound": bound}
        return self._changed(
            "delete from healthy where seq > :lent and seq <= :bound", given
        ) + self._changed("delete from unwell where seq > :lent and seq <= :bound", given)

    def _drop_newest(self, rows: int, lent: int) -> int:
        bound = self._number(
            "select min(seq) from (select seq from healthy where seq > :lent union all"
            " select seq from unwell where seq > :lent order by seq desc limit :rows)",
            {"lent": lent, "rows": rows},
        )
        given = {"bound": max(bound, lent + 1)}
        return self._changed("delete from healthy where seq >= :bound", given) + self._changed(
            "delete from unwell where seq >= :bound", given
        )

    def _drop_healthy(self, rows: int, lent: int) -> int:
        return self._changed(
            "delete from healthy where seq in"
            " (select seq from healthy where seq > :lent order by seq limit :rows)",
            {"lent": lent, "rows": rows},
        )

    def _used_bytes(self) -> int:
        pages = self._number("pragma page_count") - self._number("pragma freelist_count")
        return pages * self._page_bytes

    def _number(self, statement: str, given: Mapping[str, int] | None = None) -> int:
        row = self._connection.execute(statement, given or {}).fetchone()
        return int(row[0] or 0)

    def _changed(self, statement: str, given: Mapping[str, int]) -> int:
        return self._connection.execute(statement, given).rowcount

    @contextmanager
    def _transaction(self, synchronous: Literal["full", "normal"]) -> Iterator[None]:
        self._connection.execute(f"pragma synchronous = {synchronous}")
        self._connection.execute("begin immediate")
        try:
            yield
            self._connection.execute("commit")
        except BaseException:
            # After some errors SQLite has rolled back by itself.
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise


def _open(path: Path | None) -> sqlite3.Connection:
    """A locked database with our tables."""
    if path is not None:
        _make_private(path)
    before = _identity(path)
    # The thread of the spool uses it, whoever opened it; never two at once.
    connection = sqlite3.connect(
        path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False
    )
    try:
        connection.text_factory = _readable
        connection.execute("pragma locking_mode = exclusive")
        _prepare(connection)
        _require_same(path, before)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    """Make sure whose file it is before anything in it is changed."""
    [application_id] = connection.execute("pragma application_id").fetchone()
    [version] = connection.execute("pragma user_version").fetchone()
    is_new = not connection.execute("select 1 from sqlite_master").fetchone()
    if not is_new and application_id != _APPLICATION_ID:
        msg = "it belongs to another program"
        raise SpoolDamagedError(msg)
    if not is_new and version != _VERSION:
        msg = f"another version of pulsebase wrote it (form {version})"
        raise SpoolDamagedError(msg)
    connection.execute("pragma journal_mode = wal")
    connection.execute("begin exclusive")
    if is_new:
        connection.execute(f"pragma application_id = {_APPLICATION_ID}")
        connection.execute(f"pragma user_version = {_VERSION}")
        connection.execute("create table healthy (seq integer primary key, row text not null)")
        connection.execute("create table unwell (seq integer primary key, row text not null)")
    connection.execute("commit")


def _make_private(path: Path) -> None:
    """Make the file for us alone, before SQLite would make it by the umask.

    Never opened when it is there: closing it again would end the locks that this process holds.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        with suppress(PermissionError):  # somebody else's; SQLite will say whether we may use it
            path.chmod(0o600)


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.stat() if path else None
    except FileNotFoundError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _require_same(path: Path | None, before: tuple[int, int] | None) -> None:
    """Whoever held the file may have removed it meanwhile: what we hold has no name then."""
    if _identity(path) != before:
        raise SpoolInUseError


def _readable(text: bytes) -> str:
    # What a damaged page made of a row is for the database to refuse, alone.
    return text.decode(errors="replace")


@contextmanager
def _judged() -> Iterator[None]:
    """Say what an error means for a file that is being opened."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY_CODE
        if code in _HELD:
            raise SpoolInUseError from None
        if code not in _UNWRITABLE:
            raise SpoolDamagedError(str(error)) from error
        raise
