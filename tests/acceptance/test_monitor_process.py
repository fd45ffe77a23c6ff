"""`run`, `check` and `demo` as processes: signals, outages, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql

from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.server_process import scratch_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def command(*arguments: str) -> list[str]:
    """The command line of pulsebase."""
    return [sys.executable, "-m", "pulsebase", *arguments]


def environment(url: str) -> dict[str, str]:
    """This process's environment with one database in it."""
    kept = {name: text for name, text in os.environ.items() if not name.endswith(("_URL", "_KEY"))}
    return {**kept, "PULSEBASE_URL": url}


def run(url: str, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command(*arguments),
        env=environment(url),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def count(url: str, condition: LiteralString = "true") -> int:
    """How many checks there are."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            sql.SQL("select count(*) from service_health_checks where ") + sql.SQL(condition)
        ).fetchone()
    return int(row[0]) if row else 0


class Well(BaseHTTPRequestHandler):
    """Answers every GET with 200."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


@pytest.fixture
def steady() -> Iterator[str]:
    """The URL of an HTTP server that is well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Well) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def config(tmp_path: Path, steady: str) -> Path:
    """A configuration with one healthy service and one that refuses."""
    path = tmp_path / "pulsebase.toml"
    path.write_text(
        f"""
[defaults]
interval = "1s"
timeout = "1s"

[[services]]
name = "steady"
url = "{steady}"

[[services]]
name = "refusing"
url = "http://127.0.0.1:9/"
"""
    )
    return path


def test_check_records_every_service_and_exits_by_the_worst(database: str, config: Path) -> None:
    """2, since one is down; both are in the database."""
    finished = run(database, "check", "-c", str(config), "--json")
    assert finished.returncode == 2, finished.stderr
    statuses = {item["service_name"]: item["status"] for item in json.loads(finished.stdout)}
    assert statuses == {"steady": "healthy", "refusing": "down"}
    assert count(database) == 2


def test_check_of_one_name_exits_zero(database: str, config: Path) -> None:
    """Only the named service is probed."""
    finished = run(database, "check", "-c", str(config), "steady")
    assert finished.returncode == 0, finished.stderr
    assert "healthy" in finished.stdout
    assert count(database) == 1


def test_check_of_an_unknown_name_suggests_the_nearest(database: str, config: Path) -> None:
    """Not known, not down: and what was probably meant."""
    finished = run(database, "check", "-c", str(config), "stedy")
    assert finished.returncode == 3
    assert 'did you mean "steady"?' in finished.stderr
    assert count(database) == 0


def test_check_of_an_unknown_name_names_a_screenful_of_many(tmp_path: Path) -> None:
    """Of 1,000 services, twenty."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(
        "".join(
            f'[[services]]\nname = "service-{number}"\nurl = "http://127.0.0.1:9/"\n'
            for number in range(1000)
        )
    )
    finished = run("postgresql://127.0.0.1:9/nobody", "check", "-c", str(config), "zzz")
    assert finished.returncode == 3
    assert "there are: service-0, service-1, " in finished.stderr
    assert "service-19 and 980 more" in finished.stderr


def test_check_without_a_database_shows_what_it_saw_and_says_unknown(config: Path) -> None:
    """Healthy but not recorded is 3; the reason is one line."""
    url = "postgresql://127.0.0.1:9/nobody"
    finished = run(url, "check", "-c", str(config), "steady")
    assert finished.returncode == 3
    assert "healthy" in finished.stdout
    [line] = finished.stderr.splitlines()
    assert line.startswith("error: nothing was recorded: cannot reach PostgreSQL at 127.0.0.1:9")


def test_run_without_tables_says_what_to_run(empty_database: str, config: Path) -> None:
    """Somebody's database is not migrated without being asked."""
    finished = run(empty_database, "run", "-c", str(config))
    assert finished.returncode == 1
    [line] = finished.stderr.splitlines()
    assert "pulsebase db migrate" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_cleanly_and_records_what_it_saw(
    database: str, config: Path, number: signal.Signals
) -> None:
    """Exit 0, no traceback, and the last checks are stored."""
    with subprocess.Popen(
        command("run", "-c", str(config)),
        env=environment(database),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: count(database) >= 4, "both services are recorded twice", 30)
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "refusing is down" in errors


def test_run_survives_its_database(config: Path) -> None:
    """The database is away for a while: no false `down`, and no gap in what was seen."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)]) as server:
        migrate(server.url())
        with subprocess.Popen(
            command("run", "-c", str(config), "--connect-timeout", "2s"),
            env=environment(server.url()),
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                wait_until(lambda: count(server.url()) >= 2, "the first checks are there", 30)
                server.kill()
                assert process.stderr is not None
                wait_until(
                    lambda: "cannot record" in process.stderr.readline(),  # type: ignore[union-attr]  # just asserted
                    "the monitor notices",
                    30,
                )
                server.start()
                before = count(server.url())
                wait_until(
                    lambda: count(server.url(), "created_at - checked_at > '1 second'") > 0,
                    "what was seen during the outage is stored with its true time",
                    60,
                )
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=30)
            finally:
                process.kill()
        assert process.returncode == 0
        assert count(server.url()) > before
        assert count(server.url(), "service_name = 'steady' and status <> 'healthy'") == 0
        assert longest_gap_seconds(server.url(), "steady") < 2.5


def longest_gap_seconds(url: str, name: str) -> float:
    """The longest time between two checks of a service."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select extract(epoch from max(gap)) from (select checked_at - lag(checked_at)"
            " over (order by checked_at) as gap from service_health_checks"
            " where service_name = %s) as gaps",
            (name,),
        ).fetchone()
    assert row is not None
    return float(row[0])


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files that the account of a private PostgreSQL can enter, too."""
    with scratch_folder("demo") as folder:
        yield folder


def test_demo_ends_by_itself_and_removes_everything(temporary: Path) -> None:
    """Exit 0; the steady service was healthy throughout; no server, no folder stays behind."""
    finished = subprocess.run(
        command("demo", "--for", "6s"),
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "steady is healthy" in finished.stderr
    row = re.search(r"steady +(\d+) +(\d+) +(\d+)", finished.stdout)
    assert row, finished.stdout
    healthy, degraded, down = map(int, row.groups())
    assert (healthy > 2, degraded, down) == (True, 0, 0)
    assert list(temporary.iterdir()) == []


def test_demo_ends_with_zero_at_ctrl_c(temporary: Path) -> None:
    """As a terminal sends it: to the whole process group."""
    with subprocess.Popen(
        command("demo"),
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stderr is not None
            lines = process.stderr
            wait_until(lambda: "steady is healthy" in lines.readline(), "the demo watches", 60)
            os.killpg(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "what the database remembers" in output
    assert list(temporary.iterdir()) == []
