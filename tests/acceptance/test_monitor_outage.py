"""The database is away while 200 probes a second go on: every one of them is stored, once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance.monitor_process import ask, monitoring, rows, stored
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.probe_target import ProbeTarget, unrecorded
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

SERVICES, INTERVAL_SECONDS = 1000, 5
A_SECOND = SERVICES // INTERVAL_SECONDS
REPLAYED = "every check that was kept is in the database"


def crash_in_mid_batch(server: PostgresServer) -> None:
    """Kill the server with -9 while an INSERT is at work."""
    # Not as a context manager: there is nobody left to say goodbye to.
    holder = psycopg.connect(server.url(), autocommit=True)
    holder.execute("begin; lock table service_health_checks in share mode")
    wait_until(
        lambda: (
            holder.execute(
                "select count(*) > 0 from pg_stat_activity where wait_event_type = 'Lock'"
            ).fetchone()
            == (True,)
        ),
        "a batch is in the middle",
        30,
    )
    server.kill()
    holder.close()


@pytest.mark.parametrize(
    "away_seconds",
    [
        pytest.param(10.0, id="ten seconds"),
        pytest.param(120.0, id="two minutes", marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_no_probe_is_lost_doubled_or_made_up_while_the_database_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], away_seconds: float
) -> None:
    """Killed with -9 in mid-batch, then stopped: no false `down`, and every probe has its row."""
    servers = available_servers()
    configuration, log = tmp_path / "pulsebase.toml", tmp_path / "log"
    with ProbeTarget() as target, PostgresServer(servers[max(servers)], fsync=True) as server:
        url = server.url()
        migrate(url)
        more = f'[monitor]\nspool = "{tmp_path / "spool"}"\n'
        target.write_configuration(
            configuration, services=SERVICES, interval_seconds=INTERVAL_SECONDS, more=more
        )
        with monitoring(configuration, url, log) as process:
            wait_until(
                lambda: process.poll() is not None or stored(url) > SERVICES, "it records", 60
            )
            assert process.poll() is None, log.read_text()
            crash_in_mid_batch(server)
            server.start()
            before = stored(url)
            wait_until(lambda: stored(url) > before + A_SECOND, "it records again", 60)
            server.stop()
            looks_before = target.looks
            looks_awaited = looks_before + A_SECOND * away_seconds
            wait_until(lambda: target.looks >= looks_awaited, "probes go on", away_seconds * 3)
            looks_meanwhile = target.looks - looks_before
            replays = log.read_text().count(REPLAYED)
            server.start()
            wait_until(lambda: log.read_text().count(REPLAYED) > replays, "all is replayed", 120)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
        missing = unrecorded(target.seen, rows(url))
        count, ids, unwell = ask(
            url,
            "select count(*), count(distinct id), count(*) filter (where status <> 'healthy')"
            " from service_health_checks",
        )
        gap, median = ask(
            url,
            "select extract(epoch from max(created_at - checked_at))::float8,"
            " extract(epoch from percentile_cont(0.5)"
            " within group (order by created_at - checked_at))::float8 from service_health_checks",
        )
    ended = max(max(times) for times in target.seen.values())
    lost = [look for look in missing if look[0] < ended - 1]
    with capsys.disabled():
        print(  # noqa: T201 -- the numbers of the acceptance
            f"\n{target.looks} looks in all, {looks_meanwhile} while the database was stopped;"
            f" {count} rows, {count - ids} twice, {unwell} not healthy, {len(lost)} lost"
            f" ({len(missing)} under way at the end); created_at - checked_at: at most {gap:.1f} s,"
            f" median {median:.2f} s"
        )
    assert unwell == 0
    assert lost == []
    assert len(missing) <= SERVICES  # the last look at each service may have been under way
    assert count == ids
    assert count == target.looks - len(missing)
    assert away_seconds - 2 < gap < away_seconds * 2 + 30
    assert list((tmp_path / "spool").iterdir()) == []
