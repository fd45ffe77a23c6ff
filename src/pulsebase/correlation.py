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

__all__ = ["bind_correlation_id", "correlated", "current_correlation_id"]

_BYTES: Final = 4
_correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")


def bind_correlation_id(correlation_id: str | None = None) -> str:
    """Give this context an id (a new one if none is given) until another is bound."""
    bound = correlation_id or token_hex(_BYTES)
    _correlation_id.set(bound)
    return bound


def current_correlation_id() -> str:
    """The id of this context; empty where none is bound."""
    return _correlation_id.get()


@contextmanager
def correlated() -> Iterator[str]:
    """Give the block a new id of its own."""
    token = _correlation_id.set(token_hex(_BYTES))
    try:
        yield _correlation_id.get()
    finally:
        _correlation_id.reset(token)
