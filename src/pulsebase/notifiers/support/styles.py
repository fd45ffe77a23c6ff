"""Plain text, Markdown and HTML: how each marks up, and how it keeps texts from marking up."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Format", "Style", "style_of"]

Format = Literal["text", "markdown", "html"]

# Underscores within words mean nothing, and names are full of them: where a service shows escapes
# as they are, they stay readable. The same goes for what only looks like an entity.
_MARKS: Final = re.compile(
    r"[\\`*\[\]<>|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])|&(?=#?[0-9A-Za-z]+;)"
)
# What begins a heading, a list or an underline where it begins a line.
_LEADING_MARK: Final = re.compile(r"^(?=[-+=#])|^\d+(?=[.)])")


class Style(Protocol):
    """What a text is made of; everything but `escape` takes what has been escaped."""

    def escape(self, text: str) -> str:
        """The text, so that nothing in it means anything."""
        ...

    def strong(self, text: str) -> str:
        """A part that stands out."""
        ...

    def link(self, url: str) -> str:
        """A link that shows where it leads."""
        ...

    def items(self, lines: Iterable[str]) -> str:
        """A list, one line each."""
        ...

    def paragraphs(self, parts: Iterable[str]) -> str:
        """One after the other."""
        ...


class _Text:
    def escape(self, text: str) -> str:
        return text

    def strong(self, text: str) -> str:
        return text

    def link(self, url: str) -> str:
        return url

    def items(self, lines: Iterable[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    def paragraphs(self, parts: Iterable[str]) -> str:
        return "\n".join(filter(None, parts))


class _Markdown:
    def escape(self, text: str) -> str:
        return _LEADING_MARK.sub(lambda found: f"{found[0]}\\", _MARKS.sub(r"\\\g<0>", text))

    def strong(self, text: str) -> str:
        return f"**{text}**" if text else ""

    def link(self, url: str) -> str:
        # Quoted, a URL has neither spaces nor brackets; as an autolink it needs no escapes.
        return f"<{url}>"

    def items(self, lines: Iterable[str]) -> str:
        return "\n".join(f"- {line}" for line in lines)

    def paragraphs(self, parts: Iterable[str]) -> str:
        return "\n\n".join(filter(None, parts))


class _Html:
    def escape(self, text: str) -> str:
        return escape(text)

    def strong(self, text: str) -> str:
        return f"<b>{text}</b>" if text else ""

    def link(self, url: str) -> str:
        shown = escape(url)
        return f'<a href="{shown}">{shown}</a>'

    def items(self, lines: Iterable[str]) -> str:
        inner = "\n".join(f"<li>{line}</li>" for line in lines)
        return f"<ul>\n{inner}\n</ul>" if inner else ""

    def paragraphs(self, parts: Iterable[str]) -> str:
        return "\n".join(
            part if part.startswith("<ul>") else f"<p>{part}</p>" for part in parts if part
        )


_STYLES: Final[Mapping[Format, Style]] = {"text": _Text(), "markdown": _Markdown(), "html": _Html()}


def style_of(form: Format) -> Style:
    """The style of a format."""
    return _STYLES[form]
