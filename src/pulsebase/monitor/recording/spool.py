"""Where checks are kept while the database is away: in a file, and in memory where no file serves.

What is in a file survives this process; what is in memory does not, and is counted apart. All work
on files is done by one thread, so that a slow disk holds up no probe.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from pulsebase.errors import ConfigurationError
from pulsebase.monitor.counted import counted
from pulsebase.monitor.recording.spool_file import KeptCheck
from pulsebase.monitor.recording.spool_folder import SpoolFolder, folder_for
from pulsebase.monitor.recording.spool_store import LARGEST_MEMORY_BYTES, SpoolStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pulsebase.models.health_check import NewHealthCheck
    from pulsebase.monitor.configuration.values import MonitorKeys
    from pulsebase.monitor.recording.spool_file import SpoolFile
    from pulsebase.monitor.recording.spool_store import Loan
    from pulsebase.settings import Target

__all__ = ["Spool", "open_spool"]

log = logging.getLogger("pulsebase.monitor")

T = TypeVar("T")


def open_spool(keys: MonitorKeys, target: Target) -> Spool:
    """The spool of this process for a database, with what processes that died left there.

    It always opens: while no folder can be written it keeps checks in memory, and says so once.
    """
    limits: dict[str, Any] = {"limit_bytes": keys.spool_limit, "drops": keys.spool_drops}
    try:
        path = folder_for(keys)
    except ConfigurationError as error:
        log.warning("checks that cannot be recorded are kept in memory only: %s", error)
        return Spool(SpoolStore(None, **limits))
    folder = SpoolFolder(path, target, **limits)
    spool = Spool(SpoolStore(folder, adopted=_adopted(folder), **limits), place=str(path))
    if spool.count:
        waiting = counted(spool.count, "check")
        log.info("%s of earlier runs waiting in %s", waiting, spool.place)
    return spool


def _adopted(folder: SpoolFolder) -> list[SpoolFile]:
    try:
        folder.prepare()
        return folder.adopt()
    except OSError as error:
        # Perhaps it will be there when it is needed; then it is asked again, and a warning given.
        log.info("checks that cannot be recorded are kept in memory only: %s", error)
        return []


class Spool:
    """Checks that the database has not acknowledged, oldest first. It owns its files and a thread.

    It takes whatever it is given. One loan at a time.
    """

    def __init__(self, store: SpoolStore | None = None, *, place: str = "memory") -> None:
        self._store = store or SpoolStore(None, limit_bytes=LARGEST_MEMORY_BYTES, drops="oldest")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.place = place

    @property
    def on_disk(self) -> int:
        """How many checks lie in files."""
        return sum(file.count for file in self._store.files)

    @property
    def in_memory(self) -> int:
        """How many checks would be lost with this process, since no file takes them."""
        return self._store.memory.count

    @property
    def count(self) -> int:
        """How many checks are kept."""
        return self.on_disk + self.in_memory

    @property
    def dropped(self) -> int:
        """How many checks went, since the spool was full or a file damaged."""
        return self._store.dropped

    async def keep(self, checks: Sequence[NewHealthCheck], *, flying: int = 0) -> Loan | None:
        """Keep checks, after those that are kept already.

        The first `flying` of them are on their way into the database: what comes back is their
        loan, as if they had been borrowed.
        """

        def work() -> Loan | None:
            rows = [KeptCheck(check.json(), check.status == "healthy") for check in checks]
            return self._store.keep(rows, flying)

        return await self._in_thread(work)

    async def borrow(self, most_rows: int) -> Loan | None:
        """The oldest checks, to be brought into the database; None where there are none."""
        return await self._in_thread(lambda: self._store.lend(most_rows))

    async def settle(self, loan: Loan, rows: int) -> None:
        """The first rows of a loan, so many, are done with."""
        await self._in_thread(lambda: self._store.settle(loan, rows))

    async def take_back(self, loan: Loan) -> None:
        """What is left of a loan did not get through; it stays where it is."""
        await self._in_thread(lambda: self._store.take_back(loan))

    async def close(self) -> int:
        """Let go of the files; how many checks are lost, since no file takes them."""
        lost = await self._in_thread(self._store.close)
        self._thread.shutdown(wait=False)
        return lost

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
