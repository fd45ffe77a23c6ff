"""`${NAME}` and `${file:/path}` in the values of a configuration file; `$${` is a literal `${`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pulsebase.monitor.configuration.sources import LARGEST_VALUE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pulsebase.monitor.configuration.sources import Sources
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["Substitution"]

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
# NUL, and what Python makes of bytes that are not UTF-8.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitution:
    """One pass over a file's tables.

    `replaced` says which values came from outside, and so may not be shown; `problems` what could
    not be found, by the place that asked for it.
    """

    environ: Mapping[str, str]
    folder: Path
    sources: Sources
    replaced: set[KeyPath] = field(default_factory=set["KeyPath"])
    problems: list[tuple[KeyPath, str]] = field(default_factory=list[tuple["KeyPath", str]])
    # Thousands of services may name the same file.
    _files: dict[str, str] = field(default_factory=dict[str, str])

    def apply(self, value: Any, path: KeyPath = ()) -> Any:
        """The same tables with every reference in a string replaced; those without are shared."""
        match value:
            case str() if "${" in value:
                return _REFERENCE.sub(lambda match: self._replacement(match, path), value)
            case dict():
                changed = self._changed(value.items(), path)
                return {**value, **changed} if changed else value
            case list():
                changed = self._changed(enumerate(value), path)
                return (
                    [changed.get(i, entry) for i, entry in enumerate(value)] if changed else value
                )
            case _:
                return value

    def _changed(self, entries: Iterable[tuple[Any, Any]], path: KeyPath) -> dict[Any, Any]:
        """The entries that hold a reference somewhere, with what stands there instead."""
        changed: dict[Any, Any] = {}
        for key, entry in entries:
            # Most entries are short texts: they are not worth a path and a call.
            if isinstance(entry, (dict, list)) or (isinstance(entry, str) and "${" in entry):
                applied = self.apply(entry, (*path, key))
                if applied is not entry:
                    changed[key] = applied
        return changed

    def _replacement(self, match: re.Match[str], path: KeyPath) -> str:
        if match[0] == "$${":
            return "${"
        self.replaced.add(path)
        try:
            return self._looked_up(match[1], closed=bool(match[2]))
        except ValueError as error:
            self.problems.append((path, str(error)))
            return ""

    def _looked_up(self, reference: str, *, closed: bool) -> str:
        if closed and reference.startswith("file:"):
            name = reference.removeprefix("file:")
            if name not in self._files:
                self._files[name] = self._read(name)
            return self._files[name]
        if not closed or not _NAME.fullmatch(reference):
            message = "has a ${ that is no ${NAME} or ${file:/path}; write $${ for a literal ${"
            raise ValueError(message)
        if reference not in self.environ:
            message = f"needs the environment variable {reference}, which is not set; set it"
            raise ValueError(message)
        return _stored(self.environ[reference], f"the environment variable {reference}")

    def _read(self, name: str) -> str:
        path = self.folder / name
        try:
            raw = self.sources.read(path, at_most=LARGEST_VALUE + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            message = f"needs the file {name}, which cannot be read ({reason}); check the path"
            raise ValueError(message) from None
        if len(raw) > LARGEST_VALUE:
            message = f"needs the file {name}, which is larger than {LARGEST_VALUE} bytes"
            raise ValueError(message)
        # Secrets in files mostly end with a line break that is no part of them.
        return _stored(raw.decode("utf-8", "surrogateescape").rstrip("\r\n"), f"the file {name}")


def _stored(text: str, source: str) -> str:
    """Refuse what no value may hold: bytes that are not UTF-8, and NUL."""
    if _UNSTORABLE.search(text):
        message = f"needs {source}, which does not hold UTF-8 text; store it again as text"
        raise ValueError(message)
    return text
