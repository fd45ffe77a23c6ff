"""The function `exec_sql` as the way for envelopes: a URL and a service key are all it takes."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from pulsebase.errors import (
    DatabaseError,
    LockTimeoutError,
    MigrationError,
    PermissionDeniedError,
    SerializationError,
    StaleSchemaCacheError,
    StatementTimeoutError,
)
from pulsebase.migrations import envelope, faults
from pulsebase.migrations.doors import changed_message
from pulsebase.migrations.envelope import (
    RAISED_ANSWER,
    RAISED_CHANGED,
    RAISED_OPEN,
    Envelope,
    Manner,
)
from pulsebase.transports.request import Request
from pulsebase.transports.retry import repeat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pulsebase.migrations.catalog import MigrationFile
    from pulsebase.transports.postgrest import PostgrestTransport

__all__ = ["HttpsDoor"]

_FUNCTION = "exec_sql"
_PARAMETERS: tuple[str, ...] = (
    "sql",
    "query",
    "sql_query",
    "sql_text",
    "sql_string",
    "statement",
    "command",
    "q",
)
_HINTED = re.compile(r"exec_sql\s*\(\s*\"?([^\s,\")=:]+)")
_MISSING_CODE = "PGRST202"
_BOOTSTRAP = (
    "run: pulsebase db bootstrap, and paste what it prints into the SQL editor, once "
    "(or migrate over a direct connection: --url postgresql://…)"
)
_CACHE_WAIT_SECONDS = 5.0
_CACHE_PAUSE_SECONDS = 0.2
_CREATED = re.compile(
    r"\bcreate\s+(?:or\s+replace\s+)?(?:function|table)\s+(?:if\s+not\s+exists\s+)?"
    r"(?:public\s*\.\s*)?\"?(\w+)",
    re.IGNORECASE,
)


class HttpsDoor:
    """`exec_sql`, whatever its parameter is called and whether or not it hands answers back."""

    over_https = True

    def __init__(self, transport: PostgrestTransport) -> None:
        self._transport = transport
        self._parameter = ""
        self.manner: Manner = "setting"

    def look(self) -> Mapping[str, Any]:
        """What the database knows; finds out on the way how `exec_sql` wants to be called."""
        answer = self._look("setting")
        if answer is not None:
            return answer
        self.manner = "raise"
        answer = self._look("raise")
        if answer is None:
            msg = f"the function exec_sql of this project hides errors; to replace it {_BOOTSTRAP}"
            raise MigrationError(msg)
        return answer

    def send(self, sent: Envelope, file: MigrationFile | None = None) -> Mapping[str, Any]:
        """Carry out an envelope; it looks by itself whether it was carried out already."""
        try:
            answer = self._called(sent.text)
        except DatabaseError as error:
            return self._answer_in(error, file)
        return answer if isinstance(answer, dict) else {}

    def unserved(self, files: Sequence[MigrationFile]) -> list[str]:
        """What the files made and PostgREST does not serve, after some seconds of patience."""
        made = {name for file in files for name in _CREATED.findall(file.text)}
        paths = self._visible(made) if made else []
        deadline = time.monotonic() + _CACHE_WAIT_SECONDS
        while paths := [path for path in paths if not self._transport.serves(path)]:
            if time.monotonic() > deadline:
                break
            time.sleep(_CACHE_PAUSE_SECONDS)
        return [path.rpartition("/")[2] for path in paths]

    def _look(self, manner: Manner) -> Mapping[str, Any] | None:
        try:
            answer = self._called(envelope.look(manner).text)
        except StaleSchemaCacheError as error:
            raise MigrationError(_missing(error)) from error
        except PermissionDeniedError as error:
            msg = f"{error.message}; use a service key, and if it is one, {_BOOTSTRAP}"
            raise MigrationError(msg) from error
        except DatabaseError as error:
            if error.code == "42601":
                msg = (
                    f"this project's function exec_sql runs no scripts; to replace it {_BOOTSTRAP}"
                )
                raise MigrationError(msg) from error
            return self._answer_in(error, None)
        return answer if isinstance(answer, dict) and "exists" in answer else None

    def _answer_in(self, error: DatabaseError, file: MigrationFile | None) -> Mapping[str, Any]:
        """The answer that an error carries; raises what it means if it is a real one."""
        message = faults.server_words(error)
        if message.startswith(RAISED_ANSWER):
            answer: Mapping[str, Any] = json.loads(message.removeprefix(RAISED_ANSWER))
            return answer
        if message.startswith(RAISED_OPEN):
            raise MigrationError(_open(message.removeprefix(RAISED_OPEN))) from error
        if file is None or error.code is None:
            raise error
        if message.startswith(RAISED_CHANGED):
            raise MigrationError(changed_message(file)) from error
        told = faults.https_fault(file, error)
        if isinstance(error, LockTimeoutError | SerializationError):
            raise type(error)(told) from error
        if isinstance(error, StatementTimeoutError):
            told += _TIMEOUT_ADVICE
        raise MigrationError(told) from error

    def _called(self, script: str) -> Any:
        """The answer of `exec_sql`; the first call finds the name of its parameter."""
        if self._parameter:
            return self._sent(self._parameter, script)
        missing: DatabaseError | None = None
        waiting = list(_PARAMETERS)
        while waiting:
            parameter = waiting.pop(0)
            try:
                answer = self._sent(parameter, script)
            except DatabaseError as error:
                if error.code != _MISSING_CODE:
                    self._parameter = parameter
                    raise
                missing = missing or error
                hinted = _HINTED.search(error.hint or "")
                if hinted and hinted[1] in waiting:
                    waiting.remove(hinted[1])
                if hinted and hinted[1] != parameter:
                    waiting.insert(0, hinted[1])
            else:
                self._parameter = parameter
                return answer
        assert missing is not None  # noqa: S101 -- the list of names is not empty
        raise missing

    def _sent(self, parameter: str, script: str) -> Any:
        request = Request(_FUNCTION, {parameter: script})
        try:
            return self._transport.send(request)
        except DatabaseError as error:
            if not error.retryable or isinstance(error, LockTimeoutError | SerializationError):
                raise
            # Whether it was carried out is not known, and need not be: the envelope looks.
            return repeat(lambda: self._transport.send(request), error)

    def _visible(self, names: set[str]) -> list[str]:
        """Paths of those that the API can be asked about without calling anything."""
        script = _VISIBLE.replace("--{names}", envelope.quoted(",".join(sorted(names))))
        answer = self.send(Envelope(f"do {envelope.quoted(script)}"))
        return list(answer.get("paths") or ())


_TIMEOUT_ADVICE = (
    "\n      Nothing of it was applied: over HTTPS a file has about 8 seconds. Apply it over a "
    "direct connection (--url postgresql://…), cut it into smaller files, or give the API more "
    "time: alter role authenticator set statement_timeout = '60s'; notify pgrst, 'reload config';"
)

_VISIBLE = """
begin
    perform set_config('pulsebase.answer', jsonb_build_object('paths', (
        select jsonb_agg(distinct made.path)
        from (
            select 'rpc/' || p.proname
            from pg_catalog.pg_proc as p
            where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
                and p.pronargs = p.pronargdefaults
                and p.proname = any (string_to_array(--{names}, ','))
                and p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
            union all
            select c.relname
            from pg_catalog.pg_class as c
            where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
                and c.relname = any (string_to_array(--{names}, ','))
        ) as made (path)
    ))::text, true);
end
"""


def _missing(error: DatabaseError) -> str:
    if error.code != _MISSING_CODE:
        return (
            f"{error.message}; check that the URL is that of a Supabase project or PostgREST server"
        )
    return (
        "over HTTPS migrations travel through a function exec_sql, and this project has none; "
        f"{_BOOTSTRAP}"
    )


def _open(signatures: str) -> str:
    revokes = " ".join(
        f"revoke all on function {signature} from public, anon, authenticated;"
        for signature in re.split(r", (?=[\w.\"]+\()", signatures)
    )
    return (
        "anybody may run SQL through exec_sql in this project, for anon or authenticated may "
        f"execute it; nothing was applied. Run this in the SQL editor at once: {revokes}"
    )
