"""The command line as a process of its own, with its streams apart or on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Ended", "pulsebase", "pulsebase_on_terminal", "started"]

_KEPT = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "XDG_STATE_HOME")
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Ended:
    """What a finished process left."""

    code: int
    out: str
    err: str

    @property
    def everything(self) -> str:
        """Both streams."""
        return self.out + self.err


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment that names no database."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "HOME": "/nonexistent", "TERM": "xterm-256color", **(more or {})}


def pulsebase(*arguments: str, env: Mapping[str, str] | None = None, given: bytes = b"") -> Ended:
    """Run the command line to its end; output that is not UTF-8 shows as replacement signs."""
    process = subprocess.run(
        [sys.executable, "-m", "pulsebase", *arguments],
        input=given,
        capture_output=True,
        env=environment(env),
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    out, err = process.stdout.decode(errors="replace"), process.stderr.decode(errors="replace")
    return Ended(process.returncode, out, err)


@contextmanager
def started(
    *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command line with pipes; it is killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "pulsebase", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(env),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pulsebase_on_terminal(
    *arguments: str, columns: int = 80, env: Mapping[str, str] | None = None
) -> Ended:
    """Run the command line on a terminal of so many columns; `out` is what the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "pulsebase", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(env),
        start_new_session=True,
    ) as process:
        os.close(theirs)
        text = b"".join(_read_all(ours)).decode(errors="replace")
        code = process.wait(_TIMEOUT_SECONDS)
    os.close(ours)
    return Ended(code, text.replace("\r\n", "\n"), "")


def _read_all(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 65_536)
        except OSError:  # how Linux says that nobody holds the other end any more
            return
        if not data:
            return
        yield data
