"""The process that performs transfers for a busy monitor: requests come in, answers go out.

It is started by `curl_helper` with one end of a socket pair, and ends when the other end is closed,
so also when its parent is killed. Both sides speak in frames: a length, and a list in `marshal`'s
form, which only ever travels between the two of them.
"""

from __future__ import annotations

import marshal
import select
import signal
import socket
import sys
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from pulsebase.probes.support.curl.request import Request, Shape
from pulsebase.probes.support.curl.transfers import Transfers
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pycurl

    from pulsebase.probes.support.curl.request import Response

__all__ = ["Frames", "frame"]

_LENGTH: Final = Struct("!I")
_READ_BYTES: Final = 1 << 18
_LONGEST_WAIT_SECONDS: Final = 10.0


def frame(messages: list[Any]) -> bytes:
    """The bytes of a list of messages."""
    packed = marshal.dumps(messages)
    return _LENGTH.pack(len(packed)) + packed


class Frames:
    """Cuts what arrives into lists of messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def add(self, received: bytes) -> Iterator[list[Any]]:
        """The lists that are complete now."""
        buffer = self._buffer
        buffer += received
        while len(buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(buffer)[0]
            if len(buffer) < end:
                return
            yield marshal.loads(buffer[_LENGTH.size : end])  # noqa: S302 -- from our own process
            del buffer[:end]


class _Child:
    """Serves one parent until it is gone."""

    def __init__(self, parent: socket.socket) -> None:
        self._parent = parent
        self._frames = Frames()
        self._transfers: Transfers[int] = Transfers()
        self._under_way: dict[int, pycurl.Curl] = {}
        self._shapes: dict[int, Shape] = {}

    def serve(self) -> None:
        waiting = select.poll()
        waiting.register(self._parent, select.POLLIN)
        waiting.register(self._transfers.fileno(), select.POLLIN)
        self._parent.sendall(frame([]))  # "ready"
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll(self._wait_ms())}
            if self._parent.fileno() in ready:
                if not (received := self._parent.recv(_READ_BYTES)):
                    return
                for messages in self._frames.add(received):
                    for message in messages:
                        self._take(*message)
            if answers := [self._answer(*ended) for ended in self._transfers.advance()]:
                self._parent.sendall(frame(answers))

    def _wait_ms(self) -> float:
        wait = self._transfers.wait_seconds()
        return min(_LONGEST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS if wait is None else wait) * 1000

    def _take(self, number: int, shape: Any, url: str, timeout_seconds: float) -> None:
        """A request, or without a URL the end of one that nobody waits for any longer."""
        if not url:
            if transfer := self._under_way.pop(number, None):
                self._transfers.cancel(transfer)
            return
        if isinstance(shape, tuple):  # told once, and named by its number from then on
            name, *parts = shape
            self._shapes[name] = Shape(*parts)
        else:
            name = shape
        request = Request(url, self._shapes[name])
        self._under_way[number] = self._transfers.start(request, timeout_seconds, number)

    def _answer(self, number: int, answer: Response | UnknownHealthError) -> tuple[Any, ...]:
        self._under_way.pop(number, None)
        if isinstance(answer, UnknownHealthError):
            return number, str(answer)
        failure = answer.failure and tuple(answer.failure)
        return number, (*answer[:-1], failure)


def main() -> None:
    """Serve the parent whose socket is the first argument."""
    # A service manager signals all processes of a service; the parent still has answers to record.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        try:
            _Child(parent).serve()
        except (BrokenPipeError, ConnectionResetError):
            return


if __name__ == "__main__":
    main()
