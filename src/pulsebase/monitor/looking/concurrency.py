"""How many services are probed at once, in all and on one host.

What waits costs an entry in a queue, not a task. A turn whose host is busy waits in the host's own
queue, so that a server that hangs keeps neither a place nor anybody else from going first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Admission"]

T = TypeVar("T")


class Admission(Generic[T]):
    """Begins what enters as soon as there is a place for it, in all and on its host.

    `begin` says whether it did begin; what did must `leave`. In each queue the first comes first.
    """

    def __init__(
        self, begin: Callable[[T, str | None], bool], *, limit: int, host_limit: int
    ) -> None:
        self._begin = begin
        self._limit = limit
        self._host_limit = host_limit
        self._running_by_host: dict[str, int] = {}
        # Those whose host had a place when they came here, and those who wait for their host.
        self._ready: deque[tuple[T, str | None]] = deque()
        self._held: dict[str, deque[T]] = {}
        self._is_filling = False
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many have not begun."""
        return len(self._ready) + sum(map(len, self._held.values()))

    def next_ready(self) -> T | None:
        """Who waits for a place in all, and not for its host, and is the first to get one."""
        return self._ready[0][0] if self._ready else None

    def set_limits(self, *, limit: int, host_limit: int) -> None:
        """Other limits from now on; what runs goes on."""
        self._limit, self._host_limit = limit, host_limit
        for host, queue in list(self._held.items()):
            places = host_limit - self._running_by_host.get(host, 0)
            for _ in range(min(places, len(queue))):
                self._next_of(host)
        self._fill()

    def enter(self, item: T, host: str | None) -> None:
        """Begin now or as soon as there is a place."""
        if host is not None and self._running_by_host.get(host, 0) >= self._host_limit:
            self._held.setdefault(host, deque()).append(item)
            return
        self._ready.append((item, host))
        self._fill()

    def leave(self, host: str | None) -> None:
        """What had begun on this host has ended."""
        self.running -= 1
        if host is not None:
            left = self._running_by_host[host] - 1
            if left:
                self._running_by_host[host] = left
            else:
                del self._running_by_host[host]
            self._next_of(host)
        self._fill()

    def _fill(self) -> None:
        if self._is_filling:  # `begin` may come back here; the loop below sees what it did
            return
        self._is_filling = True
        try:
            while self._ready and self.running < self._limit:
                self._try(*self._ready.popleft())
        finally:
            self._is_filling = False

    def _try(self, item: T, host: str | None) -> None:
        if host is None:
            self.running += self._begin(item, host)
            return
        running = self._running_by_host.get(host, 0)
        if running >= self._host_limit:
            # Somebody of the same host was faster; this one stays the first of its queue.
            self._held.setdefault(host, deque()).appendleft(item)
        elif self._begin(item, host):
            self.running += 1
            self._running_by_host[host] = running + 1
        else:
            self._next_of(host)

    def _next_of(self, host: str) -> None:
        """Let the first who waits for this host stand in the common queue."""
        if queue := self._held.get(host):
            self._ready.append((queue.popleft(), host))
            if not queue:
                del self._held[host]
