"""Statements that no transaction takes, found before anything is sent."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.migrations.script import Statement

_TRANSACTION_CONTROL = frozenset(
    {"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"}
)
_OUTSIDE_ONLY = (
    ("vacuum",),
    ("alter", "system"),
    ("create", "database"),
    ("drop", "database"),
    ("create", "tablespace"),
    ("drop", "tablespace"),
    ("reindex", "database"),
    ("reindex", "system"),
    ("discard", "all"),
)
_CONCURRENT = frozenset({"drop", "reindex", "alter"})


def refused_statement(file: MigrationFile, *, over_https: bool) -> str:
    """A sentence about the first statement that cannot be carried out; empty when all can."""
    if not file.transaction and over_https:
        return (
            f"{file.source} asks for no transaction, and over HTTPS everything runs in one; "
            "apply it once over a direct connection (--url postgresql://…)"
        )
    for statement in file.statements:
        reason = _reason(statement, transaction=file.transaction)
        if reason:
            return f"{file.source}:{statement.line}: {reason}"
    return ""


def _reason(statement: Statement, *, transaction: bool) -> str:
    words = statement.words
    if not words:
        return ""
    if words[0] == "\\":
        return "this is a command of psql, not SQL; write it as SQL or remove it"
    if words[0] == "copy" and ("from", "stdin") in pairwise(words):
        return "COPY FROM STDIN needs psql; write the rows as INSERT"
    if words[0] in _TRANSACTION_CONTROL or words[:2] == ("prepare", "transaction"):
        return (
            f"{words[0].upper()} has no place in a migration: "
            + ("each file is one transaction already; remove it" if transaction else "remove it")
        )
    if transaction and is_outside_only(words):
        return (
            f"{' '.join(words[:3]).upper()} cannot run in a transaction; put it into a file of its "
            "own whose first line is: -- pulsebase: no transaction"
        )
    return ""


def is_outside_only(words: tuple[str, ...]) -> bool:
    """Whether PostgreSQL refuses the statement inside a transaction."""
    if any(words[: len(start)] == start for start in _OUTSIDE_ONLY):
        return True
    if words[0] == "create":
        return "index" in words[1:3] and "concurrently" in words[2:4]
    return words[0] in _CONCURRENT and "concurrently" in words[:12]
