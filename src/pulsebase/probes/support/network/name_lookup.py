"""Names to addresses by the system's resolver, for thousands of probes at once.

asyncio's own lookups share a handful of threads: a few names whose servers are away would hold up
all others, and services that are well would look down. Here each lookup has a thread of its own, up
to a bound; it is made once for all who wait for the same name, and its answer kept for ten seconds.
"""

from __future__ import annotations

import asyncio
import socket
import time
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Address", "NameLookup", "literal_address"]

# A family of sockets, and what a socket of it connects to.
Address: TypeAlias = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
_Key: TypeAlias = tuple[str, int, int | None]
_Answer: TypeAlias = "asyncio.Future[Sequence[Address]]"

MOST_AT_ONCE: Final = 128

# As for http: a thousand services on one host ask once, and a changed record is soon seen.
_KEPT_SECONDS: Final = 10
_MOST_KEPT: Final = 4096
_FAMILIES: Final = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


class NameLookup:
    """Looks names up until it is closed; lookups still under way are left behind."""

    def __init__(self) -> None:
        self._threads = asyncio.Semaphore(MOST_AT_ONCE)
        self._under_way: dict[_Key, asyncio.Task[Sequence[Address]]] = {}
        self._kept: dict[_Key, tuple[float, Sequence[Address]]] = {}

    @property
    def is_overloaded(self) -> bool:
        """Whether all threads wait for name servers, and lookups for threads."""
        return self._threads.locked()

    async def addresses(
        self, host: str, *, port: int, ip_version: int | None = None
    ) -> Sequence[Address]:
        """The addresses of a host, the preferred first; raises socket.gaierror if it has none."""
        if literal := literal_address(host, port=port):
            return [literal]
        key = (host, port, ip_version)
        expires, found = self._kept.get(key, (0.0, ()))
        if time.monotonic() < expires:
            return found
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._look_up(key))
            task.add_done_callback(partial(self._ended, key))
        # Shielded: who gives up does not take the answer away from the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop waiting; threads that still do are daemons, and hold nobody up."""
        for task in list(self._under_way.values()):
            task.cancel()
        self._kept.clear()

    async def _look_up(self, key: _Key) -> Sequence[Address]:
        async with self._threads:
            found = await _in_a_thread(key)
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[key] = (time.monotonic() + _KEPT_SECONDS, found)
        return found

    def _ended(self, key: _Key, task: asyncio.Task[Sequence[Address]]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # everybody may have given up, and asyncio would complain


def literal_address(host: str, *, port: int) -> Address | None:
    """The address that a host is already written as; None for a name."""
    try:
        return _resolve(host, port, socket.AF_UNSPEC, socket.AI_NUMERICHOST)[0]
    except socket.gaierror:
        return None


async def _in_a_thread(key: _Key) -> Sequence[Address]:
    loop = asyncio.get_running_loop()
    answer: _Answer = loop.create_future()
    # Not the loop's executor: it has few threads, and the process waits for them when it ends.
    thread = Thread(target=_answer, args=(loop, answer, key), daemon=True, name="name lookup")
    try:
        thread.start()
    except RuntimeError as error:
        message = f"this machine is out of threads ({error}); raise its limits or lower concurrency"
        raise UnknownHealthError(message) from error
    return await answer


def _answer(loop: asyncio.AbstractEventLoop, answer: _Answer, key: _Key) -> None:
    host, port, ip_version = key
    try:
        found = _resolve(host, port, _FAMILIES[ip_version], 0)
    except OSError as error:
        _hand_over(loop, partial(_fail, answer, _own_or_theirs(error)))
    else:
        _hand_over(loop, partial(_succeed, answer, found))


def _hand_over(loop: asyncio.AbstractEventLoop, callback: partial[None]) -> None:
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits
        return


def _succeed(answer: _Answer, found: Sequence[Address]) -> None:
    if not answer.done():
        answer.set_result(found)


def _fail(answer: _Answer, error: OSError) -> None:
    if not answer.done():
        answer.set_exception(error)


def _own_or_theirs(error: OSError) -> OSError:
    # A resolver that is out of file descriptors says "name or service not known".
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as own:
        return own
    return error


def _resolve(host: str, port: int, family: int, flags: int) -> Sequence[Address]:
    # As bytes: Python's own IDNA refuses some names with an error that no resolver knows.
    found = socket.getaddrinfo(host.encode(), port, family, socket.SOCK_STREAM, flags=flags)
    return [(family, cast("Address", (family, address))[1]) for family, _, _, _, address in found]
