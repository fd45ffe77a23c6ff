"""A folder of migration files, `NNN_words.sql`, read and checked before anything is sent.

The checksum is taken over the text with LF line ends and without a byte order mark, so that an
editor or git on another system does not turn an applied file into an edited one.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from pulsebase.errors import MigrationError
from pulsebase.migrations.script import Statement, split

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.resources.abc import Traversable

__all__ = ["Catalog", "MigrationFile", "packaged", "read_folder"]

DIGITS = 3
_NAME = re.compile(r"(?P<number>[0-9]{3})_(?P<words>[a-z0-9]+(?:_[a-z0-9]+)*)\.sql")
_NO_TRANSACTION = re.compile(r"--\s*pulsebase:\s*no\s+transaction\s*")
_OPTION = re.compile(r"--\s*pulsebase:(?P<option>.*)")


@dataclass(frozen=True)
class MigrationFile:
    """One file: `id` is its name without `.sql`, `source` what messages call it."""

    id: str
    number: int
    words: str
    source: str
    text: str
    checksum: str
    transaction: bool = True

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.id}.sql"

    @cached_property
    def statements(self) -> tuple[Statement, ...]:
        """The statements of the text, with their places in it."""
        return tuple(split(self.text))


@dataclass(frozen=True, slots=True)
class Catalog:
    """The files of one folder in order; numbers are unique and follow each other without a gap.

    `carried` says that these are the files of the package, not those of an application.
    """

    folder: str
    files: tuple[MigrationFile, ...]
    carried: bool = False


def packaged() -> Catalog:
    """The migrations that pulsebase carries; they start at 012, after the application's own."""
    folder = resources.files("pulsebase.migrations") / "sql"
    return _catalog("pulsebase's own files", folder.iterdir(), prefix="", carried=True)


def read_folder(folder: str | Path) -> Catalog:
    """The migrations of an application's folder.

    Raises MigrationError for a name, a number or an encoding that cannot be used.
    """
    path = Path(folder)
    if not path.is_dir():
        msg = f"{path} is not a folder; give the folder of your migrations with --dir"
        raise MigrationError(msg)
    return _catalog(str(path), path.iterdir(), prefix=f"{path}/")


def _catalog(
    folder: str, entries: Iterable[Traversable], *, prefix: str, carried: bool = False
) -> Catalog:
    found = sorted(
        (entry for entry in entries if _is_candidate(entry)), key=lambda entry: entry.name
    )
    files = tuple(read_file(entry, source=f"{prefix}{entry.name}") for entry in found)
    _refuse_duplicates_and_gaps(files)
    return Catalog(folder=folder, files=files, carried=carried)


def _is_candidate(entry: Traversable) -> bool:
    """Whether the entry means to be a migration; README, hidden and editor's files do not."""
    return (
        entry.name.lower().endswith(".sql") and not entry.name.startswith(".") and entry.is_file()
    )


def read_file(entry: Traversable, *, source: str) -> MigrationFile:
    """One file, its name and text checked."""
    match = _NAME.fullmatch(entry.name)
    if match is None:
        raise MigrationError(_misnamed(source, entry.name))
    text = normalized(entry.read_bytes(), source=source)
    return MigrationFile(
        id=entry.name.removesuffix(".sql"),
        number=int(match["number"]),
        words=match["words"],
        source=source,
        text=text,
        checksum=checksum(text),
        transaction=_wants_transaction(text, source),
    )


def normalized(content: bytes, *, source: str) -> str:
    """The text with LF line ends and without a byte order mark."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{source}:{line}: byte {error.start} is not UTF-8; save the file as UTF-8"
        raise MigrationError(msg) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        msg = f"{source}:{line}: a NUL byte; PostgreSQL cannot store one, remove it"
        raise MigrationError(msg)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def checksum(text: str) -> str:
    """SHA-256 of the normalised text, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def _wants_transaction(text: str, source: str) -> bool:
    first_line = text.lstrip().partition("\n")[0].strip()
    option = _OPTION.fullmatch(first_line)
    if option is None or option["option"].strip().startswith("ignore"):
        return True
    if _NO_TRANSACTION.fullmatch(first_line):
        return False
    msg = f'{source}:1: "{first_line}" is not known; write: -- pulsebase: no transaction'
    raise MigrationError(msg)


def _misnamed(source: str, name: str) -> str:
    stem = name[: -len(".sql")]
    digits = re.match(r"[0-9]*", stem)
    count = len(digits[0]) if digits else 0
    if not name.endswith(".sql"):
        reason = "its ending must be .sql in lower case"
    elif count != DIGITS:
        reason = f"it must start with three digits, not {count or 'none'}"
    elif not stem[DIGITS:].startswith("_") or not stem[DIGITS + 1 :]:
        reason = "an underscore and words must follow the number"
    else:
        reason = (
            "its words may hold lower-case letters and digits only, joined by single underscores"
        )
    return f"{source}: {reason}; rename it like 012_create_users.sql"


def _refuse_duplicates_and_gaps(files: tuple[MigrationFile, ...]) -> None:
    for earlier, later in pairwise(files):
        if earlier.number == later.number:
            msg = (
                f"{earlier.name} and {later.name} have the same number; "
                "rename the one that was added last to the next free number"
            )
            raise MigrationError(msg)
        if later.number != earlier.number + 1:
            msg = (
                f"there is a gap between {earlier.name} and {later.name}: "
                f"{earlier.number + 1:03d} is missing; add that file or renumber what follows"
            )
            raise MigrationError(msg)
