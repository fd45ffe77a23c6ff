"""The table `public.migrations`: what was read of it, and how a row is written into it.

An application may have had that table before pulsebase. Its columns are kept, those that must have
a value are filled by their name, else by their type.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pulsebase.errors import MigrationError
from pulsebase.migrations.catalog import DIGITS
from pulsebase.migrations.envelope import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.migrations.catalog import MigrationFile

__all__ = ["Column", "Journal", "Record", "record_statement"]

_OWN_COLUMNS = ("checksum", "executed_at", "duration_ms")
_TEXT = "S"


@dataclass(frozen=True, slots=True)
class Record:
    """A migration that the database knows as applied. Only pulsebase's own have a checksum."""

    id: str
    checksum: str | None = None
    executed_at: datetime | None = None
    duration_ms: int | None = None

    @property
    def number(self) -> int | None:
        """The number that the id starts with, if it is one of ours: three digits, no more."""
        digits, rest = self.id[:DIGITS], self.id[DIGITS : DIGITS + 1]
        is_ours = len(digits) == DIGITS and digits.isdecimal() and not rest.isdecimal()
        return int(digits) if is_ours else None

    @property
    def words(self) -> str:
        """What follows the number."""
        return self.id[DIGITS + 1 :]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; `required` is NOT NULL without a default."""

    name: str
    type: str
    category: str
    required: bool


@dataclass(frozen=True, slots=True)
class Journal:
    """The table as it is now; without it there are no columns and no records."""

    exists: bool = False
    columns: Mapping[str, Column] = field(default_factory=dict)
    records: tuple[Record, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the table has all that a row of ours needs."""
        return self.exists and all(name in self.columns for name in _OWN_COLUMNS)


def read_journal(answer: Mapping[str, Any]) -> Journal:
    """The journal in the answer of look.sql; refuses a table that cannot be adopted."""
    if not answer.get("exists"):
        return Journal()
    columns = {column["name"]: Column(**column) for column in answer.get("columns") or ()}
    if answer.get("kind") not in {"r", "p"} or "id" not in columns:
        raise MigrationError(
            "public.migrations is not a table of migrations: "
            + ("it has no column id" if "id" not in columns else "it is not a table")
            + "; rename it, for pulsebase needs that name"
        )
    if columns["id"].category != _TEXT:
        msg = (
            f"public.migrations.id is of type {columns['id'].type}, and pulsebase's ids are text; "
            "rename that table, for pulsebase needs its name"
        )
        raise MigrationError(msg)
    records = tuple(_record(row) for row in answer.get("rows") or ())
    return Journal(exists=True, columns=columns, records=records)


def _record(row: Mapping[str, Any]) -> Record:
    duration = row.get("duration_ms")
    return Record(
        id=row["id"],
        checksum=row.get("checksum") or None,
        executed_at=_time(row.get("executed_at")),
        duration_ms=int(duration) if duration else None,
    )


def _time(text: str | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:  # an adopted table may keep anything in a column of that name
        return None
    return moment.astimezone() if moment else None


def record_statement(file: MigrationFile, journal: Journal, *, duration: str) -> str:
    """The INSERT that records the file; `duration` is an SQL expression in milliseconds."""
    values = {
        "id": quoted(file.id),
        "checksum": quoted(file.checksum),
        "executed_at": "clock_timestamp()",
        "duration_ms": duration,
    }
    for column in journal.columns.values():
        if column.name not in values and (guess := _guessed(column, file)):
            values[column.name] = guess
    names = ", ".join(_identifier(name) for name in values)
    # Without casts: an explicit one to varchar(n) would cut an id short instead of refusing it.
    return f"insert into public.migrations ({names}) values ({', '.join(values.values())});"  # noqa: S608 -- names and values are quoted above


def _guessed(column: Column, file: MigrationFile) -> str:
    """A value for a column that we did not make; nothing where it may stay empty."""
    named = _by_name(column, file) if column.category == _TEXT else ""
    if named or not column.required:
        return named
    by_category = {
        "S": quoted(file.id),
        "N": str(file.number),
        "B": "true",
        "D": "clock_timestamp()",
        "A": "'{}'",
        "T": "'0'",
    }
    by_type = {"uuid": "gen_random_uuid()", "json": "'{}'", "jsonb": "'{}'", "bytea": "''"}
    value = by_type.get(column.type) or by_category.get(column.category)
    if value is None:
        msg = (
            f"public.migrations.{column.name} is {column.type} NOT NULL without a default, and "
            f"pulsebase has no value for it; run: alter table public.migrations alter column "
            f"{_identifier(column.name)} drop not null"
        )
        raise MigrationError(msg)
    return value


def _by_name(column: Column, file: MigrationFile) -> str:
    match column.name:
        case "name" | "title" | "description":
            return quoted(file.words)
        case "filename" | "file_name" | "file":
            return quoted(file.name)
        case "version" | "number":
            return quoted(f"{file.number:03d}")
        case _:
            return ""


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
