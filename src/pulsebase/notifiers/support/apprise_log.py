"""What Apprise says while it sends: its only way to tell why something did not arrive."""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["overheard"]

_APPRISE: Final = "apprise"
# By which Apprise sends nearly everything; where an application logs all of it, URLs with it.
_HTTP_CLIENT: Final = "urllib3.connectionpool"
_MOST_LINES: Final = 5
# Of what is for debugging, the causes; the rest is payload and settings.
_CAUSE: Final = re.compile(r"\b(?:Exception|Response Details)\b")


@contextmanager
def overheard() -> Iterator[list[str]]:
    """The lines that Apprise logs in the block, which nobody else gets; they may hold secrets."""
    lines: list[str] = []
    token = _ear().lines.set(lines)
    try:
        yield lines
    finally:
        _ear().lines.reset(token)


class _Ear(logging.Filter):
    """Takes what is logged where somebody listens; elsewhere all is as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: ContextVar[list[str] | None] = ContextVar("apprise_lines", default=None)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record goes on to the application's log."""
        if (lines := self.lines.get()) is None:
            level = logging.getLogger().getEffectiveLevel()
            return record.name != _APPRISE or record.levelno >= level
        if record.name != _APPRISE:
            return False
        text = record.getMessage()
        is_worth_it = record.levelno >= logging.WARNING or _CAUSE.search(text)
        if is_worth_it and text not in lines and len(lines) < _MOST_LINES:
            lines.append(text)
        return False


@cache
def _ear() -> _Ear:
    # Once for the process: the level of a logger is everybody's, and cannot be one sender's.
    ear = _Ear()
    logging.getLogger(_APPRISE).setLevel(logging.DEBUG)
    for name in (_APPRISE, _HTTP_CLIENT):
        logging.getLogger(name).addFilter(ear)
    return ear
