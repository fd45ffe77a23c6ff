"""What `pulsebase doctor` finds out by asking the database, directly or over HTTPS."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pulsebase.cli.findings import Finding, clock_finding
from pulsebase.errors import DatabaseError, NotMigratedError, PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import httpx
    import psycopg

    from pulsebase.connection import Connection
    from pulsebase.migrations.doors import DirectTransport
    from pulsebase.settings import Target
    from pulsebase.transports.postgrest import PostgrestTransport

__all__ = ["database_findings", "failure"]

_OLDEST_MAJOR: Final = 15
_NEWEST_MAJOR: Final = 18
_ANYBODYS_KEYS: Final = ("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY", "SUPABASE_KEY")
_NOBODY: Final = UUID(int=0)
_FUNCTION: Final = re.compile(r"create (?:or replace )?function public\.(\w+)")
_TABLE: Final = re.compile(r"create table if not exists public\.(\w+)")
_OK: Final = 200
_WHERE_IS_IT: Final = "start the server, or correct the host and port in the URL"

_SERVER: Final = """
select
    current_setting('server_version_num')::integer / 10000,
    current_setting('server_version'),
    current_user::text,
    clock_timestamp(),
    coalesce((select ssl from pg_catalog.pg_stat_ssl where pid = pg_backend_pid()), false),
    inet_client_addr() is null or inet_client_addr() <<= '127.0.0.0/8' or inet_client_addr() = '::1'
"""
_ACCESS: Final = """
select
    c.relname::text,
    c.relrowsecurity,
    has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert'),
    row_security_active(c.oid),
    array(
        select r.rolname::text
        from pg_catalog.pg_roles as r
        where r.rolname in ('anon', 'authenticated')
            and has_table_privilege(r.oid, c.oid, 'select, insert, update, delete, truncate')
        order by 1
    )
from pg_catalog.pg_class as c
where c.relnamespace = 'public'::regnamespace and c.relname = any(%s)
order by 1
"""
_EXECUTORS: Final = """
select distinct r.rolname::text
from pg_catalog.pg_proc as p
join pg_catalog.pg_roles as r
    on r.rolname in ('anon', 'authenticated') and has_function_privilege(r.oid, p.oid, 'execute')
where p.pronamespace = 'public'::regnamespace and p.proname = any(%s)
order by 1
"""


def failure(topic: str, error: PulsebaseError) -> Finding:
    """A finding for an error: what is wrong, and the advice that the error brings along."""
    if isinstance(error, DatabaseError):
        code = f" [{error.code}]" if error.code else ""
        text = f"{' '.join(error.message.split())}{code}"
        return Finding(topic, "problem", text, error.advice or _WHERE_IS_IT)
    text, _, advice = str(error).partition("; ")
    return Finding(topic, "problem", text, advice)


def database_findings(connection: Connection, target: Target) -> Iterator[Finding]:
    """Everything that the database tells; ends early where it does not answer."""
    from pulsebase.migrations.doors import DirectTransport

    if isinstance(connection.transport, DirectTransport):
        yield from _direct(connection, connection.transport)
    else:
        transport: Any = connection.transport
        yield from _over_https(connection, transport, target)


def _direct(connection: Connection, transport: DirectTransport) -> Iterator[Finding]:
    try:
        with transport.connection() as session:
            began = time.monotonic()
            session.execute("select 1")
            milliseconds = (time.monotonic() - began) * 1000
            yield Finding("reachable", "ok", f"answers in {milliseconds:.1f} ms")
            yield from _server(session)
    except PulsebaseError as error:
        yield failure("reachable", error)
        return
    yield from _migrations(connection)
    try:
        with transport.connection() as session:
            yield from _access(session)
    except PulsebaseError as error:
        yield failure("access", error)


def _server(session: psycopg.Connection[Any]) -> Iterator[Finding]:
    row = session.execute(_SERVER).fetchone()
    ours = datetime.now(UTC)
    if row is None:
        return
    major, version, user, theirs, encrypted, local = row
    text = f"PostgreSQL {version}, as the role {user}"
    if major < _OLDEST_MAJOR:
        remedy = f"upgrade the server to PostgreSQL {_OLDEST_MAJOR} or later"
        yield Finding("server", "problem", f"{text}; too old", remedy)
    elif major > _NEWEST_MAJOR:
        text += f"; pulsebase is tested up to {_NEWEST_MAJOR}"
        yield Finding("server", "warning", text, "pip install --upgrade pulsebase")
    else:
        yield Finding("server", "ok", text)
    yield clock_finding(ours, theirs, "the database")
    if encrypted:
        yield Finding("encryption", "ok", "TLS")
    elif local:
        yield Finding("encryption", "ok", "none, and the database is on this machine")
    else:
        text = "the connection to another machine is not encrypted"
        yield Finding(
            "encryption", "warning", text, "append sslmode=require to the URL's parameters"
        )


def _migrations(connection: Connection) -> Iterator[Finding]:
    """Applied, pending and edited files; over HTTPS that needs `exec_sql`, else we try a call."""
    from pulsebase.migrations import Migrator, packaged

    try:
        plan = Migrator(connection, packaged()).plan()
    except PulsebaseError as error:
        yield from _callable(connection, error)
        return
    for refusal in plan.refusals:
        text, _, remedy = refusal.partition("; ")
        yield Finding("migrations", "problem", text, remedy)
    if plan.pending:
        text = f"not applied: {', '.join(file.name for file in plan.pending)}"
        yield Finding("migrations", "problem", text, "run: pulsebase db migrate")
    elif not plan.refusals:
        yield Finding("migrations", "ok", "all applied")
        yield from _callable(connection, None)


def _callable(connection: Connection, untold: PulsebaseError | None) -> Iterator[Finding]:
    """Whether the functions that the models call are there and may be called."""
    from pulsebase.models.alert_event import AlertEventModel
    from pulsebase.models.health_check import HealthCheckModel
    from pulsebase.models.monitor import MonitorModel

    try:
        HealthCheckModel.find_by_id(connection, _NOBODY)
        AlertEventModel.find_by_id(connection, _NOBODY)
        MonitorModel.find_services(connection, _NOBODY)
    except PulsebaseError as error:
        yield failure("functions", error)
    else:
        unsure = "; which files are applied cannot be told over this connection" if untold else ""
        yield Finding("functions", "ok", f"answer{unsure}")


def _access(session: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Who may do what: we everything, strangers nothing."""
    tables = _named(_TABLE)
    rows = session.execute(_ACCESS, [tables]).fetchall()
    open_tables = [table for table, secured, *_ in rows if not secured]
    unusable = [table for table, _, usable, *_ in rows if not usable]
    filtered = [table for table, _, usable, hidden, _ in rows if usable and hidden]
    yield from _table_access(open_tables, unusable, filtered)
    outsiders = sorted({name for *_, names in rows for name in names})
    if outsiders:
        opened = _listed([table for table, *_, names in rows if names])
        names = ", ".join(outsiders)
        remedy = f"execute: revoke all on {opened} from {names}"
        yield Finding("access", "problem", f"{names} may use {opened}", remedy)
    executors = [name for (name,) in session.execute(_EXECUTORS, [_named(_FUNCTION)]).fetchall()]
    if executors:
        text = f"{', '.join(executors)} may execute pulsebase's functions"
        yield Finding("access", "problem", text, _revoke(executors))
    elif not outsiders and len(rows) == len(tables):
        yield Finding("access", "ok", "nobody but the owner and the service role")


