"""The keys of every channel that decide what its messages say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pulsebase.notifiers.support.links import link_problem
from pulsebase.notifiers.support.templates import template_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.errors import InvalidValueError

__all__ = ["MessageTexts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTexts:
    """`title` and `body` are templates, `link` is where a notice leads to."""

    title: str | None = None
    body: str | None = None
    link: str | None = field(default=None, repr=False)

    def text_problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with these keys."""
        yield from template_problem(self.title, "title")
        yield from template_problem(self.body, "body")
        yield from link_problem(self.link)
