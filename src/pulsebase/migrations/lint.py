"""What experience with Supabase and PostgreSQL says against a migration, before it is applied.

The statements are read by PostgreSQL's own parser. A finding that is meant to be so is silenced by
a comment in the statement or on the line above it, with the reason:

    -- pulsebase: ignore where-missing: every row gets its number
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pulsebase.errors import MissingExtraError
from pulsebase.migrations.rules import objection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pulsebase.migrations.catalog import Catalog, MigrationFile
    from pulsebase.migrations.script import Statement

__all__ = ["RULES", "Finding", "lint"]

RULES: dict[str, str] = {
    "syntax-error": "PostgreSQL cannot read the statement.",
    "psql-command": "A command of psql, such as \\i, is not SQL.",
    "copy-from-stdin": "COPY FROM STDIN needs psql.",
    "transaction-control": "BEGIN and COMMIT do not belong into a file that is a transaction.",
    "needs-no-transaction": "The statement cannot run in a transaction.",
    "plain-set": "SET without LOCAL stays in a pooled session.",
    "where-missing": "UPDATE or DELETE without WHERE changes every row; Supabase refuses it.",
    "rls-missing": "A table without row level security is open to the keys of browsers.",
    "grant-missing": "A new table on Supabase is granted to nobody, not even to service_role.",
    "search-path-missing": "A function without search_path does what its caller's path says.",
    "ignore-unclear": "A comment that silences a rule must name one, and give a reason.",
}
_IGNORE = re.compile(
    r"--[ \t]*pulsebase:[ \t]*ignore[ \t]*(?P<rule>[\w-]*)[ \t]*:?[ \t]*(?P<reason>[^\n]*)"
)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_LOOP = re.compile(
    r"\bforeach\s+(?P<variable>\w+)\s+in\s+array\s+array\s*\[(?P<names>[^\]]*)\](?P<body>.*)",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(r"'(\w+)'")
_OWN_SCHEMAS = frozenset({"", "public"})
_SAFE_LANGUAGES = frozenset({"c", "internal"})


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to mend. Lines and columns count from 1; `rule` is one of RULES."""

    source: str
    line: int
    column: int
    rule: str
    message: str

    def __str__(self) -> str:
        """`file:line:column: rule: message`, as editors and CI understand it."""
        return f"{self.source}:{self.line}:{self.column}: {self.rule}: {self.message}"


def lint(catalog: Catalog) -> tuple[Finding, ...]:
    """Everything that stands against the files, in their order.

    Raises MissingExtraError when the parser is not installed.
    """
    parser = _parser()
    return tuple(finding for file in catalog.files for finding in sorted(_of_file(file, parser)))


@dataclass(frozen=True, slots=True)
class _Place:
    """A rule broken at an offset of the file's text."""

    offset: int
    rule: str
    message: str


def _parser() -> Any:
    """The module of the parser; imported by name, because its own types do not type-check."""
    try:
        return import_module("postgast")
    except ModuleNotFoundError:
        purpose = "reading SQL"
        raise MissingExtraError(purpose, "cli") from None


def _of_file(file: MigrationFile, parser: Any) -> Iterator[Finding]:
    silenced = dict(_silenced(file))
    for place in (*_unclear(file), *_broken(file, parser)):
        line = _line(file.text, place.offset)
        if place.rule in silenced.get(line, ()):
            continue
        column = place.offset - file.text.rfind("\n", 0, place.offset)
        yield Finding(file.source, line, column, place.rule, place.message)


def _broken(file: MigrationFile, parser: Any) -> Iterator[_Place]:
    for statement in file.statements:
        if found := objection(statement, transaction=file.transaction):
            yield _Place(statement.start, found.rule, found.reason)
            continue
        try:
            tree = parser.parse(statement.text)
        except parser.PgQueryError as error:
            yield _syntax_error(statement, error)
            continue
        for raw in tree.stmts:
            kind = raw.stmt.WhichOneof("node") or ""
            check = _CHECKS.get(kind)
            if check:
                yield from check(getattr(raw.stmt, kind), statement, file)
            yield from _inner(raw.stmt, statement, parser)


def _syntax_error(statement: Statement, error: Exception) -> _Place:
    position = getattr(error, "cursorpos", 0) or 0
    offset = statement.start + min(max(position - 1, 0), len(statement.text))
    return _Place(offset, "syntax-error", " ".join(str(error).split()))


def _inner(node: Any, statement: Statement, parser: Any) -> Iterator[_Place]:
    """What may hide inside another statement: data-modifying WITH, calls of set_config."""
    nodes = parser.pg_query_pb2
    changes: tuple[tuple[str, Any], ...] = (
        ("UPDATE", nodes.UpdateStmt),
        ("DELETE", nodes.DeleteStmt),
    )
    for verb, kind in changes:
        for found in parser.find_nodes(node, kind):
            if not found.HasField("where_clause"):
                message = f"{verb} without WHERE changes every row; say which, or `where true`"
                yield _Place(_at(statement, found.relation.location), "where-missing", message)
    for call in parser.find_nodes(node, nodes.FuncCall):
        if call.funcname[-1].string.sval == "set_config" and _is_false(call.args[2:3]):
            message = "set_config(…, false) stays in a pooled session; write true"
            yield _Place(_at(statement, call.location), "plain-set", message)


