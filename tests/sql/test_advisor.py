"""What Supabase's database advisor warns of is not there: each rule as a question of our own.

Rules that only inform (row level security without a policy, an index that was not used yet) are
meant so: nobody but the service role is to see these tables, and a new database has used nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.sql.scripts import apply, rows
from tests.support.supabase_roles import set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres_server import PostgresServer

RULES = {
    "row level security is off": """
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
            and not relrowsecurity""",
    "a policy although row level security is off": """
        select relname from pg_policy join pg_class on pg_class.oid = polrelid
        where not relrowsecurity""",
    "a policy that lets everybody in": """
        select polname from pg_policy
        where 'true' in (pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))""",
    "a function whose search_path can be changed": """
        select proname from pg_proc
        where pronamespace = 'public'::regnamespace and prokind in ('f', 'p')
            and not exists (
                select from unnest(proconfig) as setting where setting like 'search_path=%%')""",
    "a view with its owner's rights": """
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'v'
            and not coalesce('security_invoker=true' = any (reloptions)
                or 'security_invoker=on' = any (reloptions), false)""",
    "a function with its owner's rights that outsiders may execute": """
        select proname from pg_proc, (values ('anon'), ('authenticated')) as roles (outsider)
        where pronamespace = 'public'::regnamespace and prosecdef
            and has_function_privilege(outsider, pg_proc.oid, 'execute')""",
    "the same index twice": """
        select min(indexrelid::regclass::text) from pg_index
        join pg_class on pg_class.oid = indrelid
        where relnamespace = 'public'::regnamespace
        group by indrelid, indkey::text, indclass::text, indexprs::text, indpred::text
        having count(*) > 1""",
    "a foreign key without an index": """
        select conname from pg_constraint
        where contype = 'f' and connamespace = 'public'::regnamespace
            and not exists (
                select from pg_index
                where indrelid = conrelid
                    and (indkey::smallint[])[0:cardinality(conkey) - 1] @> conkey)""",
    "a table without a primary key": """
        select relname from pg_class
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not exists (
            select from pg_index where indrelid = pg_class.oid and indisprimary)""",
    "an extension in public": """
        select extname from pg_extension where extnamespace = 'public'::regnamespace""",
    "a materialised view that outsiders may read": """
        select relname from pg_class, (values ('anon'), ('authenticated')) as roles (outsider)
        where relnamespace = 'public'::regnamespace and relkind in ('m', 'f')
            and has_table_privilege(outsider, pg_class.oid, 'select')""",
    "a relation that shows the accounts of auth": """
        select dependant.relname from pg_depend
        join pg_rewrite on pg_rewrite.oid = objid
        join pg_class as dependant on dependant.oid = ev_class
        join pg_class as source on source.oid = refobjid
        where source.relname = 'users' and source.relnamespace = to_regnamespace('auth')""",
    "a table that outsiders may touch": """
        select relname from pg_class, (values ('anon'), ('authenticated')) as roles (outsider)
        where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
            and has_table_privilege(
                outsider, pg_class.oid, 'select, insert, update, delete, truncate')""",
}


@pytest.fixture(scope="module", params=["old", "new"])
def advised(request: pytest.FixtureRequest, postgres: PostgresServer) -> Iterator[str]:
    """A migrated database, as an old or a new Supabase project has it."""
    name = postgres.create_database()
    set_default_privileges(postgres.url(name), request.param)
    apply(postgres.url(name))
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.mark.parametrize("rule", RULES)
def test_the_advisor_would_find_nothing(advised: str, rule: str) -> None:
    assert rows(advised, RULES[rule], []) == []


TRAPS = """
create table trap (id integer, parent integer);
create table trap_parent (id integer primary key);
alter table trap add foreign key (parent) references trap_parent;
create policy trap on trap using (true);
create function trap() returns integer language sql security definer as 'select 1';
grant execute on function trap to anon;
create view trap_view as select * from trap;
create materialized view trap_copy as select * from trap;
grant select on trap, trap_copy to anon;
create index trap_1 on trap (id);
create index trap_2 on trap (id);
create extension pg_trgm schema public;
create schema auth;
create table auth.users (id integer);
create view trap_users as select * from auth.users;
"""


@pytest.fixture(scope="module")
def trapped(postgres: PostgresServer) -> Iterator[str]:
    """A database with everything that the rules are about."""
    name = postgres.create_database()
    with psycopg.connect(postgres.url(name), autocommit=True) as connection:
        connection.execute(TRAPS.encode())
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_finds_what_it_is_about(trapped: str, rule: str) -> None:
    assert rows(trapped, RULES[rule], [])
