"""The kind `postgres`: connect to a PostgreSQL, ask it something, and judge how it is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.expected_value import LONGEST_VALUE, ExpectedValue, number_in
from pulsebase.probes.support.faults import excerpt, failed, fault
from pulsebase.probes.support.fields import port_problem, text_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.libpq import PostgresFaultError, PostgresSession
from pulsebase.probes.support.network.name_lookup import NameLookup
from pulsebase.probes.support.outcome import Outcome, UnknownHealthError
from pulsebase.probes.support.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look, Status

    Verdict = tuple[Status, dict[str, Any]]

__all__ = ["PostgresProbe"]

_SCHEMES: Final = ("postgresql://", "postgres://")
_URL_RULE: Final = "a postgresql:// URL with a host that libpq understands"
_SECRETS: Final = ("password", "sslpassword", "oauth_client_secret")
_DEFAULT_PORT: Final = "5432"

_BEGIN: Final = "begin transaction read only; set local statement_timeout = {milliseconds}"
# The server cuts the value and stops after one row, so that not even a careless query fills our
# memory. A line of its own for the query, which may end in a comment.
_FIRST_VALUE: Final = """
select left(answer.value::text, {longest})
from (
{query}
) as answer(value)
limit 1
"""
# The probe's own connection counts: it takes a place that somebody else might want.
_CONNECTIONS: Final = """
select
    used,
    current_setting('max_connections')::int as most,
    greatest(
        current_setting('max_connections')::int
        - current_setting('superuser_reserved_connections')::int
        - coalesce(current_setting('reserved_connections', true)::int, 0)
        - used,
        0
    ) as places_left
from (
    select count(*)::int as used
    from pg_stat_activity
    where backend_type = 'client backend'
        -- Of other people's connections a plain role sees no type, only that they have a user.
        or (backend_type is null and datid is not null and usesysid is not null)
) as counted
"""
# On a standby, the age of the last replayed transaction says nothing while the primary is idle: as
# long as it is connected to its primary and has replayed all that it received, it is not behind.
# On a primary, the slowest of those that follow it; none at all has no lag but a count of nought.
_REPLICATION: Final = """
with followers as (
    select state, replay_lag
    from pg_stat_replication
    -- A plain role sees that there are some, and nothing else of them.
    where state is null or (state <> 'backup' and replay_lsn is not null)
)
select
    pg_is_in_recovery(),
    case
        when not pg_is_in_recovery() then (
            select extract(epoch from max(coalesce(
                replay_lag, case when state is not null then interval '0' end
            )))
            from followers
        )
        when pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            and exists (select from pg_stat_wal_receiver where pid is not null)
        then 0
        else greatest(extract(epoch from clock_timestamp() - coalesce(
            pg_last_xact_replay_timestamp(), pg_postmaster_start_time()
        )), 0)
    end,
    (select count(*) from followers)
