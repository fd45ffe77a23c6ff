"""What is wrong with a configuration file: problems at their place, and the error that has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pulsebase.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Problem", "UnusableFileError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, in people's words, with what to do; as text `file:line: problem`."""

    file: str
    line: int | None
    column: int | None = None
    text: str

    def __str__(self) -> str:
        """The form that compilers use, which editors can jump by."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.text}"


class UnusableFileError(ConfigurationError):
    """A configuration file was refused, with every problem that it has, in the file's order.

    `sources` are the files that were looked at, as in `Configuration.sources`.
    """

    def __init__(self, problems: Iterable[Problem], sources: Mapping[Path, bytes | None]) -> None:
        self.problems = tuple(problems)
        self.sources = dict(sources)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type[UnusableFileError], tuple[tuple[Problem, ...], object]]:
        """Pickle by the two arguments, so that the error crosses process borders."""
        return (type(self), (self.problems, self.sources))
