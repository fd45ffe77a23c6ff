"""Transfers in a process beside the monitor's own, for when one core is not enough for both.

Most of a transfer's time goes to the operating system's network code, and the rest of a monitor to
Python, which has one thread of its own. So a busy monitor hands its transfers to a child, some
hundred at once, and reads the answers as they come.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pulsebase.probes.support.curl.child import Frames, frame
from pulsebase.probes.support.curl.request import Failure, Request, Response
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    import asyncio

    from pulsebase.probes.support.curl.request import Shape

    Answered: TypeAlias = asyncio.Future[Response]

__all__ = ["CurlHelper"]

log = logging.getLogger("pulsebase.probes")

_READ_BYTES: Final = 1 << 18
_MOST_SHAPES: Final = 10_000
_LOST: Final = "the process that performs transfers has ended; it is started again when needed"


class CurlHelper:
    """A child that performs transfers, from its start until it is closed or ends by itself."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = count(1)
        self._under_way: dict[int, Answered] = {}
        self._shapes: dict[Shape, int] = {}
        self._messages: list[tuple[Any, ...]] = []
        self._unsent = b""
        self._frames = Frames()
        self.is_ready = False
        self.has_ended = False
        self._socket, other = socket.socketpair()
        self._socket.settimeout(0)
        with other:
            try:
                self._process = _start_child(other)
            except OSError:
                self._socket.close()
                raise
        loop.add_reader(self._socket, self._receive)

    @property
    def process_id(self) -> int:
        """The child's id."""
        return self._process.pid

    async def fetch(self, request: Request, *, timeout_seconds: float) -> Response:
        """Perform one request; raises UnknownHealthError where this machine is to blame."""
        answered: Answered = self._loop.create_future()
        number = next(self._numbers)
        self._under_way[number] = answered
        self._tell((number, self._named(request.shape), request.url, timeout_seconds))
        try:
            return await answered
        finally:
            if self._under_way.pop(number, None) is not None and not self.has_ended:
                self._tell((number, 0, "", 0.0))

    def close(self) -> None:
        """Cancel what is under way, and end the child."""
        self._end()
        for answered in self._under_way.values():
            answered.cancel()
        self._under_way.clear()

    def _named(self, shape: Shape) -> Any:
        if (name := self._shapes.get(shape)) is not None:
            return name
        if len(self._shapes) >= _MOST_SHAPES:  # after many reloads; they are told anew
            self._shapes.clear()
        name = self._shapes[shape] = len(self._shapes)
        return name, shape.options, shape.keep_body, shape.keep_headers, shape.keep_certificate

    def _tell(self, message: tuple[Any, ...]) -> None:
        if not self._messages:
            self._loop.call_soon(self._flush)
        self._messages.append(message)

    def _flush(self) -> None:
        if self.has_ended:
            return
        if self._messages:
            self._unsent += frame(self._messages)
            self._messages = []
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:
            self._lose()
            return
        if self._unsent:
            self._loop.add_writer(self._socket, self._flush)
        else:
            self._loop.remove_writer(self._socket)

    def _receive(self) -> None:
        try:
            received = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._lose()
            return
        self.is_ready = True
        for messages in self._frames.add(received):
            for number, answer in messages:
                self._hand_over(number, answer)

    def _hand_over(self, number: int, answer: Any) -> None:
        answered = self._under_way.pop(number, None)
        if answered is None or answered.done():
            return
        if isinstance(answer, str):
            answered.set_exception(UnknownHealthError(answer))
        else:
            response = Response._make(answer)
            if response.failure:
                response = response._replace(failure=Failure._make(response.failure))
            answered.set_result(response)

    def _lose(self) -> None:
        """It is gone, whatever the reason: what was under way says nothing of the services."""
        self._end()
        lost, self._under_way = self._under_way, {}
        log.warning("the process that performs transfers has ended; looks lost: %d", len(lost))
        for answered in lost.values():
            if not answered.done():
                answered.set_exception(UnknownHealthError(_LOST))

    def _end(self) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _start_child(end: socket.socket) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pulsebase.probes.support.curl.child", str(end.fileno())]
    # A session of its own: Ctrl-C is for the parent, which still has answers to record.
    return subprocess.Popen(  # noqa: S603 -- our own program
        command,
        pass_fds=[end.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
