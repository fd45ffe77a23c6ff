"""New files in an application's folder: an empty one, or copies of those that pulsebase carries.

A file appears under its name with its whole text or not at all, and none is ever overwritten.
"""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pulsebase.errors import MigrationError
from pulsebase.migrations.catalog import Catalog, MigrationFile, packaged, read_folder

__all__ = ["Exported", "export", "new"]

_LAST_NUMBER = 999
_BETWEEN_WORDS = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Exported:
    """Where one carried file is now; `written` is false when it was there already."""

    id: str
    path: Path
    written: bool


def export(folder: str | Path) -> tuple[Exported, ...]:
    """Copy the carried files into the folder, numbered after its highest; make it if needed.

    A file that was exported before is recognised by its words and its text, whatever its number.
    A database keeps track of the copies under their new names; one that has the originals applied
    takes them for the same.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    existing = read_folder(path)
    numbered = _numbered(existing)
    if numbered[-1][1] > _LAST_NUMBER:
        raise _used_up(path)  # before anything is written
    return tuple(_exported(file, path, existing, number) for file, number in numbered)


def new(folder: str | Path, words: str) -> Path:
    """The path of a new, empty migration with the next number; its name is made of the words."""
    plain = unicodedata.normalize("NFKD", words.casefold()).encode("ascii", "ignore").decode()
    name = _BETWEEN_WORDS.sub("_", plain).strip("_")
    if not name:
        msg = f"{words!r} has no letters or digits to name a file with; try: create_users"
        raise MigrationError(msg)
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return _written(path, _next_number(read_folder(path)), name, f"-- {' '.join(words.split())}\n")


def _numbered(existing: Catalog) -> list[tuple[MigrationFile, int]]:
    """Each carried file with the number that it has in the folder, or will have."""
    known = {(file.words, file.checksum): file.number for file in existing.files}
    following = _next_number(existing)
    found: list[tuple[MigrationFile, int]] = []
    for file in packaged().files:
        number = known.get((file.words, file.checksum))
        if number is None:
            number, following = following, following + 1
        found.append((file, number))
    return found


def _exported(file: MigrationFile, folder: Path, existing: Catalog, number: int) -> Exported:
    name = f"{number:03d}_{file.words}"
    if any(there.id == name for there in existing.files):
        return Exported(id=name, path=folder / f"{name}.sql", written=False)
    return Exported(id=name, path=_written(folder, number, file.words, file.text), written=True)


def _next_number(catalog: Catalog) -> int:
    return catalog.files[-1].number + 1 if catalog.files else 1


def _written(folder: Path, number: int, words: str, text: str) -> Path:
    """Write beside and link into place: the link fails when the name is taken meanwhile."""
    if number > _LAST_NUMBER:
        raise _used_up(folder)
    target = folder / f"{number:03d}_{words}.sql"
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        _link(Path(temporary), target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _used_up(folder: Path) -> MigrationError:
    msg = f"{folder} has used up its three digits; begin a new folder with what is there now"
    return MigrationError(msg)


def _link(temporary: Path, target: Path) -> None:
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        msg = f"{target} was written by somebody else a moment ago; run it again"
        raise MigrationError(msg) from None
    except OSError:
        # A file system without hard links: a rename may replace what came in between.
        if target.exists():
            raise
        temporary.replace(target)
