"""Several `pulsebase run` on one database: each service has one prober, also after a kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pulsebase import MonitorModel, connect
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pulsebase import Monitor

# Probers of each service in a span of time, without the checks of the first moment after a change.
PROBERS = """
select service_name, array_agg(distinct probe_details ->> 'monitor')
from service_health_checks
where checked_at >= to_timestamp(%s) and checked_at < to_timestamp(%s)
group by service_name
"""
LONGEST_GAPS = """
select extract(epoch from gap)::float8
from (
    select checked_at - lag(checked_at) over (partition by service_name order by checked_at) as gap,
        checked_at
    from service_health_checks
) as gaps
where gap is not null and checked_at >= to_timestamp(%s) and checked_at < to_timestamp(%s)
order by gap desc
"""
NEWEST = """
select count(distinct service_name)
from service_health_checks
where checked_at >= to_timestamp(%s)
"""


class Well(BaseHTTPRequestHandler):
    """Answers every GET with 204."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Takes a burst of connections."""

    request_queue_size = 512


@pytest.fixture
def target() -> Iterator[str]:
    """The URL of an HTTP server that is well."""
    with Server(("127.0.0.1", 0), Well) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@dataclass(frozen=True)
class Pace:
    """How many services, how often, and how long we look on."""

    services: int
    interval_seconds: int
    heartbeat_seconds: int
    watched_seconds: int

    @property
    def takeover_seconds(self) -> int:
        """Within three heartbeats."""
        return 3 * self.heartbeat_seconds


