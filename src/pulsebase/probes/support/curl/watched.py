"""Sockets that are watched together by one descriptor: an epoll, or what stands in for it."""

from __future__ import annotations

import select
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import Final, Protocol

__all__ = ["READABLE", "WRITABLE", "SelectorWatch", "Watch", "watched_sockets"]

# The numbers that poll and epoll share.
READABLE: Final = 0x1
WRITABLE: Final = 0x4


class Watch(Protocol):
    """What `select.epoll` can do."""

    def fileno(self) -> int:
        """The descriptor that is readable when one of the sockets is ready."""
        ...

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch a socket; raises FileExistsError for one that is watched."""
        ...

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Watch it for something else."""
        ...

    def unregister(self, fd: int, /) -> None:
        """Do not watch it any longer; raises OSError for one that was not watched."""
        ...

    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]:
        """The sockets that are ready, each with what for."""
        ...

    def close(self) -> None:
        """Watch nothing."""
        ...


def watched_sockets() -> Watch:
    """An epoll where there are epolls."""
    return select.epoll() if hasattr(select, "epoll") else SelectorWatch()


class SelectorWatch:
    """The same on any selector that has a descriptor, such as kqueue's."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()

    def fileno(self) -> int:
        """The selector's descriptor."""
        return self._selector.fileno()

    def register(self, fd: int, eventmask: int, /) -> None:
        """Watch a socket."""
        try:
            self._selector.register(fd, _events(eventmask))
        except KeyError:
            raise FileExistsError(fd) from None

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Watch it for something else."""
        self._selector.modify(fd, _events(eventmask))

    def unregister(self, fd: int, /) -> None:
        """Do not watch it any longer."""
        try:
            self._selector.unregister(fd)
        except KeyError:
            raise FileNotFoundError(fd) from None

    def poll(self, timeout: float | None, maxevents: int, /) -> list[tuple[int, int]]:
        """The sockets that are ready."""
        ready = self._selector.select(timeout)
        return [(key.fd, _mask(events)) for key, events in ready[:maxevents]]

    def close(self) -> None:
        """Watch nothing."""
        self._selector.close()


def _events(mask: int) -> int:
    return (EVENT_READ if mask & READABLE else 0) | (EVENT_WRITE if mask & WRITABLE else 0)


def _mask(events: int) -> int:
    return (READABLE if events & EVENT_READ else 0) | (WRITABLE if events & EVENT_WRITE else 0)
