"""Run a program of somebody else's, and be rid of it in time whatever it does.

It gets a process group of its own, so that what it starts ends with it. Its output is read to the
end but kept only up to a bound. asyncio's high-level `Process.wait` waits for the pipes too, which
a child may hold open for ever; so this is built on the protocol below it, which tells of the exit
by itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Finished", "run_plugin"]

KEPT_BYTES: Final = 64 * 1024
_MOST_BYTES: Final = 1024 * 1024
# After a timeout: from the request to end to the end.
_FAREWELL_SECONDS: Final = 0.5
# After a normal end: until the last of the output is there, unless a child keeps the pipe open.
_LAST_OUTPUT_SECONDS: Final = 0.2
# What sleeps deep in the kernel ends later than it is told; asyncio reaps it then.
_DEATH_SECONDS: Final = 0.25

_STDOUT: Final = 1
_STDERR: Final = 2

CutShort = Literal["timeout", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a run ended, and the beginning of what it wrote.

    `exit_code` is negative after a signal. `cut_short` says why we ended it, if we did: it took
    too long, or it wrote too much.
    """

    exit_code: int
    elapsed_seconds: float
    stdout: bytes
    stderr: bytes
    cut_short: CutShort | None


async def run_plugin(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    working_directory: str | None,
    timeout_seconds: float,
) -> Finished:
    """Run a program to its end, or end it; OSError when it cannot be started.

    Its whole process group is killed when this returns, and when it is cancelled.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    transport, run = await loop.subprocess_exec(
        _Run,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        env=dict(environment),
        cwd=working_directory,
        start_new_session=True,
    )
    try:
        elapsed_seconds, cut_short = await _watched(run, transport, began, timeout_seconds)
    finally:
        _signal_group(transport, signal.SIGKILL)
        try:
            await run.wait_for_end(_DEATH_SECONDS)
        finally:
            transport.close()
    return Finished(
        exit_code=transport.get_returncode() or 0,
        elapsed_seconds=elapsed_seconds,
        stdout=bytes(run.kept[_STDOUT]),
        stderr=bytes(run.kept[_STDERR]),
        cut_short=cut_short,
    )


async def _watched(
    run: _Run, transport: asyncio.SubprocessTransport, began: float, timeout_seconds: float
) -> tuple[float, CutShort | None]:
    """Until it ended, or was asked to: after how long that was, and why it was asked."""
    farewell_seconds = min(_FAREWELL_SECONDS, timeout_seconds / 10)
    in_time = await run.wait(timeout_seconds - farewell_seconds)
    elapsed_seconds = asyncio.get_running_loop().time() - began
    cut_short = run.cut_short(in_time=in_time)
    if run.has_ended:
        await run.wait_for_output(_LAST_OUTPUT_SECONDS)
    else:
        _signal_group(transport, signal.SIGTERM)
        await run.wait_for_end(farewell_seconds * 0.8)
    return elapsed_seconds, cut_short


class _Run(asyncio.SubprocessProtocol):
    """Keeps the beginning of each stream, and tells when something is worth acting on."""

    def __init__(self) -> None:
        self.kept = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self._written = 0
        self._open = len(self.kept)
        self._ended = asyncio.Event()
        self._closed = asyncio.Event()
        self._decided = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self.kept[fd]
        kept += data[: KEPT_BYTES - len(kept)]
        self._written += len(data)
        if self._written > _MOST_BYTES:
            self._decided.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del fd, exc
        self._open -= 1
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        self._ended.set()
        self._decided.set()

    async def wait(self, seconds: float) -> bool:
        """Until it ended or wrote too much; whether that was in time."""
        return await _within(seconds, self._decided)

    async def wait_for_end(self, seconds: float) -> None:
        await _within(seconds, self._ended)

    async def wait_for_output(self, seconds: float) -> None:
        await _within(seconds, self._closed)

    def cut_short(self, *, in_time: bool) -> CutShort | None:
        if self._written > _MOST_BYTES:
            return "output"
        return None if in_time else "timeout"


async def _within(seconds: float, event: asyncio.Event) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _signal_group(transport: asyncio.SubprocessTransport, number: signal.Signals) -> None:
    # Its first process leads the group and gave it its number; nobody is left when it fails.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(transport.get_pid(), number)
