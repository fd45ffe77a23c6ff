"""A service that many probes look at, and that remembers every look.

It runs on a thread of its own, since the tests that use it wait for processes.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from collections import defaultdict
from threading import Thread
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["ProbeTarget", "unrecorded"]

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ProbeTarget:
    """Answers every GET at once; `seen` holds the times of the looks at each path, by our clock."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, list[float]] = defaultdict(list)
        self.looks = 0
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="probe target")

    def __enter__(self) -> Self:
        self._thread.start()
        serving = self._loop.create_server(lambda: _Visit(self), "127.0.0.1", 0, backlog=1024)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def write_configuration(
        self, path: Path, *, services: int, interval_seconds: int, more: str = ""
    ) -> None:
        """A configuration that looks at so many services here.

        An interval is best long: a busy machine must not make a service look slow.
        """
        each = "".join(
            f'[[services]]\nname = "service-{n}"\nurl = "http://127.0.0.1:{self.port}/service-{n}"\n'
            for n in range(services)
        )
        times = f'interval = "{interval_seconds}s"\ntimeout = "{interval_seconds}s"'
        path.write_text(f"[defaults]\n{times}\n\n{more}\n{each}")

    def saw(self, path: str) -> None:
        """Remember a look."""
        self.seen[path].append(time.time())
        self.looks += 1


class _Visit(asyncio.Protocol):
    """One connection; requests come one after another and have no body."""

    def __init__(self, target: ProbeTarget) -> None:
        self._target = target
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            head, _, self._unread = self._unread.partition(b"\r\n\r\n")
            self._target.saw(head.split(b" ", 2)[1].decode().removeprefix("/"))
            self._transport.write(_ANSWER)


def unrecorded(
    seen: Mapping[str, Sequence[float]], rows: Mapping[str, Sequence[float]]
) -> list[tuple[float, str]]:
    """The looks of which there is no row, as (time, service), given when each row was checked.

    A row is dated when its probe began, and the probes of one service do not overlap: so a look
    belongs to the last row that began before it, unless an earlier look has that row already.
    """
    missing: list[tuple[float, str]] = []
    for service, times in seen.items():
        began = sorted(rows.get(service, ()))
        taken = -1
        for looked_at in sorted(times):
            row = bisect_right(began, looked_at) - 1
            if row > taken:
                taken = row
            else:
                missing.append((looked_at, service))
    return sorted(missing)
