"""A job reports in, or its silence is noted; over a real database, and while there is none."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import pulsebase
from pulsebase.errors import InvalidValueError
from pulsebase.models.health_check import HealthCheckModel, NewHealthCheck
from pulsebase.monitor.reachability import Reachability
from pulsebase.monitor.reports import DatabaseReports
from pulsebase.probes import ProbeTools, UnknownHealthError
from pulsebase.probes.heartbeat import HeartbeatProbe
from pulsebase.probes.support.reports import Reports
from tests.support.looking import a_look
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.requirement import require
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pulsebase.connection import AsyncConnection
    from pulsebase.probes import Outcome

HOURLY = HeartbeatProbe(period=timedelta(hours=1), grace=timedelta(minutes=10))
HOUR = timedelta(hours=1)


class Watcher:
    """A monitor's view: one connection, and tools that live as long."""

    def __init__(
        self, connection: AsyncConnection, tools: ProbeTools, reports: DatabaseReports
    ) -> None:
        self.connection = connection
        self.tools = tools
        self.reports = reports

    async def look(
        self, probe: HeartbeatProbe, service_name: str = "backup", timeout_seconds: float = 5
    ) -> Outcome:
        look = a_look(self.tools, service_name=service_name, timeout_seconds=timeout_seconds)
        return await probe.probe(look)

    async def unknown(self, probe: HeartbeatProbe) -> str:
        with pytest.raises(UnknownHealthError) as caught:
            await self.look(probe)
        return str(caught.value)

    async def known(self, probe: HeartbeatProbe) -> Outcome:
        """The first outcome, once the doubt is over."""
        found: list[Outcome] = []

        async def noticed() -> bool:
            with suppress(UnknownHealthError):
                found.append(await self.look(probe))
            return bool(found)

        await wait_until_async(noticed, "something is known of the job")
        return found[0]

    async def report(self, age: timedelta, **values: Any) -> datetime:
        check = await HealthCheckModel.create(
            self.connection,
            service_name="backup",
            checked_at=datetime.now(UTC) - age,
            **{"status": "healthy", **values},
        )
        return check.checked_at

    async def note(self, outcome: Outcome, service_name: str = "backup") -> int:
        """Store an outcome as the recorder does; how many rows are new."""
        assert outcome.id is not None
        check = NewHealthCheck(
            service_name=service_name,
            status=outcome.status,
            latency_ms=outcome.latency_ms,
            checked_at=outcome.checked_at,
            probe_details=outcome.details,
            id=outcome.id,
        )
        stored = await HealthCheckModel.create_many(self.connection, checks=[check])
        return stored.inserted


@asynccontextmanager
async def watching(url: str, reachability: Reachability | None = None) -> AsyncIterator[Watcher]:
    async with pulsebase.connect_async(url, connect_timeout_seconds=2) as connection:
        reports = DatabaseReports(connection, reachability)
        async with ProbeTools(given={Reports: reports}) as tools:
            yield Watcher(connection, tools, reports)


async def test_a_report_in_time_is_shown_and_not_stored_again(database: str) -> None:
    async with watching(database) as watcher:
        reported_at = await watcher.report(
            timedelta(minutes=5), status="degraded", latency_ms=31, probe_details={"rows": 7}
        )
        outcome = await watcher.look(HOURLY)
    assert outcome.already_recorded
    assert (outcome.status, outcome.latency_ms) == ("degraded", 31)
    assert outcome.checked_at == reported_at
    assert outcome.details == {"rows": 7}


async def test_a_plain_insert_of_any_program_is_a_report(database: str) -> None:
    with psycopg.connect(database) as job:
        job.execute(
            "insert into service_health_checks (service_name, status) values ('backup', 'healthy')"
        )
    async with watching(database) as watcher:
        outcome = await watcher.look(HOURLY)
    assert outcome.status == "healthy"
    assert outcome.already_recorded


async def test_silence_is_down_and_dated_when_the_report_was_due(database: str) -> None:
    async with watching(database) as watcher:
        reported_at = await watcher.report(timedelta(minutes=75))
        outcome = await watcher.look(HOURLY)
    assert (outcome.status, outcome.latency_ms) == ("down", None)
    assert outcome.checked_at == reported_at + HOUR
    assert outcome.details["due_at"] == (reported_at + HOUR).isoformat()
    failed = outcome.details["failed"]
    assert failed["expectation"] == "report"
    assert failed["got"].startswith("none since ")
    assert not outcome.already_recorded