"""
_MAY_NOT_SEE: Final = (
    "the role of `url` may not see how far the standbys are; run: grant pg_monitor to that role"
)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PostgresProbe(LatencyLimits):
    """Connect as a client would, ask a query if there is one, and judge what comes back.

    `degraded_above` and `down_above` are compared with the time from the look to the last answer.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    query: str | None = None
    expect: ExpectedValue = field(default_factory=ExpectedValue)
    degraded_lag: Duration | None = None
    down_lag: Duration | None = None
    degraded_connections_left: int | None = None
    down_connections_left: int | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the target without what is secret about it."""
        return f"PostgresProbe({redact_url(self.url)})"

    @property
    def host(self) -> str | None:
        """The first host of the URL."""
        return _hosts(_settings(self.url))[0][0]

    async def probe(self, look: Look) -> Outcome:
        """Connect, ask and let go; the timeout covers everything."""
        examination = _Examination(self, datetime.now(UTC))
        try:
            async with asyncio.timeout(look.timeout_seconds):
                verdict = await examination.run(look)
        except PostgresFaultError as error:
            verdict = "down", fault(error, kind=error.kind, secrets=self._secrets())
        except OSError as error:
            verdict = "down", fault(error, secrets=self._secrets())
        return examination.outcome(verdict)

    def shown(self, text: str) -> str:
        """What may be stored of what a server said."""
        return excerpt(text, self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        settings = _settings(self.url)
        return tuple(settings[name] for name in _SECRETS if name in settings)

    @property
    def watches_replication(self) -> bool:
        """Whether a lag has a limit."""
        return self.degraded_lag is not None or self.down_lag is not None

    @property
    def watches_connections(self) -> bool:
        """Whether the places left have a limit."""
        limits = (self.degraded_connections_left, self.down_connections_left)
        return any(limit is not None for limit in limits)

    def judge_answer(self, answer: str | None) -> Verdict:
        """Judge what the query gave; where nothing is expected, any answer is good."""
        got = "nothing" if answer is None else answer
        if unmet := self.expect.failed(got):
            expectation, expected = unmet
            return "down", failed(expectation, expected, self.shown(got))
        return "healthy", {}

    def judge_connections(self, left: int) -> Verdict:
        """Judge how many more clients could connect."""
        limits: tuple[tuple[Status, str, int | None], ...] = (
            ("down", "down_connections_left", self.down_connections_left),
            ("degraded", "degraded_connections_left", self.degraded_connections_left),
        )
        for status, name, limit in limits:
            if limit is not None and left < limit:
                return status, failed(name, f"at least {limit}", str(left))
        return "healthy", {}

    def judge_replication(self, lag: timedelta | None) -> Verdict:
        """Judge how far a standby is behind; None where nobody follows a primary."""
        limits: tuple[tuple[Status, str, timedelta | None], ...] = (
            ("down", "down_lag", self.down_lag),
            ("degraded", "degraded_lag", self.degraded_lag),
        )
        for status, name, limit in limits:
            if limit is not None and (lag is None or lag > limit):
                got = "no standby is connected" if lag is None else format_duration(lag)
                return status, failed(name, f"at most {format_duration(limit)}", got)
        return "healthy", {}

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from _url_problems(self.url)
        if self.query is not None and not self.query.strip(" \t\r\n;"):
            yield InvalidValueError("query", self.query, "one SELECT, VALUES, TABLE or WITH")
        yield from text_problem(self.query, "query")
        if self.query is not None and "\x00" in self.query:
            yield InvalidValueError("query", "…\\0…", "text without NUL")
        if not self.expect.is_anything and self.query is None:
            yield InvalidValueError("query", None, "given, since something is expected of it")
        yield from self._limit_problems()
        yield from self.latency_problems()

    def _limit_problems(self) -> Iterator[InvalidValueError]:
        for name in ("degraded_lag", "down_lag"):
            lag = getattr(self, name)
            if lag is not None and lag <= timedelta(0):
                yield InvalidValueError(name, format_duration(lag), "more than 0s")
        if self.degraded_lag and self.down_lag and self.degraded_lag >= self.down_lag:
            got = format_duration(self.degraded_lag)
            yield InvalidValueError("degraded_lag", got, "less than down_lag")
        for name in ("degraded_connections_left", "down_connections_left"):
            left = getattr(self, name)
            if left is not None and left < 1:
                yield InvalidValueError(name, left, "at least 1")
        degraded, down = self.degraded_connections_left, self.down_connections_left
        if degraded is not None and down is not None and degraded <= down:
            bound = "more than down_connections_left"
            yield InvalidValueError("degraded_connections_left", degraded, bound)


class _Examination:
    """One look: what was seen so far, also when it ends in the middle."""

    def __init__(self, probe: PostgresProbe, checked_at: datetime) -> None:
        self._probe = probe
        self._checked_at = checked_at
        self._started = time.monotonic()
        self._phases: dict[str, float] = {}
        self._seen: dict[str, Any] = {}

    async def run(self, look: Look) -> Verdict:
        settings = await _resolved(_settings(self._probe.url), look)
        session = await PostgresSession.connect(settings)
        try:
            self._phases["connect"] = self._elapsed()
            self._note_server(session)
            return await self._ask(session, look)
        finally:
            session.close()

    def outcome(self, verdict: Verdict) -> Outcome:
        status, details = verdict
        answered = "total" in self._phases
        phases = {name: round(seconds * 1000, 2) for name, seconds in self._phases.items()}
        seen = self._seen | ({"phases_ms": phases} if phases else {})
        return Outcome(
            status=status,
            latency_ms=round(self._phases["total"] * 1000) if answered else None,
            checked_at=self._checked_at,
            details=seen | details,
        )

    async def _ask(self, session: PostgresSession, look: Look) -> Verdict:
        probe = self._probe
        left_seconds = max(look.timeout_seconds - self._elapsed(), 0.001)
        await session.script(_BEGIN.format(milliseconds=round(left_seconds * 1000) or 1))
        verdicts = [probe.judge_answer(await self._first_value(session))]
        if probe.watches_connections:
            verdicts.append(await self._connections(session))
        if probe.watches_replication and _worst(verdicts)[0] != "down":
            verdicts.append(await self._replication(session))
        total = self._elapsed()
        # A pooler would throw the server's connection away if its client left in a transaction.
        await session.script("commit")
        self._phases |= {"query": total - self._phases["connect"], "total": total}
        verdicts.append(probe.judge_latency(total))
        return _worst(verdicts)

    async def _first_value(self, session: PostgresSession) -> str | None:
        if self._probe.query is None:
            return None
        query = self._probe.query.strip(" \t\r\n;")
        rows = await session.rows(_FIRST_VALUE.format(longest=LONGEST_VALUE + 1, query=query))
        return rows[0][0] if rows else None

    async def _connections(self, session: PostgresSession) -> Verdict:
        used, most, left = (int(cell or 0) for cell in _only(await session.rows(_CONNECTIONS), 3))
        self._seen["connections"] = {"used": used, "max": most, "left": left}
        return self._probe.judge_connections(left)

    async def _replication(self, session: PostgresSession) -> Verdict:
        in_recovery, lag_text, followers = _only(await session.rows(_REPLICATION), 3)
        self._seen["in_recovery"] = in_recovery == "t"
        if lag_text is None and followers != "0":
            raise UnknownHealthError(_MAY_NOT_SEE)
        lag_seconds = None if lag_text is None else number_in(lag_text)
        if lag_seconds is None:
            return self._probe.judge_replication(None)
        self._seen["lag_seconds"] = round(float(lag_seconds), 3)
        return self._probe.judge_replication(timedelta(seconds=float(lag_seconds)))

    def _note_server(self, session: PostgresSession) -> None:
        seen = {
            "remote_ip": session.remote_ip,
            "server_version": session.parameter("server_version"),
        }
        self._seen |= {name: excerpt(value) for name, value in seen.items() if value}
        if (standby := session.parameter("in_hot_standby")) is not None:
            self._seen["in_recovery"] = standby == "on"

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _only(rows: Any, columns: int) -> tuple[str | None, ...]:
    """The one row of a query of ours; a server that gives something else is no PostgreSQL."""
    if len(rows) != 1 or len(rows[0]) != columns:
        message = "the server answered a query about itself with something else"
        raise PostgresFaultError(message, kind="protocol")
    only: tuple[str | None, ...] = rows[0]
    return only


def _worst(verdicts: list[Verdict]) -> Verdict:
    """The first that is down, else the first that is degraded."""
    for status in ("down", "degraded"):
        for verdict in verdicts:
            if verdict[0] == status:
                return verdict
    return "healthy", {}


def _settings(url: str) -> dict[str, str]:
    """The URL as libpq's settings; raises ProgrammingError where it is none."""
    return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}


