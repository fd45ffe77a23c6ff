"""SQL text cut into its statements, by PostgreSQL's lexical rules.

The migrator sends statements one by one inside one transaction, so that an error names the one
that failed. Only what decides where a statement ends is read: quotes, dollar quotes, comments,
parentheses, and the bodies of functions written with BEGIN ATOMIC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Statement", "split"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s++)
    | (?P<line_comment>--[^\n]*+)
    | (?P<block_comment>/\*)
    | (?P<escape_string>[eE]'(?:[^'\\]++|\\.|'')*+(?:'|\Z))
    | (?P<string>'[^']*+(?:'|\Z))
    | (?P<quoted>"[^"]*+(?:"|\Z))
    | (?P<dollar>\$(?:[^\W\d]\w*+)?\$)
    | (?P<word>[^\W\d][\w$]*+)
    | (?P<number>\d[\w.]*+)
    | (?P<open>[(\[])
    | (?P<close>[)\]])
    | (?P<end>;)
    | (?P<meta>^\\[^\n]*+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_KEPT_WORDS = 16


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: `text` is the script from `start` on, `line` counts from 1.

    `words` are its first bare words in lower case; strings, names in quotes and comments are none.
    """

    text: str
    start: int
    line: int
    words: tuple[str, ...]


@dataclass(slots=True)
class _Open:
    """The statement that is being read."""

    start: int = -1
    words: list[str] = field(default_factory=list)
    depth: int = 0
    atomic_depth: int = 0


def split(script: str) -> Iterator[Statement]:
    """The statements of a script in order; empty ones and comments alone are left out."""
    current = _Open()
    position, line_position, line = 0, 0, 1
    while position < len(script):
        kind, stop = _next_token(script, position)
        if kind == "end" and current.depth <= 0 and not current.atomic_depth:
            if current.start >= 0:
                line += script.count("\n", line_position, current.start)
                line_position = current.start
                yield _statement(script, current, stop - 1, line)
            current = _Open()
        elif kind == "meta" and current.start < 0:
            line += script.count("\n", line_position, position)
            line_position = position
            yield Statement(script[position:stop].rstrip(), position, line, ("\\",))
        elif kind not in {"space", "line_comment", "block_comment", "end"}:
            _read(current, kind, script[position:stop] if kind == "word" else "", position)
        position = stop
    if current.start >= 0:
        line += script.count("\n", line_position, current.start)
        yield _statement(script, current, len(script), line)


def _statement(script: str, current: _Open, stop: int, line: int) -> Statement:
    return Statement(
        text=script[current.start : stop].rstrip(),
        start=current.start,
        line=line,
        words=tuple(current.words[:_KEPT_WORDS]),
    )


def _next_token(script: str, position: int) -> tuple[str, int]:
    match = _TOKEN.match(script, position)
    if match is None:  # the pattern takes any character; this only satisfies the type checker
        return "other", position + 1
    kind = match.lastgroup or "other"
    if kind == "block_comment":
        return kind, _end_of_comment(script, match.end())
    if kind == "dollar":
        closing = script.find(match[0], match.end())
        return kind, len(script) if closing < 0 else closing + len(match[0])
    return kind, match.end()


def _end_of_comment(script: str, position: int) -> int:
    """Block comments nest in PostgreSQL."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(script, position):
        depth += 1 if edge[0] == "/*" else -1
        if not depth:
            return edge.end()
    return len(script)


def _read(current: _Open, kind: str, word: str, position: int) -> None:
    if current.start < 0:
        current.start = position
    match kind:
        case "open":
            current.depth += 1
        case "close":
            current.depth -= 1
        case "word":
            _read_word(current, word.lower())
        case _:
            pass


def _read_word(current: _Open, word: str) -> None:
    previous = current.words[-1] if current.words else ""
    if current.atomic_depth:
        current.atomic_depth += {"case": 1, "end": -1}.get(word, 0)
    elif (previous, word) == ("begin", "atomic") and current.words[0] == "create":
        current.atomic_depth = 1
    if len(current.words) < _KEPT_WORDS:
        current.words.append(word)
    else:
        # The last place always holds the word before; the first ones tell the kind of statement.
        current.words[-1] = word