async def test_nothing_is_missed_before_the_grace_is_over(database: str) -> None:
    async with watching(database) as watcher:
        await watcher.report(timedelta(minutes=69))
        assert (await watcher.look(HOURLY)).status == "healthy"
        patient = HeartbeatProbe(period=HOUR, grace=timedelta(minutes=5))
        assert (await watcher.look(patient)).status == "down"


async def test_monitors_and_restarts_store_a_silence_once(database: str) -> None:
    async with watching(database) as one, watching(database) as other:
        await one.report(timedelta(minutes=75))
        seen = [await watcher.look(HOURLY) for watcher in (one, other, one)]
        assert seen[0] == seen[1] == seen[2]
        assert [await one.note(outcome) for outcome in seen] == [1, 0, 0]
        again = await other.look(HOURLY)
    assert again.already_recorded
    assert again.status == "down"
    assert again.details == seen[0].details


async def test_the_id_of_a_silence_is_a_uuid_of_version_7_at_its_due_time(database: str) -> None:
    async with watching(database) as watcher:
        due_at = await watcher.report(timedelta(minutes=75)) + HOUR
        outcome = await watcher.look(HOURLY)
    assert outcome.id is not None
    assert outcome.id.version == 7
    assert outcome.id.variant == "specified in RFC 4122"
    assert outcome.id.int >> 80 == int(due_at.timestamp() * 1000)


async def test_services_that_are_due_together_have_ids_of_their_own(database: str) -> None:
    moment = datetime.now(UTC) - timedelta(minutes=75)
    async with watching(database) as watcher:
        for name in ("backup", "report"):
            await HealthCheckModel.create(
                watcher.connection, service_name=name, status="healthy", checked_at=moment
            )
        backup = await watcher.look(HOURLY)
        report = await watcher.look(HOURLY, "report")
    assert backup.checked_at == report.checked_at
    assert backup.id != report.id


async def test_a_long_silence_begins_at_the_first_due_time_and_then_goes_on_at_the_last(
    database: str,
) -> None:
    async with watching(database) as watcher:
        reported_at = await watcher.report(timedelta(days=7, minutes=15))
        first = await watcher.look(HOURLY)
        assert first.checked_at == reported_at + HOUR
        await watcher.note(first)
        second = await watcher.look(HOURLY)
        assert second.checked_at == reported_at + timedelta(days=7)
        await watcher.note(second)
        assert (await watcher.look(HOURLY)).already_recorded
        rows = await HealthCheckModel.find_by_service(watcher.connection, "backup")
    assert len(rows) == 3


async def test_a_late_report_ends_the_silence(database: str) -> None:
    async with watching(database) as watcher:
        await watcher.report(timedelta(minutes=75))
        await watcher.note(await watcher.look(HOURLY))
        await watcher.report(timedelta(0))
        outcome = await watcher.look(HOURLY)
    assert outcome.status == "healthy"
    assert outcome.already_recorded


async def test_without_any_report_the_wait_begins_with_the_watching(database: str) -> None:
    probe = HeartbeatProbe(period=timedelta(seconds=1), grace=timedelta(seconds=1))
    before = datetime.now(UTC)
    async with watching(database) as watcher:
        assert "no report yet" in await watcher.unknown(HOURLY)
        outcome = await watcher.known(probe)
    assert before + probe.grace <= outcome.checked_at <= datetime.now(UTC) - probe.grace
    assert outcome.details["failed"]["got"] == "none yet"


async def test_silence_counts_only_a_grace_after_the_database_is_known_to_be_there(
    database: str,
) -> None:
    probe = HeartbeatProbe(period=HOUR, grace=timedelta(seconds=1))
    async with watching(database, Reachability()) as watcher:
        await watcher.report(timedelta(minutes=75))
        assert "the database may have been away" in await watcher.unknown(probe)
        outcome = await watcher.known(probe)
    assert outcome.status == "down"


async def test_a_failed_call_of_anybody_puts_silence_in_doubt(database: str) -> None:
    reachability = Reachability()
    probe = HeartbeatProbe(period=HOUR, grace=timedelta(seconds=1))
    async with watching(database, reachability) as watcher:
        await watcher.report(timedelta(minutes=75))
        reachability.failed()
        assert "the database may have been away" in await watcher.unknown(probe)


