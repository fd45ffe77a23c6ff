"""The schema of a migrated database: what is in the catalog, and `current.sql`.

`python -m tests.migration.schema` writes current.sql anew, after a file was added.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

import pulsebase
from pulsebase.connection import connect
from pulsebase.migrations import Migrator, packaged
from pulsebase.migrations.script import split
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.supabase_roles import create_roles, set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.migrations.script import Statement

__all__ = ["CURRENT", "catalog_of"]

CURRENT = Path(pulsebase.__file__).parent / "migrations" / "current.sql"
_HEAD = """\
-- The schema after all migrations, for reading. Generated: python -m tests.migration.schema
-- A database is never made from this file; pulsebase db migrate does that.

set local check_function_bodies = off;
"""
_NOT_OURS = (
    ("set",),
    ("select", "pg_catalog"),
    ("create", "schema"),
    ("comment", "on", "schema"),
    ("alter", "default", "privileges"),
)
_QUERIES = (
    """
    select 'relation', c.relname, c.relkind::text, c.relrowsecurity, c.relforcerowsecurity,
        c.reloptions, (select array_agg(a::text order by a::text) from unnest(c.relacl) as a),
        obj_description(c.oid, 'pg_class')
    from pg_class as c where c.relnamespace = 'public'::regnamespace
    """,
    """
    select 'column', c.relname, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod),
        a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text
    from pg_attribute as a
    join pg_class as c on c.oid = a.attrelid and c.relnamespace = 'public'::regnamespace
    left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attnum > 0 and not a.attisdropped
    """,
    """
    select 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated
    from pg_constraint where connamespace = 'public'::regnamespace
    """,
    "select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'",
    """
    select 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid),
        (select array_agg(a::text order by a::text) from unnest(p.proacl) as a),
        obj_description(p.oid, 'pg_proc')
    from pg_proc as p where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')
    """,
    """
    select 'trigger', pg_get_triggerdef(t.oid)
    from pg_trigger as t join pg_class as c on c.oid = t.tgrelid
    where c.relnamespace = 'public'::regnamespace and not t.tgisinternal
    """,
    "select 'policy', p.* from pg_policies as p where schemaname = 'public'",
    "select 'view', viewname, definition from pg_views where schemaname = 'public'",
    """
    select 'type', typname, typtype::text from pg_type
    where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
    """,
)


def catalog_of(url: str) -> set[tuple[Any, ...]]:
    """Everything in the schema `public`, as values that can be compared."""
    with psycopg.connect(url) as connection:
        return {
            tuple(tuple(value) if isinstance(value, list) else value for value in row)
            for query in _QUERIES
            for row in connection.execute(query.encode()).fetchall()
        }


def _dumped(url: str, programs: Path) -> str:
    answer = subprocess.run(
        [programs / "pg_dump", "--schema-only", "--no-owner", "--schema=public", url],
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def _kept(dump: str) -> Iterator[str]:
    """What belongs to us; tables first, since they are what people look for."""
    for statement in sorted(split(dump), key=_rank):
        words = statement.words
        on_schema = words[:1] in {("grant",), ("revoke",)} and "schema" in words[:6]
        if on_schema or words[:1] == ("\\",):
            continue
        if not any(words[: len(start)] == start for start in _NOT_OURS):
            yield f"\n{statement.text};\n"


def _rank(statement: Statement) -> int:
    match statement.words[:2]:
        case ("create", "table" | "sequence" | "type"):
            return 0
        case ("create", "function" | "procedure"):
            return 2
        case ("comment", "on"):
            return 2 if statement.words[2:3] == ("function",) else 1
        case ("create", "trigger"):
            return 3
        case ("grant", _) | ("revoke", _):
            return 4
        case _:
            return 1


def _regenerate() -> None:
    servers = {
        major: path for major, path in available_servers().items() if (path / "pg_dump").exists()
    }
    programs = servers[max(servers)]
    with PostgresServer(programs) as server:
        create_roles(server.url())
        url = server.url(server.create_database())
        set_default_privileges(url, "new")
        with connect(url) as connection:
            Migrator(connection, packaged()).apply()
        CURRENT.write_text(_HEAD + "".join(_kept(_dumped(url, programs))), encoding="utf-8")


if __name__ == "__main__":
    _regenerate()
