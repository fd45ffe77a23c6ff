"""Where in a file an error is: file, line, column, and the line itself with a mark under it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pulsebase.migrations.envelope import RAISED_STATEMENT

if TYPE_CHECKING:
    import psycopg

    from pulsebase.errors import DatabaseError
    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.migrations.envelope import Envelope
    from pulsebase.migrations.script import Statement

_BLOCK_LINE = re.compile(r"inline_code_block\D+(\d+)")
_TOKEN = re.compile(r'(?:at or near |column |relation |function |type |table )"?([^"\s(]+)')
_NUMBERED = re.compile(rf"^{re.escape(RAISED_STATEMENT)}(\d+): (.*)$", re.DOTALL)
_SHOWN_BEFORE = 60
_SHOWN_WIDTH = 100


def located(
    file: MigrationFile, offset: int, message: str, *, detail: str = "", exact: bool = True
) -> str:
    """The message with its place in the file; `offset` counts characters of the text from 0."""
    message = " ".join(message.split())
    line = file.text.count("\n", 0, offset) + 1
    start = file.text.rfind("\n", 0, offset) + 1
    end = file.text.find("\n", offset)
    column = offset - start + 1
    shown, mark = _window(file.text[start : end if end >= 0 else len(file.text)], column - 1)
    gutter = f"{line:>5} | "
    mark_line = f"\n{' ' * (len(gutter) - 2)}| {mark}^" if exact else ""
    return f"{file.source}:{line}:{column}: {message}\n{gutter}{shown}{mark_line}{detail}"


def _window(line: str, column: int) -> tuple[str, str]:
    """A long line is cut around its mark; the mark's indent keeps the tabs of the line."""
    first = max(0, column - _SHOWN_BEFORE) if len(line) > _SHOWN_WIDTH else 0
    shown = line[first : first + _SHOWN_WIDTH]
    indent = "".join("\t" if character == "\t" else " " for character in shown[: column - first])
    before, after = "…" if first else "", "…" if first + _SHOWN_WIDTH < len(line) else ""
    return f"{before}{shown}{after}", f"{' ' if first else ''}{indent}"


def direct_fault(file: MigrationFile, envelope: Envelope, error: psycopg.Error, sent: str) -> str:
    """What a direct connection tells of an error inside an envelope."""
    diagnostic = error.diag
    message = f"{diagnostic.message_primary or error} [{error.sqlstate}]"
    statement = _statement_of(envelope, diagnostic.context or "")
    inner = _inner(diagnostic.context, statement)
    detail = details(diagnostic.message_detail, diagnostic.message_hint, inner)
    if statement is None:
        return f"{file.source}: {message}{detail}"
    inside = _offset_inside(statement, diagnostic, sent)
    return located(
        file, statement.start + (inside or 0), message, detail=detail, exact=inside is not None
    )


def statement_fault(file: MigrationFile, statement: Statement, error: psycopg.Error) -> str:
    """What a direct connection tells of a statement that was sent as it is."""
    diagnostic = error.diag
    message = f"{diagnostic.message_primary or error} [{error.sqlstate}]"
    detail = details(diagnostic.message_detail, diagnostic.message_hint, diagnostic.context)
    position = diagnostic.statement_position
    inside = int(position) - 1 if position else 0
    return located(
        file, statement.start + inside, message, detail=detail, exact=position is not None
    )


def https_fault(file: MigrationFile, error: DatabaseError) -> str:
    """What comes over HTTPS: the statement's number and the server's words, no position."""
    code = f" [{error.code}]" if error.code else ""
    message = server_words(error)
    detail = details(error.details, error.hint)
    match = _NUMBERED.match(message)
    if match is None or not 0 < int(match[1]) <= len(file.statements):
        return f"{file.source}: {' '.join(message.split())}{code}{detail}"
    statement = file.statements[int(match[1]) - 1]
    return located(file, statement.start, f"{match[2]}{code}", detail=detail, exact=False)


def server_words(error: DatabaseError) -> str:
    """PostgreSQL's own message; `@supabase/lite` puts the name of its driver's class before it."""
    return error.message.removeprefix("PostgresError: ")


def details(detail: str | None, hint: str | None, context: str | None = None) -> str:
    """The lines below the message, for what the server had to add."""
    parts = (("detail", detail), ("hint", hint), ("where", context))
    return "".join(f"\n      {name}: {' '.join(text.split())}" for name, text in parts if text)


def _statement_of(envelope: Envelope, context: str) -> Statement | None:
    """The outermost frame of the context is our block; its line number tells the statement."""
    lines = [int(line) for line in _BLOCK_LINE.findall(context)]
    return envelope.statements.get(lines[-1]) if lines else None


def _inner(context: str | None, statement: Statement | None) -> str:
    """The frames of functions between the error and the statement; our own block is left out."""
    if not context or statement is None:
        return ""
    frames, own, _ = context.rpartition(f'SQL statement "{statement.text[:200]}')
    return frames.strip() if own else ""


def _offset_inside(
    statement: Statement, diagnostic: psycopg.errors.Diagnostic, sent: str
) -> int | None:
    """The offset of the error in the statement, if the server told a position in it."""
    if not (diagnostic.internal_position and diagnostic.internal_query):
        return None
    position, query = int(diagnostic.internal_position) - 1, diagnostic.internal_query
    if query.startswith(statement.text):
        return _told_apart(statement, position, diagnostic.message_primary or "", sent)
    start = statement.text.find(query)  # the body of a function that occurs twice in the file
    return start + position if start >= 0 else None


def _told_apart(statement: Statement, position: int, message: str, sent: str) -> int | None:
    """PostgreSQL counts inside the statement, but from what we sent for the body of a function.

    Then it has looked the body up in the whole text that arrived, and says nothing of it.
    """
    inside, outside = position, position - sent.index(statement.text)
    if outside < 0:
        return inside
    if inside >= len(statement.text):
        return outside if outside <= len(statement.text) else None
    token = _TOKEN.search(message)
    if token and statement.text.startswith(token[1], outside):
        return inside if statement.text.startswith(token[1], inside) else outside
    return inside
