"""A TOML file that knows on which line each of its keys stands.

`tomllib` gives positions only for what it cannot read. Of a file that it can read, each statement
(a table's header, or a key with its value, however many lines that takes) is valid by itself, and
no beginning of one that ends at a line break is: so statements are found by reading lines until
tomllib accepts them, and the keys of each are on its first line.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pulsebase.monitor.configuration.problems import Problem, UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pulsebase.monitor.configuration.sources import Sources

__all__ = ["KeyPath", "TomlSource", "read_toml"]

# ("services", 0, "expect", "status"): names of keys, and numbers of tables or list entries.
KeyPath = tuple[str | int, ...]

_POSITION: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
# A statement of several lines cannot end on a line without one of these.
_CLOSING: Final = re.compile(r"[\]}]|\"\"\"|'''")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlSource:
    """What a file says, its name as people wrote it, and its text."""

    name: str
    text: str
    tables: dict[str, Any]

    def lines(self) -> dict[KeyPath, int]:
        """Find the line of every key and table; made when there is something to complain about."""
        lines: dict[KeyPath, int] = {(): 1}
        table: KeyPath = ()
        counts: dict[KeyPath, int] = {}
        for line, is_header, tree in _statements(self.text):
            if is_header:
                table = _header_path(tree, counts)
                for length in range(1, len(table) + 1):
                    lines.setdefault(table[:length], line)
            else:
                for path in _paths(tree, table):
                    lines.setdefault(path, line)
        return lines


def read_toml(path: Path, sources: Sources) -> TomlSource:
    """Read a TOML file; raises UnusableFileError with line and column when it is none."""
    try:
        text = _decoded(_raw(path, sources))
        return TomlSource(name=str(path), text=text, tables=_parsed(text))
    except _RefusedError as error:
        line, column = error.place
        problem = Problem(file=str(path), line=line, column=column, text=str(error))
        raise UnusableFileError([problem], sources.digests) from None


class _RefusedError(Exception):
    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        self.place = line, column
        super().__init__(message)


def _raw(path: Path, sources: Sources) -> bytes:
    try:
        return sources.read(path)
    except FileNotFoundError:
        message = "there is no such file; write one, or name it with -c"
        raise _RefusedError(message) from None
    except OSError as error:
        message = f"cannot be read: {error.strerror}; check the path and its permissions"
        raise _RefusedError(message) from None


def _decoded(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        byte = raw[error.start]
        message = f"not UTF-8 text (byte 0x{byte:02x}); save the file as UTF-8"
        raise _RefusedError(message, line) from None
    return text.replace("\r\n", "\n")


def _parsed(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        message = "tables or lists are nested too deeply; write them flat"
        raise _RefusedError(message) from None
    except ValueError as error:  # also what int() says to a number of ten thousand digits
        raise _refusal(text, str(error)) from None


def _refusal(text: str, said: str) -> _RefusedError:
    position = _POSITION.search(said)
    what = f"not valid TOML: {_POSITION.sub('', said)}; mend"
    if position is None:
        return _RefusedError(f"{what} the file")
    lines = text.removesuffix("\n").split("\n")
    line, column = map(int, position.groups(default="0"))
    if not line:
        line, column = len(lines), len(lines[-1]) + 1
    return _RefusedError(f"{what} this line", line, column)


def _statements(text: str) -> Iterator[tuple[int, bool, dict[str, Any]]]:
    """Yield (line, whether it is a header, what it says) of a text that tomllib has accepted."""
    statement: list[str] = []
    start = 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not statement:
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            start = number
        statement.append(line)
        if len(statement) > 1 and not _CLOSING.search(line):
            continue
        try:
            tree = tomllib.loads("\n".join(statement))
        except tomllib.TOMLDecodeError:
            continue
        yield start, statement[0].lstrip().startswith("["), tree
        statement = []


def _header_path(tree: dict[str, Any], counts: dict[KeyPath, int]) -> KeyPath:
    """Resolve `[a.b]` or `[[a.b]]`, given how many tables each `[[…]]` has so far."""
    path: KeyPath = ()
    inner: Any = tree
    while inner and isinstance(inner, dict):
        key, inner = next(iter(inner.items()))
        path += (key,)
        if isinstance(inner, list):
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (counts[path],)
    return path


def _paths(tree: Any, prefix: KeyPath) -> Iterator[KeyPath]:
    match tree:
        case dict():
            for key, value in tree.items():
                yield (*prefix, key)
                yield from _paths(value, (*prefix, key))
        case list():
            for index, value in enumerate(tree):
                yield (*prefix, index)
                yield from _paths(value, (*prefix, index))
        case _:
            return
