"""Transfers on libcurl, many at once, for one caller that waits on one file descriptor.

`Transfers` knows neither asyncio nor threads. libcurl says which sockets it waits for; they are
watched by an epoll of its own (elsewhere than on Linux by what there is), whose descriptor tells
the caller when to `advance`. A transfer that hangs costs nothing while it hangs.

Each transfer makes a new connection and a full TLS handshake: a kept connection or a resumed
session would go on working after the service stopped accepting new ones, or its certificate ended.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import pycurl

from pulsebase.probes.support.curl.handle import CurlHandle, common_options
from pulsebase.probes.support.curl.watched import READABLE, WRITABLE, watched_sockets
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.curl.request import Request, Response, Shape

__all__ = ["Transfers"]

TokenT = TypeVar("TokenT")

_MOST_IDLE_HANDLES: Final = 512
# One call deals with so many sockets at most, which is some milliseconds of work.
_MOST_EVENTS: Final = 64
_WAITED_FOR: Final = {
    pycurl.POLL_NONE: 0,
    pycurl.POLL_IN: READABLE,
    pycurl.POLL_OUT: WRITABLE,
    pycurl.POLL_INOUT: READABLE | WRITABLE,
}


class Transfers(Generic[TokenT]):
    """Performs requests that `start` is given; `advance` hands out the answers by their tokens."""

    def __init__(self) -> None:
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._watched = watched_sockets()
        self._known: set[int] = set()
        self._common = common_options()
        self._under_way: dict[pycurl.Curl, tuple[TokenT, CurlHandle]] = {}
        self._idle: dict[Shape, list[CurlHandle]] = {}
        self._idle_count = 0
        self.closed = False

    def fileno(self) -> int:
        """The descriptor that is readable when `advance` has something to do."""
        return self._watched.fileno()

    def start(self, request: Request, timeout_seconds: float, token: TokenT) -> pycurl.Curl:
        """Begin a transfer at the next `advance`; what stands for it until it ends."""
        handle = self._take(request.shape)
        handle.begin(request, timeout_seconds)
        self._under_way[handle.curl] = token, handle
        self._multi.add_handle(handle.curl)
        return handle.curl

    def cancel(self, transfer: pycurl.Curl) -> None:
        """Give up a transfer that has not ended; its token never comes back."""
        del self._under_way[transfer]
        self._multi.remove_handle(transfer)

    def wait_seconds(self) -> float | None:
        """How long the caller may wait at most before it calls `advance`; None for any time."""
        # Asked for once in a while; as a callback it would come three times for each transfer.
        wait_ms = self._multi.timeout()
        return None if wait_ms < 0 else wait_ms / 1000

    def advance(self) -> list[tuple[TokenT, Response | UnknownHealthError]]:
        """Do what can be done without waiting; the transfers that have ended."""
        for descriptor, events in self._watched.poll(0, _MOST_EVENTS):
            self._serve(descriptor, events)
        if self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return list(self._ended())

    def close(self) -> None:
        """Give everything up; libcurl waits for its resolver's threads here, seconds at worst."""
        self.closed = True
        for curl in self._under_way:
            self._multi.remove_handle(curl)
        self._under_way.clear()
        self._idle.clear()
        self._multi.close()
        self._watched.close()

    def _serve(self, descriptor: int, events: int) -> None:
        if descriptor not in self._known:
            with suppress(OSError):
                self._watched.unregister(descriptor)
            return
        ready = pycurl.CSELECT_OUT if events & WRITABLE else 0
        if events & ~WRITABLE:  # errors and the other side's end are to be read, too
            ready |= pycurl.CSELECT_IN
        self._multi.socket_action(descriptor, ready)

    def _ended(self) -> Iterator[tuple[TokenT, Response | UnknownHealthError]]:
        waiting = 1
        while waiting:
            waiting, good, bad = self._multi.info_read()
            for curl in good:
                yield self._end(curl, 0, "")
            for curl, code, message in bad:
                yield self._end(curl, code, message)

    def _end(
        self, curl: pycurl.Curl, code: int, message: str
    ) -> tuple[TokenT, Response | UnknownHealthError]:
        token, handle = self._under_way.pop(curl)
        answer: Response | UnknownHealthError
        try:
            answer = handle.answer(code, message)
        except UnknownHealthError as error:
            answer = error
        self._multi.remove_handle(curl)
        self._keep(handle)
        return token, answer

    def _take(self, shape: Shape) -> CurlHandle:
        """A handle that has the options, at best one that had them already."""
        if same := self._idle.get(shape):
            self._idle_count -= 1
            return same.pop()
        return CurlHandle(shape, self._common)

    def _keep(self, handle: CurlHandle) -> None:
        while self._idle_count >= _MOST_IDLE_HANDLES:
            # Those of the shape that came first give way.
            self._idle_count -= len(self._idle.pop(next(iter(self._idle))))
        self._idle.setdefault(handle.shape, []).append(handle)
        self._idle_count += 1

    def _watch(self, what: int, descriptor: int, *_: object) -> None:
        """Watch a socket for libcurl, or not any longer."""
        if what == pycurl.POLL_REMOVE:
            # It is about to be closed, which ends the watch as well, and saves a call. Where it
            # is not, the watch ends when it next has something to say.
            self._known.discard(descriptor)
        elif descriptor in self._known:
            self._watched.modify(descriptor, _WAITED_FOR[what])
        else:
            self._known.add(descriptor)
            try:
                self._watched.register(descriptor, _WAITED_FOR[what])
            except FileExistsError:
                self._watched.modify(descriptor, _WAITED_FOR[what])
