"""What there is to do: the files compared with what the database knows as applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pulsebase.migrations.rules import refused_statement

if TYPE_CHECKING:
    from pulsebase.migrations.catalog import Catalog, MigrationFile
    from pulsebase.migrations.journal import Journal, Record

__all__ = ["Entry", "Plan", "State", "compare"]

State = Literal["applied", "pending", "changed", "missing", "earlier"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One migration: its file, its record, or both.

    applied   file and record agree, or the record is from before pulsebase
    pending   a file without a record
    changed   the file is no longer the text that was applied
    missing   pulsebase applied it, and its file is gone
    earlier   a record without a file that is none of ours: the application's own history
    """

    id: str
    state: State
    file: MigrationFile | None = None
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All migrations in order. Nothing is applied while there are `refusals`."""

    entries: tuple[Entry, ...]
    refusals: tuple[str, ...]

    @property
    def pending(self) -> tuple[MigrationFile, ...]:
        """The files that `apply` would apply, in order."""
        return tuple(
            entry.file for entry in self.entries if entry.state == "pending" and entry.file
        )


def compare(catalog: Catalog, journal: Journal, *, over_https: bool) -> Plan:
    """The plan for these files on a database with this journal."""
    matched = _matched(catalog, journal)
    entries = [_file_entry(file, matched.get(file.id)) for file in catalog.files]
    used = {record.id for record in matched.values()}
    rest = [_rest_entry(record, catalog) for record in journal.records if record.id not in used]
    earlier = [entry for entry in rest if entry.state == "earlier"]
    missing = [entry for entry in rest if entry.state == "missing"]
    ordered = (*earlier, *sorted((*entries, *missing), key=lambda entry: entry.id))
    refusals = (
        *_edited_and_missing(entries, missing, catalog),
        *_taken(entries, rest, catalog),
        *_out_of_order(entries),
        *_impossible(entries, over_https=over_https),
    )
    return Plan(entries=ordered, refusals=refusals)


def _matched(catalog: Catalog, journal: Journal) -> dict[str, Record]:
    """The record of each applied file, by the file's id.

    A file that was exported under another number is the same migration: same words, same text.
    """
    by_id = {record.id: record for record in journal.records}
    by_content = {
        (record.words, record.checksum): record for record in journal.records if record.checksum
    }
    found: dict[str, Record] = {}
    for file in catalog.files:
        record = by_id.get(file.id) or by_content.get((file.words, file.checksum))
        if record is not None:
            found[file.id] = record
    return found | _adopted(catalog, journal, found)


def _adopted(catalog: Catalog, journal: Journal, found: dict[str, Record]) -> dict[str, Record]:
    """Files of an application whose history was begun by another tool, in its own spelling.

    Up to the highest record of that tool everything counts as applied: it kept no gaps for us.
    """
    numbered = {
        record.number: record
        for record in journal.records
        if record.checksum is None and record.number is not None
    }
    if catalog.carried or not catalog.files or not numbered:
        return {}
    if min(numbered) < catalog.files[0].number:
        return {}  # these records belong to another folder, the one where the numbers begin
    highest = numbered[max(numbered)]
    return {
        file.id: numbered.get(file.number, highest)
        for file in catalog.files
        if file.id not in found and file.number <= max(numbered)
    }


def _file_entry(file: MigrationFile, record: Record | None) -> Entry:
    if record is None:
        return Entry(id=file.id, state="pending", file=file)
    same = record.checksum in {None, file.checksum}
    return Entry(id=file.id, state="applied" if same else "changed", file=file, record=record)


def _rest_entry(record: Record, catalog: Catalog) -> Entry:
    """A record without a file; only in an application's own folder must each have one."""
    first = catalog.files[0].number if catalog.files else 1000
    number = record.number
    gone = not catalog.carried and record.checksum and number is not None and number >= first
    return Entry(id=record.id, state="missing" if gone else "earlier", record=record)


def _edited_and_missing(entries: list[Entry], missing: list[Entry], catalog: Catalog) -> list[str]:
    told = [
        f"{entry.file.source} was edited after it was applied; restore its text "
        "(the change belongs into a new file)"
        for entry in entries
        if entry.state == "changed" and entry.file
    ]
    for entry in missing:
        twin = next((e.file for e in entries if e.file and _renamed(entry.record, e.file)), None)
        told.append(
            f"{twin.source} was applied as {entry.id}.sql; give it back that name"
            if twin
            else f"{entry.id} was applied, but {catalog.folder} has no such file; restore it from "
            "version control, or fetch pulsebase's own files with: pulsebase db export"
        )
    return told


def _renamed(record: Record | None, file: MigrationFile) -> bool:
    return record is not None and record.checksum == file.checksum


def _taken(entries: list[Entry], rest: list[Entry], catalog: Catalog) -> list[str]:
    """Pending files whose number, or a later one, the application has used itself."""
    numbered = [
        (entry.record.number, entry.id)
        for entry in rest
        if entry.state == "earlier" and entry.record and entry.record.number is not None
    ]
    highest = max(numbered, default=(-1, ""))
    return [
        f"{entry.file.source} comes too late: the database has {highest[1]} applied already; "
        + (
            "give pulsebase's files numbers of your own folder with: pulsebase db export --dir DIR"
            if catalog.carried
            else "give it the next number after that"
        )
        for entry in entries
        if entry.state == "pending" and entry.file and entry.file.number <= highest[0]
    ]


def _out_of_order(entries: list[Entry]) -> list[str]:
    last = max((n for n, entry in enumerate(entries) if entry.state != "pending"), default=-1)
    return [
        f"{entry.file.source} sorts before {entries[last].id}, which is applied already; "
        "rename it to the next free number"
        for entry in entries[: max(last, 0)]
        if entry.state == "pending" and entry.file
    ]


def _impossible(entries: list[Entry], *, over_https: bool) -> list[str]:
    told = (
        refused_statement(entry.file, over_https=over_https)
        for entry in entries
        if entry.state == "pending" and entry.file
    )
    return [sentence for sentence in told if sentence]