def _is_false(arguments: Iterable[Any]) -> bool:
    for argument in arguments:
        constant = (
            argument.type_cast.arg.a_const if argument.HasField("type_cast") else argument.a_const
        )
        return not constant.boolval.boolval and constant.sval.sval.lower() not in {"t", "true"}
    return False


def _set(node: Any, statement: Statement, _file: MigrationFile) -> Iterator[_Place]:
    stays = statement.words[0] == "set" and not node.is_local
    if stays and node.name.upper() != "TRANSACTION":
        message = f"SET {node.name} stays in a pooled session; write SET LOCAL"
        yield _Place(statement.start, "plain-set", message)


def _table(relation: Any, statement: Statement, file: MigrationFile) -> Iterator[_Place]:
    if relation.schemaname not in _OWN_SCHEMAS or relation.relpersistence == "t":
        return
    name = relation.relname
    text = _COMMENT.sub(" ", file.text)
    text = ";".join((text, *_made_by_loops(text)))
    quoted = rf'(?:"?public"?\s*\.\s*)?"?{re.escape(name)}"?(?![\w"])'
    everything = r"\ball\s+tables\s+in\s+schema\b"
    secured = (
        rf"\balter\s+table\s+(?:if\s+exists\s+)?(?:only\s+)?{quoted}"
        r"[^;]*\benable\s+row\s+level\s+security"
    )
    granted = rf"\bgrant\b[^;]*?\bon\b[^;]*?(?:(?<![\w.]){quoted}|{everything})[^;]*?\bto\b"
    if not re.search(secured, text, re.IGNORECASE):
        message = f"{name} is open; add: alter table {name} enable row level security;"
        yield _Place(_at(statement, relation.location), "rls-missing", message)
    if not re.search(granted, text, re.IGNORECASE):
        message = (
            f"nobody may use {name} on a new Supabase project; add: "
            f"grant select, insert, update, delete on {name} to service_role;"
        )
        yield _Place(_at(statement, relation.location), "grant-missing", message)


def _made_by_loops(text: str) -> Iterator[str]:
    """What a loop over names executes for each: execute format('… %I …', name)."""
    for statement in text.split("$$"):
        if loop := _LOOP.search(statement):
            made = rf"\bexecute\s+format\s*\(\s*'([^']*)'\s*,\s*{loop['variable']}\b"
            for template in re.findall(made, loop["body"], re.IGNORECASE):
                for name in _NAME.findall(loop["names"]):
                    yield template.replace("%I", name, 1)


def _create_table(node: Any, statement: Statement, file: MigrationFile) -> Iterator[_Place]:
    yield from _table(node.relation, statement, file)


def _create_table_as(node: Any, statement: Statement, file: MigrationFile) -> Iterator[_Place]:
    if "table" in statement.words[:4]:
        yield from _table(node.into.rel, statement, file)


def _function(node: Any, statement: Statement, _file: MigrationFile) -> Iterator[_Place]:
    options = {option.def_elem.defname: option.def_elem.arg for option in node.options}
    settings = [
        o.def_elem.arg.variable_set_stmt.name for o in node.options if o.def_elem.defname == "set"
    ]
    language = options["language"].string.sval.lower() if "language" in options else "sql"
    if "search_path" in settings or language in _SAFE_LANGUAGES:
        return
    name = ".".join(part.string.sval for part in node.funcname)
    message = f"{name} has no search_path of its own; add: set search_path = ''"
    yield _Place(statement.start, "search-path-missing", message)


_CHECKS: dict[str, Callable[[Any, Statement, MigrationFile], Iterator[_Place]]] = {
    "variable_set_stmt": _set,
    "create_stmt": _create_table,
    "create_table_as_stmt": _create_table_as,
    "create_function_stmt": _function,
}


def _silenced(file: MigrationFile) -> Iterator[tuple[int, set[str]]]:
    """For each line the rules that a comment silences there: in its statement, or below it."""
    by_line: dict[int, set[str]] = {}
    for match in _IGNORE.finditer(file.text):
        if not _is_clear(match):
            continue
        line = _line(file.text, match.start())
        for touched in _touched_lines(file, line):
            by_line.setdefault(touched, set()).add(match["rule"])
    yield from by_line.items()


def _touched_lines(file: MigrationFile, line: int) -> range:
    for statement in file.statements:
        last = statement.line + statement.text.count("\n")
        if statement.line - 1 <= line <= last:
            return range(statement.line, last + 1)
    return range(line, line + 2)


def _unclear(file: MigrationFile) -> Iterator[_Place]:
    for match in filter(partial(_not, _is_clear), _IGNORE.finditer(file.text)):
        known = ", ".join(RULES)
        message = (
            "give a reason after the rule: -- pulsebase: ignore RULE: why"
            if match["rule"] in RULES
            else f"there is no rule {match['rule'] or 'without a name'}; there are {known}"
        )
        yield _Place(match.start(), "ignore-unclear", message)


def _is_clear(match: re.Match[str]) -> bool:
    return match["rule"] in RULES and bool(match["reason"].strip())


def _not(predicate: Callable[[re.Match[str]], bool], match: re.Match[str]) -> bool:
    return not predicate(match)


def _at(statement: Statement, location: int) -> int:
    """The offset in the file; the parser counts bytes of the statement."""
    before = statement.text.encode()[: max(location, 0)]
    return statement.start + len(before.decode(errors="ignore"))


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