def _hosts(settings: dict[str, str]) -> list[tuple[str, str]]:
    """Each host and its port; several are tried in order."""
    hosts = (settings.get("host") or settings.get("hostaddr", "")).split(",")
    ports = settings.get("port", _DEFAULT_PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    return [(host, port or _DEFAULT_PORT) for host, port in zip(hosts, ports, strict=True)]


async def _resolved(settings: dict[str, str], look: Look) -> dict[str, str]:
    """The settings with every name looked up: libpq would hold up the whole process meanwhile."""
    if "hostaddr" in settings:
        return _SAID_BY_US | settings
    lookup = look.tools.use(NameLookup)
    names: list[tuple[str, str, str]] = []
    last: OSError | None = None
    for host, port in _hosts(settings):
        if host.startswith(("/", "@")):  # a socket in the file system
            names.append((host, "", port))
            continue
        try:
            addresses = await lookup.addresses(host, port=int(port))
        except OSError as error:
            last = error
            continue
        names += [(host, str(address[0]), port) for _, address in addresses]
    if not names and last is not None:
        raise last
    hosts, addresses_text, ports = (",".join(part) for part in zip(*names, strict=True))
    return _SAID_BY_US | settings | {"host": hosts, "hostaddr": addresses_text, "port": ports}


# Our own timeout is finer than libpq's, which is at least two seconds.
_SAID_BY_US: Final = {
    "client_encoding": "utf8",
    "application_name": "pulsebase",
    "gssencmode": "disable",
    "connect_timeout": "0",
}


def _url_problems(url: str) -> Iterator[InvalidValueError]:
    shown = redact_url(url)
    try:
        settings = _settings(url) if url.startswith(_SCHEMES) and "\x00" not in url else {}
        hosts = _hosts(settings)
    except (ProgrammingError, ValueError):
        hosts, settings = [], {}
    if not hosts or not all(host for host, _ in hosts):
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    for _, port in hosts:
        if not port.isdecimal():
            yield InvalidValueError("url", shown, f"{_URL_RULE}, and a number as its port")
        else:
            yield from port_problem(int(port), "url")
    authorities = settings.get("sslrootcert", "system")
    if authorities != "system" and not Path(authorities).is_file():
        yield InvalidValueError("url", authorities, "with an sslrootcert that is a file")