def _table_access(
    open_tables: Sequence[str], unusable: Sequence[str], filtered: Sequence[str]
) -> Iterator[Finding]:
    for table in open_tables:
        remedy = f"execute: alter table public.{table} enable row level security"
        yield Finding("access", "problem", f"row level security is off on {table}", remedy)
    if unusable:
        grant = f"grant select, insert, update, delete on {_listed(unusable)} to …"
        text = f"this role may not read and write {_listed(unusable)}"
        yield Finding("access", "problem", text, f"as their owner, execute: {grant}")
    if filtered:
        text = f"row level security hides the rows of {_listed(filtered)} from this role"
        yield Finding("access", "problem", text, "connect as the tables' owner or as service_role")


def _listed(tables: Sequence[str]) -> str:
    return ", ".join(f"public.{table}" for table in tables)


def _named(pattern: re.Pattern[str]) -> list[str]:
    """What the packaged migrations make, by the names in them."""
    from pulsebase.migrations import packaged

    return sorted({name for file in packaged().files for name in pattern.findall(file.text)})


def _revoke(roles: Sequence[str]) -> str:
    return (
        "execute for each function of the packaged migrations (pulsebase db export writes them): "
        f"revoke all on function … from public, {', '.join(roles)}"
    )


def _over_https(
    connection: Connection, transport: PostgrestTransport, target: Target
) -> Iterator[Finding]:
    from pulsebase.models.health_check import HealthCheckModel

    began = time.monotonic()
    try:
        HealthCheckModel.find_by_id(connection, _NOBODY)
    except NotMigratedError:
        pass  # it answers; the migrations are looked at below
    except PulsebaseError as error:
        yield failure("reachable", error)
        return
    milliseconds = (time.monotonic() - began) * 1000
    yield Finding(
        "reachable", "ok", f"answers in {milliseconds:.0f} ms, the first connection included"
    )
    yield from _migrations(connection)
    yield from _strangers(transport, target)


def _strangers(transport: PostgrestTransport, target: Target) -> Iterator[Finding]:
    """What somebody without the service key can read; and the clock of the server that tells it."""
    answers = {table: _asked_by_a_stranger(transport, table, target) for table in _named(_TABLE)}
    ours = datetime.now(UTC)
    for table, answer in answers.items():
        if answer is None or answer.status_code != _OK:
            continue
        remedy = f"execute: revoke all on public.{table} from anon, authenticated, public"
        if answer.text.strip() == "[]":
            text = f"only row level security keeps {table} from strangers; they hold a grant"
            yield Finding("access", "warning", text, remedy)
        else:
            text = f"{table} can be read without the service key"
            yield Finding("access", "problem", text, remedy)
    *_, last = answers.values()
    if last is None:
        return
    if all(answer is not None and answer.status_code != _OK for answer in answers.values()):
        yield Finding("access", "ok", "the tables do not answer without the service key")
    with suppress(KeyError, ValueError, TypeError):
        # The header has whole seconds, cut off: half a second more is nearer to the truth.
        theirs = parsedate_to_datetime(last.headers["date"]) + timedelta(milliseconds=500)
        yield clock_finding(ours, theirs, "the server")


def _asked_by_a_stranger(
    transport: PostgrestTransport, table: str, target: Target
) -> httpx.Response | None:
    """The answer to somebody who has no key, or the one that is made for browsers."""
    import httpx

    key = next((os.environ[name] for name in _ANYBODYS_KEYS if os.environ.get(name)), "")
    headers = {"apikey": key} if key and key != target.key else {}
    with suppress(httpx.HTTPError):
        return httpx.get(
            f"{transport.find_base()}/{table}",
            params={"limit": "1"},
            headers=headers,
            timeout=target.connect_timeout_seconds,
        )
    return None