async def test_a_job_is_never_down_for_a_database_that_is_away() -> None:
    servers = available_servers()
    require("no PostgreSQL server found", servers)
    reachability = Reachability()
    probe = HeartbeatProbe(period=timedelta(seconds=1), grace=timedelta(seconds=1))
    with PostgresServer(servers[max(servers)]) as server:
        migrate(server.url())
        async with watching(server.url(), reachability) as watcher:
            await watcher.report(timedelta(0))
            assert (await watcher.look(probe)).status == "healthy"
            server.stop()
            stopped_at = datetime.now(UTC)
            assert "cannot be read" in await watcher.unknown(probe)
            assert reachability.since is None
            # Long enough for several reports to be due while nobody could give one.
            await wait_until_async(
                lambda: datetime.now(UTC) > stopped_at + timedelta(seconds=4), "time goes by"
            )
            server.start()
            back_at = datetime.now(UTC)
            outcome = await watcher.known(probe)
    assert outcome.status == "down"
    assert outcome.checked_at > back_at - probe.grace
    assert outcome.checked_at - stopped_at > timedelta(seconds=2)


async def test_without_a_database_nothing_is_known() -> None:
    async with ProbeTools() as tools:
        with pytest.raises(UnknownHealthError, match="needs the database"):
            await HOURLY.probe(a_look(tools))


async def test_an_unreachable_database_is_our_own_trouble() -> None:
    async with watching(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing") as watcher:
        assert "cannot be read" in await watcher.unknown(HOURLY)


async def test_a_database_that_says_nothing_ends_the_look_in_time() -> None:
    class Silent(Reports):
        async def newest(self, service_name: str) -> None:
            del service_name
            await asyncio.Event().wait()

    async with ProbeTools(given={Reports: Silent()}) as tools:
        with pytest.raises(UnknownHealthError, match=r"did not answer within 0\.1 s"):
            await HOURLY.probe(a_look(tools, timeout_seconds=0.1))


@pytest.mark.parametrize("heartbeats", [3, 120])
async def test_heartbeats_of_one_moment_share_their_reads(database: str, heartbeats: int) -> None:
    names = [f"job {number}" for number in range(heartbeats)]
    async with watching(database) as watcher:
        checks = [NewHealthCheck(service_name=name, status="healthy") for name in names]
        await HealthCheckModel.create_many(watcher.connection, checks=checks)
        outcomes = await asyncio.gather(*(watcher.look(HOURLY, name) for name in names))
    assert [outcome.checked_at for outcome in outcomes] == [check.checked_at for check in checks]


async def test_a_look_that_is_given_up_leaves_the_others_alone(database: str) -> None:
    async with watching(database) as watcher:
        await watcher.report(timedelta(0))
        looks = [asyncio.create_task(watcher.look(HOURLY)) for _ in range(3)]
        await asyncio.sleep(0)
        looks[1].cancel()
        first, given_up, last = await asyncio.gather(*looks, return_exceptions=True)
        assert isinstance(given_up, asyncio.CancelledError)
        assert first == last
        assert (await watcher.look(HOURLY)).status == "healthy"


async def test_closing_ends_the_looks_that_still_read(database: str) -> None:
    async with watching(database) as watcher:
        look = asyncio.create_task(watcher.look(HOURLY))
        await asyncio.sleep(0)
    with pytest.raises((asyncio.CancelledError, UnknownHealthError)):
        await look


@pytest.mark.parametrize(
    ("keys", "field", "bound"),
    [
        ({}, "period", "one of the two"),
        ({"period": HOUR, "cron": "0 * * * *"}, "period", "one of the two"),
        ({"period": timedelta(milliseconds=5)}, "period", "at least 1s"),
        ({"period": HOUR, "grace": timedelta(0)}, "grace", "at least 1s"),
        ({"period": HOUR, "timezone": "Europe/Berlin"}, "timezone", "left out"),
        ({"cron": "0 2 * * *", "timezone": "Europe/Berln"}, "timezone", "IANA"),
        ({"cron": "0 2 * * *", "timezone": "../../etc/passwd"}, "timezone", "IANA"),
        ({"cron": "@daily"}, "cron", "five fields"),
        ({"cron": "0 0 2 * * *"}, "cron", "five fields"),
        ({"cron": "61 * * * *"}, "cron", "valid minute"),
        ({"cron": "0 0 30 2 *"}, "cron", "valid day of month"),
        ({"cron": "0 0 1 FOO *"}, "cron", "valid month"),
    ],
)
def test_keys_that_cannot_work_are_refused(keys: dict[str, Any], field: str, bound: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        HeartbeatProbe(**keys)
    assert caught.value.field == field
    assert bound in caught.value.bound
