"""Statements that no migration can hold, found before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.migrations.script import Statement

__all__ = ["Objection", "Rule", "objection", "refused_statement"]

Rule = Literal["psql-command", "copy-from-stdin", "transaction-control", "needs-no-transaction"]

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


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a statement cannot be carried out, and what to write instead."""

    rule: Rule
    reason: str


def refused_statement(file: MigrationFile, *, over_https: bool) -> str:
    """A sentence about the first statement that cannot be carried out; empty when all can."""
    if not file.transaction and over_https:
        return (
            f"{file.source} asks for no transaction, and over HTTPS everything runs in one; "
            "apply it once over a direct connection (--url postgresql://…)"
        )
    for statement in file.statements:
        if found := objection(statement, transaction=file.transaction):
            return f"{file.source}:{statement.line}: {found.reason}"
    return ""


def objection(statement: Statement, *, transaction: bool) -> Objection | None:
    """What stands against one statement of a file that wants a transaction, or none."""
    words = statement.words
    if not words:
        return None
    if words[0] == "\\":
        reason = "this is a command of psql, not SQL; write it as SQL or remove it"
        return Objection("psql-command", reason)
    if words[0] == "copy" and ("from", "stdin") in pairwise(words):
        return Objection("copy-from-stdin", "COPY FROM STDIN needs psql; write the rows as INSERT")
    if words[0] in _TRANSACTION_CONTROL or words[:2] == ("prepare", "transaction"):
        why = "each file is one transaction already; " if transaction else ""
        reason = f"{words[0].upper()} has no place in a migration: {why}remove it"
        return Objection("transaction-control", reason)
    if transaction and _is_outside_only(words):
        reason = (
            f"{_shown(words)} cannot run in a transaction; put it into a file of its "
            "own whose first line is: -- pulsebase: no transaction"
        )
        return Objection("needs-no-transaction", reason)
    return None


def _is_outside_only(words: tuple[str, ...]) -> bool:
    if any(words[: len(start)] == start for start in _OUTSIDE_ONLY):
        return True
    if words[0] == "create":
        return "index" in words[1:3] and "concurrently" in words[2:4]
    return words[0] in _CONCURRENT and "concurrently" in words


def _shown(words: tuple[str, ...]) -> str:
    end = words.index("concurrently") + 1 if "concurrently" in words else 2
    return " ".join(words[:end]).upper()
