"""Health functions of a shop, which the kind `python` calls: good ones, and every other sort."""

from __future__ import annotations

import asyncio
import errno
import time
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, NoReturn

from pulsebase.probes import Outcome, UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Callable

# What waits waits for this; a test puts its own one here and sets it at its end.
release = Event()
not_a_function = 7


def gives(what: Any = None) -> Any:
    return what


async def gives_later(what: Any = None) -> Any:
    await asyncio.sleep(0)
    return what


class Awaited:
    async def __call__(self) -> str:
        return "degraded"


awaited = Awaited()


class Cupboard:
    @staticmethod
    def full() -> bool:
        return True


def maps() -> dict[str, Any]:
    return {"status": "degraded", "latency_ms": 7, "details": {"queue": 12, "loop": [1]}}


def answers() -> Outcome:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Outcome(status="degraded", latency_ms=3, checked_at=at, details={"seen": 1})


def sleeps() -> None:
    time.sleep(0.1)


def raises(token: str = "") -> NoReturn:
    message = f"no such key: {token}{'x' * 5000}"
    raise ValueError(message)


def leaves() -> NoReturn:
    raise SystemExit(3)


async def leaves_later() -> NoReturn:
    raise SystemExit(3)


def stops() -> NoReturn:
    raise StopIteration


async def cancels() -> NoReturn:
    raise asyncio.CancelledError


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError


def mumbles() -> NoReturn:
    raise MuteError


def runs_out() -> NoReturn:
    raise OSError(errno.EMFILE, "too many open files")


def cannot_look() -> NoReturn:
    message = "no way to the queue from here; open the tunnel"
    raise UnknownHealthError(message)


def waits() -> None:
    release.wait(60)


async def waits_later() -> None:
    await asyncio.Event().wait()


async def ignores() -> None:
    """Go on although it is cancelled."""
    while not release.is_set():
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.02)


def _deep() -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"x": deep}
    return {"status": "down", "details": deep}


# By name for the tests; called by number, for a text among the arguments would be hidden.
ODD: dict[str, Callable[[], Any]] = {
    "number": lambda: 7,
    "text": lambda: "fine",
    "empty": lambda: "",
    "bytes": lambda: b"x",
    "generator": lambda: (number for number in range(3)),
    "no status": lambda: {"latency_ms": 3},
    "status": lambda: {"status": "up"},
    "list": lambda: {"status": ["down"]},
    "key": lambda: {"status": "down", "detials": {}},
    "details": lambda: {"status": "down", "details": "x"},
    "object": lambda: {"status": "down", "details": {"x": object()}},
    "deep": _deep,
    "huge": lambda: {"status": "down", "details": {"x": 10**5000}},
    "latency": lambda: {"status": "down", "latency_ms": -1},
    "flag": lambda: {"status": "down", "latency_ms": True},
    "far": lambda: {"status": "down", "latency_ms": 2**40},
}


def odd(number: int) -> Any:
    """One of the answers that are none."""
    return list(ODD.values())[number]()
