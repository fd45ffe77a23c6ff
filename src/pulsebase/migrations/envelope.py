"""The scripts that the migrator sends: each is one DO block, and so one transaction.

A block says what came of it in the setting `pulsebase.answer`, as JSON. Where the only way in is a
function that hands nothing back, it raises the answer instead.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.migrations.script import Statement

# Any number will do, if only every runner of every version takes the same one.
LOCK_KEY = 7_234_018_861_215_507_713
ANSWER = "pulsebase.answer"
RAISED_ANSWER = "pulsebase answer: "
RAISED_CHANGED = "pulsebase: the file was applied with another text"
RAISED_OPEN = "pulsebase: exec_sql is open: "
RAISED_STATEMENT = "pulsebase statement "

Manner = Literal["direct", "setting", "raise"]

_PLACEHOLDER = re.compile(r"--\{(?P<name>[a-z_]+)(?::(?P<argument>.*))?\}", re.MULTILINE)
_BUSY = """jsonb '{"outcome": "busy"}'"""
_ROWS_FIRST = frozenset({"select", "with", "values", "table"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A block ready to be sent.

    `statements` holds each statement at the line of its EXECUTE. What is not `durable` is followed
    by something that is.
    """

    text: str
    statements: Mapping[int, Statement] = field(default_factory=dict)
    durable: bool = True


def quoted(text: str) -> str:
    """The text as a dollar-quoted literal; its tag cannot be guessed and is not in the text."""
    while True:
        tag = f"$p{secrets.token_hex(8)}$"
        # A text that ends with a dollar sign would run into the closing tag.
        if tag not in text:
            return f"{tag}{text}{tag}" if not text.endswith("$") else f"{tag}{text}\n{tag}"


def look(manner: Manner) -> Envelope:
    """Read the state of the database."""
    return Envelope(_block(_filled("look.sql", _parts(manner))))


def prepare(manner: Manner) -> Envelope:
    """Make the table of applied migrations, or complete it."""
    return Envelope(_block(_filled("prepare.sql", _parts(manner))))


def apply(
    file: MigrationFile,
    *,
    manner: Manner,
    record: str,
    lock_timeout_seconds: float,
    execute: bool = True,
    durable: bool = True,
) -> Envelope:
    """Apply one file and record it; only record it when `execute` is false."""
    statements = file.statements if execute else ()
    parts = _parts(manner)
    parts |= {
        "id": lambda _: quoted(file.id),
        "checksum": lambda _: quoted(file.checksum),
        "same_words": lambda _: quoted(f"^[0-9]+_{file.words}$"),
        "lock_timeout": lambda _: f"'{round(lock_timeout_seconds * 1000)}ms'",
        "record": lambda _: record,
        "statements": lambda _: _executions(statements, manner),
    }
    body = _filled("apply.sql", parts)
    return Envelope(_block(body), _by_line(body, statements), durable)


def _parts(manner: Manner) -> dict[str, Callable[[str], str]]:
    return {
        "guard": lambda _: "" if manner == "direct" else _script("guard.sql"),
        "lock": lambda _: (
            f"if not pg_try_advisory_xact_lock({LOCK_KEY}) then {_reply(_BUSY, manner)} end if;"
        ),
        "reply": lambda answer: _reply(answer, manner),
    }


def _reply(answer: str, manner: Manner) -> str:
    if manner == "raise":
        return f"raise exception using message = '{RAISED_ANSWER}' || ({answer})::text;"
    return f"perform set_config('{ANSWER}', ({answer})::text, true); return;"


def _filled(name: str, parts: Mapping[str, Callable[[str], str]]) -> str:
    """The script with its placeholders filled, in one pass: what is filled in is not read again."""

    def fill(match: re.Match[str]) -> str:
        return parts[match["name"]](match["argument"] or "")

    return _PLACEHOLDER.sub(fill, _script(name))


@cache
def _script(name: str) -> str:
    return (resources.files("pulsebase.migrations") / "scripts" / name).read_text("utf-8")


def _block(body: str) -> str:
    return f"do {quoted(body)}"


def _executions(statements: Sequence[Statement], manner: Manner) -> str:
    """One EXECUTE for each statement; over HTTP an error is told with the statement's number."""
    lines = [f"execute {quoted(_executable(statement))};" for statement in statements]
    if manner == "direct" or not lines:
        return "\n".join(lines)
    numbered = "\n".join(f"statement := {n}; {line}" for n, line in enumerate(lines, 1))
    return f"""begin
{numbered}
exception when others then
    get stacked diagnostics
        error_state = returned_sqlstate, error_message = message_text,
        error_detail = pg_exception_detail, error_hint = pg_exception_hint;
    raise exception using errcode = error_state,
        message = format('{RAISED_STATEMENT}%s: %s', statement, error_message),
        detail = error_detail, hint = error_hint;
end;"""


def _executable(statement: Statement) -> str:
    """PL/pgSQL refuses to EXECUTE a script that ends with SELECT INTO; so it ends with another."""
    first = statement.words[0] if statement.words else ""
    return (
        f"{statement.text}\n;select"
        if first in _ROWS_FIRST and "into" in statement.text.lower()
        else statement.text
    )


def _by_line(body: str, statements: Sequence[Statement]) -> dict[int, Statement]:
    found: dict[int, Statement] = {}
    position, line = 0, 1
    for statement in statements:
        start = body.index(statement.text, position)
        line += body.count("\n", position, start)
        found[line] = statement
        line += statement.text.count("\n")
        position = start + len(statement.text)
    return found
