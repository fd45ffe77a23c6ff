"""The files that a configuration is read from, each with a digest of what it held.

With the digests somebody can tell later whether anything would be read differently now. Only
regular files are noted: a pipe, as in `-c <(generate)`, can be read once and never again.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Final

__all__ = ["LARGEST_VALUE", "Sources", "fingerprint"]

LARGEST_VALUE: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sources:
    """Reads files, and remembers which: a digest of each, None for one that cannot be read."""

    digests: dict[Path, bytes | None] = field(default_factory=dict[Path, bytes | None])

    def read(self, path: Path, *, at_most: int = -1) -> bytes:
        """A file, or at most so many bytes of it; raises OSError as `open` does."""
        self.digests[path] = None
        with path.open("rb") as file:
            raw = file.read(at_most)
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                self.digests[path] = _digest(raw)
            else:
                del self.digests[path]
        return raw


def fingerprint(path: Path, *, is_value: bool) -> bytes | None:
    """The digest of what a file holds now, by the rules of `Sources`; None without such a file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            return _digest(file.read(LARGEST_VALUE + 1 if is_value else -1))
    except (OSError, ValueError):
        return None


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=16).digest()
