"""The kind `heartbeat`: a job reports in by itself, and silence is noted when it was due.

The job stores its own checks; this kind reads the newest one and waits for the next. A silence is
noted as a check in its turn, dated when the report was due, so the newest check always says from
where to count, also after a restart and on another monitor.

What stays in doubt is not held against the job: a database that is away cannot take its report.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final
from uuid import UUID

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.due import CronDues, Dues, PeriodDues, cron_problem, zone_of
from pulsebase.probes.support.faults import failed
from pulsebase.probes.support.outcome import NothingYetError, Outcome, UnknownHealthError
from pulsebase.probes.support.reports import Report, Reports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look

__all__ = ["HeartbeatProbe"]

_SHORTEST: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatProbe:
    """Wait for a job's own reports, every `period` or by `cron`, and note when one is missing."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    period: Duration | None = None
    cron: str | None = None
    timezone: str | None = None
    grace: Duration = timedelta(minutes=5)

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    @property
    def host(self) -> str | None:
        """Nobody is asked."""
        return None

    async def probe(self, look: Look) -> Outcome:
        """Show the newest report, or note that the next one is missing."""
        began_at = look.tools.use(_Watching).since(look.service_name)
        reports = look.tools.use(Reports)
        report = await _newest(reports, look)
        wait = _Wait(dues=self._dues(), grace=self.grace, report=report, began_at=began_at)
        missed = wait.missed(reports)
        if missed is not None:
            return wait.silence(look.service_name, missed)
        if report is None:
            message = f"no report yet; the first one is due {_shown(wait.first_due)}"
            raise NothingYetError(message)
        return _reported(report)

    def _dues(self) -> Dues:
        if self.period is not None:
            return PeriodDues(self.period)
        return CronDues(self.cron or "", zone_of(self.timezone or "UTC"))

    def _problems(self) -> Iterator[InvalidValueError]:
        if (self.period is None) == (self.cron is None):
            got = "neither" if self.period is None else "both"
            yield InvalidValueError("period", got, "given, or else cron: one of the two")
        if self.period is not None and self.period < _SHORTEST:
            yield InvalidValueError("period", format_duration(self.period), "at least 1s")
        if self.grace < _SHORTEST:
            yield InvalidValueError("grace", format_duration(self.grace), "at least 1s")
        if self.cron is not None and (bound := cron_problem(self.cron)):
            yield InvalidValueError("cron", self.cron, bound)
        yield from self._timezone_problems()

    def _timezone_problems(self) -> Iterator[InvalidValueError]:
        if self.timezone is None:
            return
        if self.cron is None:
            yield InvalidValueError("timezone", self.timezone, "left out where there is no cron")
        try:
            zone_of(self.timezone)
        except ValueError:
            bound = "a name of the IANA time zone database, such as Europe/Berlin"
            yield InvalidValueError("timezone", self.timezone, bound)


async def _newest(reports: Reports, look: Look) -> Report | None:
    try:
        async with asyncio.timeout(look.timeout_seconds):
            return await reports.newest(look.service_name)
    except TimeoutError as error:
        message = f"the database did not answer within {look.timeout_seconds:g} s"
        raise UnknownHealthError(message) from error


class _Watching:
    """Since when each service is watched here: what a first report is counted from."""

    def __init__(self) -> None:
        self._since: dict[str, datetime] = {}

    def since(self, service_name: str) -> datetime:
        return self._since.setdefault(service_name, datetime.now(UTC))

    async def aclose(self) -> None:
        self._since.clear()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    """The wait for the report that follows the newest one."""

    dues: Dues
    grace: timedelta
    report: Report | None
    began_at: datetime

    @property
    def first_due(self) -> datetime:
        return self.dues.first_after(self._begin)

    @property
    def _begin(self) -> datetime:
        return self.report.checked_at if self.report else self.began_at

    def missed(self, reports: Reports) -> datetime | None:
        """The due time whose report is missing for sure; UnknownHealthError while it is in doubt.

        A silence begins at the first one that was missed, and then goes on at the last one: of
        those that passed while nobody watched, the ones between say nothing more.
        """
        # The clock of the database dates most reports, so it also says what is late.
        now = self.report.read_at if self.report else datetime.now(UTC)
        latest = now - self.grace
        due = self.first_due
        if due > latest:
            return None
        if self.report and _is_silence(self.report):
            due = self.dues.last_until(self._begin, latest)
        due = self._reportable(due, latest, reports)
        since = reports.reachable_since
        if since is None or datetime.now(UTC) < since + self.grace:
            message = (
                f"the report due {_shown(due)} is missing, but the database may have been away: "
                f"that is certain {format_duration(self.grace)} after it is back"
            )
            raise UnknownHealthError(message)
        return due

    def _reportable(self, due: datetime, latest: datetime, reports: Reports) -> datetime:
        """This due time, or the first later one that some moment was left to report for."""
        asked = due
        while back := reports.away_until(asked, asked + self.grace):
            # The last one within that time, and then the first one beyond it.
            asked = self.dues.last_until(asked, back - self.grace)
            if asked > latest:
                message = (
                    f"the database was away when a report was due {_shown(due)}; "
                    f"the next one is due {_shown(asked)}"
                )
                raise UnknownHealthError(message)
        return asked

    def silence(self, service_name: str, due: datetime) -> Outcome:
        """The same check whoever notes it, and whenever: dated when the report was due."""
        last = f"none since {_shown(self.report.checked_at)}" if self.report else "none yet"
        expected = f"one by {_shown(due + self.grace)}"
        return Outcome(
            status="down",
            latency_ms=None,
            checked_at=due,
            details=failed("report", expected, last) | {"due_at": due.isoformat()},
            id=_silence_id(service_name, due),
        )


def _reported(report: Report) -> Outcome:
    return Outcome(
        status=report.status,
        latency_ms=report.latency_ms,
        checked_at=report.checked_at,
        details=report.details,
        already_recorded=True,
    )


def _is_silence(report: Report) -> bool:
    match report.details:
        case {"failed": {"expectation": "report"}, "due_at": str()}:
            return True
    return False


def _shown(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _silence_id(service_name: str, due: datetime) -> UUID:
    """A UUIDv7 (RFC 9562) of the due time, whose random bits are a hash of what is noted."""
    milliseconds = int(due.timestamp() * 1000)
    digest = hashlib.sha256(f"{service_name}\n{due.isoformat()}".encode()).digest()
    bits = int.from_bytes(milliseconds.to_bytes(6, "big") + digest[:10], "big")
    version_and_variant = 0xF000 << 64 | 0xC000 << 48
    return UUID(int=bits & ~version_and_variant | 0x7000 << 64 | 0x8000 << 48)
