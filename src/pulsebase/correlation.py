"""The correlation id: what belongs together in the logs carries the same one.

A command has one, and each turn of a service and each batch of the recorder has its own. It lives
in the context, so that a task keeps its own; the command line puts it on every log line.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from secrets import token_hex
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "bind_correlation_id",
    "bind_correlation_id_when_needed",
    "correlated",
    "current_correlation_id",
]

_BYTES: Final = 4


class _NotMadeYet:
    """An id that is made when somebody asks: of a thousand turns, few say anything."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = ""


_correlation_id: ContextVar[str | _NotMadeYet] = ContextVar("correlation_id", default="")


def bind_correlation_id(correlation_id: str | None = None) -> str:
    """Give this context an id (a new one if none is given) until another is bound."""
    bound = correlation_id or token_hex(_BYTES)
    _correlation_id.set(bound)
    return bound


def bind_correlation_id_when_needed() -> None:
    """Give this context a new id, which costs nothing until it is asked for."""
    _correlation_id.set(_NotMadeYet())


def current_correlation_id() -> str:
    """The id of this context; empty where none is bound."""
    bound = _correlation_id.get()
    if isinstance(bound, str):
        return bound
    bound.made = bound.made or token_hex(_BYTES)
    return bound.made


@contextmanager
def correlated() -> Iterator[str]:
    """Give the block a new id of its own."""
    token = _correlation_id.set(token_hex(_BYTES))
    try:
        yield current_correlation_id()
    finally:
        _correlation_id.reset(token)
