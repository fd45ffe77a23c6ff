"""The roles and grants that a Supabase project has, on a plain PostgreSQL."""

from __future__ import annotations

from typing import Literal, TypeAlias

import psycopg

__all__ = ["DefaultPrivileges", "create_roles", "set_default_privileges"]

DefaultPrivileges: TypeAlias = Literal["old", "new"]

_ROLES = """
do $$
begin
    if not exists (select from pg_roles where rolname = 'authenticator') then
        create role anon nologin noinherit;
        create role authenticated nologin noinherit;
        create role service_role nologin noinherit bypassrls;
        create role authenticator login noinherit;
        grant anon, authenticated, service_role to authenticator;
    end if;
end
$$
"""

_USAGE = "grant usage on schema public to anon, authenticated, service_role"

# Projects made before 2026-10-30 grant everything new to everybody; younger ones grant nothing.
_GRANT_TO_EVERYBODY = """
alter default privileges in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public
    grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public
    grant all on sequences to anon, authenticated, service_role
"""


def create_roles(url: str) -> None:
    """Create the roles in the cluster; nothing happens when they are there."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_ROLES)


def set_default_privileges(url: str, flavour: DefaultPrivileges) -> None:
    """Make one database grant what it creates from now on as an old or a new project does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_USAGE)
        if flavour == "old":
            connection.execute(_GRANT_TO_EVERYBODY)