class Fleet:
    """Monitors as processes, on one database and one machine."""

    def __init__(self, url: str, target: str, folder: Path, pace: Pace) -> None:
        self.url = url
        self.pace = pace
        self._target = target
        self._folder = folder
        self._stack = ExitStack()
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, first: int = 0, last: int | None = None, location: str = "") -> None:
        """Start a monitor of that name, with the services from `first` to `last`."""
        self.write(name, first, last, location)
        log = self._stack.enter_context((self._folder / f"{name}.log").open("wb"))
        home = self._folder / "home" / name  # each as if on a machine of its own
        self.running[name] = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "pulsebase", "run", "-c", str(self.file(name))],
                env={**os.environ, "PULSEBASE_URL": self.url, "XDG_STATE_HOME": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        )

    def file(self, name: str) -> Path:
        """The configuration of a monitor."""
        return self._folder / f"{name}.toml"

    def write(self, name: str, first: int = 0, last: int | None = None, location: str = "") -> None:
        """Write it."""
        services = "".join(
            f'[[services]]\nname = "service-{number}"\nurl = "{self._target}"\n'
            for number in range(first, self.pace.services if last is None else last)
        )
        place = f'location = "{location}"\n' if location else ""
        self.file(name).write_text(
            f'[monitor]\nname = "{name}"\n{place}'
            f'heartbeat_interval = "{self.pace.heartbeat_seconds}s"\n'
            f'[defaults]\ninterval = "{self.pace.interval_seconds}s"\ntimeout = "2s"\n'
            f"{services}"
        )

    def monitors(self) -> list[Monitor]:
        """Those that the database knows of and that are there."""
        with connect(self.url) as connection:
            return [each for each in MonitorModel.find_all(connection) if each.gone_at is None]

    def settle(self, *names: str, heartbeats: float = 1.5) -> None:
        """Wait until these share, and each knows of all for so many heartbeats."""
        wait_until(
            lambda: (
                sorted(each.name or "" for each in self.monitors() if each.services_digest)
                == sorted(names)
            ),
            f"{names} are there",
            60,
        )
        self.pass_seconds(heartbeats * self.pace.heartbeat_seconds)

    def sql(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def now(self) -> float:
        """The time, as checks have it: the monitors and the database are on this machine."""
        return time.time()

    def pass_seconds(self, seconds: float) -> float:
        """So many seconds go by; the time after that."""
        until = self.now() + seconds
        wait_until(lambda: self.now() > until, f"{seconds} s go by", seconds + 30)
        return until

    def await_checks_after(self, moment: float, services: int | None = None) -> None:
        """Wait until everything that was probed before this is stored."""
        expected = self.pace.services if services is None else services
        wait_until(
            lambda: self.sql(NEWEST, moment)[0][0] >= expected,
            "every service is probed again",
            3 * self.pace.interval_seconds + 60,
        )

    def probers(self, since: float, until: float) -> dict[str, list[str]]:
        """Who probed each service in this time."""
        return dict(self.sql(PROBERS, since, until))

    def longest_gap_seconds(self, since: float, until: float) -> float:
        """The longest time between two checks of a service, of those that ended in this time."""
        return float(self.sql(LONGEST_GAPS, since, until)[0][0])

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.running.values():
            process.kill()
        self._stack.close()


@contextmanager
def a_fleet(url: str, target: str, folder: Path, pace: Pace) -> Iterator[Fleet]:
    """A fleet without monitors; what it starts is gone afterwards."""
    fleet = Fleet(url, target, folder, pace)
    try:
        yield fleet
    finally:
        fleet.close()


SHORT = Pace(services=120, interval_seconds=2, heartbeat_seconds=1, watched_seconds=4)
LONG = Pace(services=500, interval_seconds=10, heartbeat_seconds=5, watched_seconds=60)
# A turn may begin a little late where the machine is busy, and a look takes its time.
TOLERANCE_SECONDS = 0.5


@pytest.mark.parametrize(
    "pace", [SHORT, pytest.param(LONG, marks=[pytest.mark.soak, pytest.mark.timeout(400)])]
)
def test_each_service_has_one_prober_and_a_killed_one_is_replaced(
    database: str, target: str, tmp_path: Path, pace: Pace
) -> None:
    """Three monitors; one is killed with -9: its share goes on within three heartbeats."""
    with a_fleet(database, target, tmp_path, pace) as fleet:
        for name in ("a", "b", "c"):
            fleet.start(name)
        # Only who has beaten for two and a half intervals may call another one silent.
        fleet.settle("a", "b", "c", heartbeats=3)
        since = fleet.now()
        until = fleet.pass_seconds(pace.watched_seconds)
        fleet.await_checks_after(until)
        steady = fleet.probers(since, until)
        steady_gap = fleet.longest_gap_seconds(since, until)
        assert len(steady) == pace.services
        assert [name for name, who in steady.items() if len(who) != 1] == []

        fleet.running["a"].kill()
        killed = fleet.now()
        orphans = {name for name, who in steady.items() if who == ["a"]}
        ended = fleet.pass_seconds(pace.takeover_seconds + 2 * pace.interval_seconds)
        fleet.await_checks_after(ended)
        gap = fleet.longest_gap_seconds(killed, ended)
        after = fleet.probers(killed + pace.takeover_seconds, ended)
        assert [name for name, who in after.items() if len(who) != 1 or who == ["a"]] == []
        _print_result(steady, orphans, steady_gap, gap, pace)
        assert len(after) == pace.services
        assert steady_gap < pace.interval_seconds + TOLERANCE_SECONDS
        assert gap < pace.interval_seconds + pace.takeover_seconds + TOLERANCE_SECONDS


def _print_result(
    steady: dict[str, list[str]], orphans: set[str], steady_gap: float, gap: float, pace: Pace
) -> None:
    shares = [sum(who == [name] for who in steady.values()) for name in ("a", "b", "c")]
    print(  # noqa: T201 -- the numbers of the acceptance
        f"\n{pace.services} services, {pace.interval_seconds} s, heartbeat"
        f" {pace.heartbeat_seconds} s: shares {shares}, longest gap {steady_gap:.2f} s in"
        f" {pace.watched_seconds} s; after a kill -9 of {len(orphans)} services' prober"
        f" {gap:.2f} s"
    )


def test_one_that_ends_leaves_its_share_and_a_new_one_gets_one(
    database: str, target: str, tmp_path: Path
) -> None:
    """As in a rolling deployment: nothing is left alone for more than an interval and a beat."""
    with a_fleet(database, target, tmp_path, SHORT) as fleet:
        for name in ("a", "b"):
            fleet.start(name)
        fleet.settle("a", "b")
        began = fleet.now()
        fleet.running["a"].send_signal(signal.SIGTERM)
        assert fleet.running["a"].wait(20) == 0
        assert [each.name for each in fleet.monitors()] == ["b"]
        fleet.start("c")
        fleet.settle("b", "c")
        since = fleet.now()
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        assert {len(who) for who in fleet.probers(since, until).values()} == {1}
        assert {who[0] for who in fleet.probers(since, until).values()} == {"b", "c"}
        most = SHORT.interval_seconds + SHORT.takeover_seconds + TOLERANCE_SECONDS
        assert fleet.longest_gap_seconds(began, until) < most


def test_a_killed_process_that_is_started_again_takes_its_place_at_once(
    database: str, target: str, tmp_path: Path
) -> None:
    """As a service manager does it: nobody waits for the heartbeats of the one that died."""
    pace = Pace(services=20, interval_seconds=2, heartbeat_seconds=30, watched_seconds=0)
    with a_fleet(database, target, tmp_path, pace) as fleet:
        fleet.start("a")
        fleet.await_checks_after(0)
        for _ in range(2):
            [dead] = fleet.monitors()
            fleet.running["a"].kill()
            fleet.running["a"].wait()
            fleet.start("a")
            wait_until(
                lambda dead=dead: [each.id for each in fleet.monitors()] not in ([], [dead.id]),  # type: ignore[misc]  # mypy cannot see through the default
                "the new one is there",
                20,
            )
            assert dead.id not in [each.id for each in fleet.monitors()]
            fleet.await_checks_after(fleet.now())


def test_a_paused_process_is_replaced_and_comes_back(
    database: str, target: str, tmp_path: Path
) -> None:
    """As when a machine is suspended; nothing is down because of it, neither then nor later."""
    with a_fleet(database, target, tmp_path, SHORT) as fleet:
        for name in ("a", "b"):
            fleet.start(name)
        fleet.settle("a", "b", heartbeats=3)
        fleet.running["a"].send_signal(signal.SIGSTOP)
        since = fleet.pass_seconds(SHORT.takeover_seconds)
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        assert set(map(tuple, fleet.probers(since, until).values())) == {("b",)}
        fleet.running["a"].send_signal(signal.SIGCONT)
        fleet.settle("a", "b")
        since = fleet.now()
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        found = fleet.probers(since, until)
        assert {len(who) for who in found.values()} == {1}
        assert {who[0] for who in found.values()} == {"a", "b"}
        assert fleet.sql("select * from service_health_checks where status <> 'healthy'") == []


def test_different_files_and_locations(database: str, target: str, tmp_path: Path) -> None:
    """What two files share has one prober, the rest its own; another location probes it all."""
    with a_fleet(database, target, tmp_path, SHORT) as fleet:
        fleet.start("a", 0, 80)
        fleet.start("b", 40, 120)
        fleet.start("far", 0, 120, location="far")
        fleet.settle("a", "b", "far")
        since = fleet.now()
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        found = fleet.probers(since, until)
        for number in range(120):
            near = set(found[f"service-{number}"]) - {"far"}
            assert "far" in found[f"service-{number}"]
            expected = [{"a"}] if number < 40 else [{"b"}] if number >= 80 else [{"a"}, {"b"}]
            assert near in expected, number
        shown = subprocess.run(
            [sys.executable, "-m", "pulsebase", "monitors", "--json", "--url", database],
            capture_output=True,
            check=True,
        )
        told = {each["name"]: each for each in json.loads(shown.stdout)["monitors"]}
        near_counts = [sum(name in who for who in found.values()) for name in ("a", "b", "far")]
        assert [told[name]["probed_count"] for name in ("a", "b", "far")] == near_counts
        assert {each["state"] for each in told.values()} == {"running"}


def test_a_rolling_reload_of_the_file(database: str, target: str, tmp_path: Path) -> None:
    """While one monitor has the new file, it probes what is new; then they share that, too."""
    with a_fleet(database, target, tmp_path, SHORT) as fleet:
        for name in ("a", "b"):
            fleet.start(name, 0, 100)
        fleet.settle("a", "b")
        began = fleet.now()
        fleet.write("a", 0, 120)
        fleet.running["a"].send_signal(signal.SIGHUP)
        wait_until(
            lambda: any(each.service_count == 120 for each in fleet.monitors()), "a has it", 20
        )
        since = fleet.pass_seconds(SHORT.heartbeat_seconds)
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        found = fleet.probers(since, until)
        assert {len(who) for who in found.values()} == {1}
        assert all(found[f"service-{number}"] == ["a"] for number in range(100, 120))
        fleet.write("b", 0, 120)
        fleet.running["b"].send_signal(signal.SIGHUP)
        wait_until(
            lambda: all(each.service_count == 120 for each in fleet.monitors()), "b has it", 20
        )
        since = fleet.pass_seconds(2 * SHORT.heartbeat_seconds)
        until = fleet.pass_seconds(SHORT.interval_seconds + 1)
        fleet.await_checks_after(until)
        found = fleet.probers(since, until)
        assert {len(who) for who in found.values()} == {1}
        assert {found[f"service-{number}"][0] for number in range(100, 120)} == {"a", "b"}
        assert (
            fleet.longest_gap_seconds(began, until) < SHORT.interval_seconds + 1.5
        )  # a turn that is left out makes it twice as long


def test_while_the_database_is_away_each_keeps_its_share(target: str, tmp_path: Path) -> None:
    """For far longer than three heartbeats; and nobody takes anything over at its return."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        migrate(server.url())
        with a_fleet(server.url(), target, tmp_path, SHORT) as fleet:
            for name in ("a", "b", "c"):
                fleet.start(name)
            fleet.settle("a", "b", "c")
            since = fleet.now()
            fleet.await_checks_after(since)
            server.kill()
            fleet.pass_seconds(8 * SHORT.heartbeat_seconds)
            server.start()
            until = fleet.pass_seconds(6 * SHORT.heartbeat_seconds)
            fleet.await_checks_after(until)
            found = fleet.probers(since, until)
            assert len(found) == SHORT.services
            assert [name for name, who in found.items() if len(who) != 1] == []
            gap = fleet.longest_gap_seconds(since, until)
            assert gap < SHORT.interval_seconds + TOLERANCE_SECONDS
