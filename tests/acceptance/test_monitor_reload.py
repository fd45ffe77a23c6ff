"""`run` takes over what its configuration file says now; who did not change notices nothing."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance.test_monitor_process import command, environment
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

TOKEN = "secret-9d41c07e5a"  # noqa: S105 -- made up, to see that it is nowhere shown


class Gate(BaseHTTPRequestHandler):
    """Answers 200; below `/closed`, only to who says the right word."""

    word = "open"

    def do_GET(self) -> None:
        """Answer."""
        is_right = self.path != "/closed" or self.headers.get("Authorization") == Gate.word
        self.send_response(200 if is_right else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


@pytest.fixture
def gate() -> Iterator[str]:
    """The URL of the server, without a path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Gate) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Running:
    """A monitor that runs, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def said(self) -> str:
        """Everything on stderr so far."""
        return self._said.read_text(errors="replace")

    def says(self, words: str, *, times: int = 1) -> None:
        """Wait until it has said so."""
        wait_until(lambda: self.said.count(words) >= times, f"it says {words!r}", 30)


@contextmanager
def monitor(database: str, config: Path, said: Path) -> Iterator[Running]:
    """A monitor that runs while the block does, and ends well."""
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            command("run", "-c", str(config)),
            env=environment(database),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        running = Running(process, said)
        try:
            yield running
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, running.said
        finally:
            process.kill()
    assert "Traceback" not in running.said
    assert TOKEN not in running.said


def service(name: str, url: str, *lines: str) -> str:
    """One table of the file; every second, which shows every gap."""
    text = [f'name = "{name}"', f'url = "{url}"', 'interval = "1s"', *lines]
    return "\n".join(["[[services]]", *text, ""])


def times(database: str, name: str) -> list[datetime]:
    """When a service was looked at."""
    with psycopg.connect(database) as connection:
        return [
            moment
            for (moment,) in connection.execute(
                "select checked_at from service_health_checks where service_name = %s order by 1",
                (name,),
            )
        ]


def statuses(database: str, name: str) -> Counter[str]:
    """How often a service was healthy, degraded or down."""
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "select status from service_health_checks where service_name = %s", (name,)
        )
        return Counter(status for (status,) in rows)


def sees(database: str, name: str, *, rows: int) -> None:
    """Wait until so many rows of a service are there."""
    wait_until(lambda: len(times(database, name)) >= rows, f"{rows} rows of {name}", 40)


def assert_steady(moments: list[datetime]) -> None:
    """A row for each second, none missing and none beside."""
    gaps = [(after - before).total_seconds() for before, after in pairwise(moments)]
    assert min(gaps) > 0.5, gaps
    assert max(gaps) < 1.5, gaps


def replaced(path: Path, text: str) -> None:
    """Put a new file into the place of the old one, as editors do."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def test_an_edit_adds_removes_and_changes_while_the_others_keep_their_rhythm(
    database: str, gate: str, tmp_path: Path
) -> None:
    """One row a second for what stayed; nothing more for what is gone."""
    config = tmp_path / "pulsebase.toml"
    before = service("stays", gate) + service("goes", gate) + service("turns", f"{gate}/closed")
    after = service("stays", gate) + service("turns", gate) + service("comes", gate)
    config.write_text(before)
    with monitor(database, config, tmp_path / "said") as running:
        sees(database, "stays", rows=3)
        replaced(config, after)
        running.says("services: 1 new, 1 gone, 1 changed, 1 undisturbed")
        gone_after = len(times(database, "goes")) + 2  # one under way, one not yet recorded
        sees(database, "comes", rows=4)
        wait_until(lambda: statuses(database, "turns")["healthy"] > 2, "it has turned", 20)
    assert len(times(database, "goes")) <= gone_after
    assert statuses(database, "turns")["down"] > 0
    assert_steady(times(database, "stays"))
    assert running.said.count("was read again") == 1


def test_a_wrong_edit_is_refused_once_and_the_old_one_goes_on(
    database: str, gate: str, tmp_path: Path
) -> None:
    """Every problem is told with its line; the right file is taken over as soon as it is there."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(service("stays", gate))
    with monitor(database, config, tmp_path / "said") as running:
        sees(database, "stays", rows=2)
        replaced(config, service("stays", gate, "intervall = 3") + service("stays", "nowhere"))
        running.says("was refused; the one before goes on")
        sees(database, "stays", rows=len(times(database, "stays")) + 6)
        replaced(config, service("stays", gate) + service("comes", gate))
        sees(database, "comes", rows=2)
    assert f"{config}:5: unknown key" in running.said
    assert f"{config}:8: url" in running.said
    assert running.said.count("was refused") == 1
    assert_steady(times(database, "stays"))


def test_sighup_reads_a_changed_secret_at_once(database: str, gate: str, tmp_path: Path) -> None:
    """It does not end the process, and the secret is nowhere shown."""
    secret = tmp_path / "token"
    secret.write_text("not the word\n")
    config = tmp_path / "pulsebase.toml"
    header = 'headers = { Authorization = "${file:token}" }'
    config.write_text(service("closed", f"{gate}/closed", header) + service("stays", gate))
    Gate.word = TOKEN
    with monitor(database, config, tmp_path / "said") as running:
        wait_until(lambda: statuses(database, "closed")["down"] > 1, "the gate is closed", 30)
        secret.write_text(f"{TOKEN}\n")
        running.process.send_signal(signal.SIGHUP)
        running.says("services: 0 new, 0 gone, 1 changed, 1 undisturbed")
        wait_until(lambda: statuses(database, "closed")["healthy"] > 1, "the gate is open", 30)
        running.process.send_signal(signal.SIGHUP)
        running.says("nothing in")
    assert_steady(times(database, "stays"))


def test_a_changed_secret_is_noticed_without_a_signal(
    database: str, gate: str, tmp_path: Path
) -> None:
    """Also as Kubernetes does it: the file stays a link, and a link in its path is swapped."""
    for number, word in ((1, "not the word"), (2, TOKEN)):
        folder = tmp_path / f"..data_{number}"
        folder.mkdir()
        (folder / "token").write_text(word)
        (folder / "pulsebase.toml").write_text(
            service("closed", f"{gate}/closed", 'headers = { Authorization = "${file:token}" }')
        )
    (tmp_path / "..data").symlink_to("..data_1")
    for name in ("token", "pulsebase.toml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    Gate.word = TOKEN
    with monitor(database, tmp_path / "pulsebase.toml", tmp_path / "said") as running:
        wait_until(lambda: statuses(database, "closed")["down"] > 1, "the gate is closed", 30)
        (tmp_path / "..data_tmp").symlink_to("..data_2")
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")
        wait_until(lambda: statuses(database, "closed")["healthy"] > 1, "the gate is open", 30)
    assert running.said.count("was read again") == 1


def test_what_needs_a_new_start_is_told(database: str, gate: str, tmp_path: Path) -> None:
    """The rest of the same edit is taken over."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(service("stays", gate))
    with monitor(database, config, tmp_path / "said") as running:
        sees(database, "stays", rows=1)
        keys = '[monitor]\nspool_limit = "2MiB"\nheartbeat_interval = "9s"\nconcurrency = 7\n'
        config.write_text(f'[database]\nurl = "{database}"\n{keys}' + service("comes", gate))
        running.says("restart to apply: ")
        sees(database, "comes", rows=1)
    remark = re.search(r"restart to apply: (.*)", running.said)
    assert remark
    assert "[database], heartbeat_interval in [monitor], spool_limit in [monitor]" in remark[1]
    assert "concurrency" not in remark[1]


def test_it_says_what_it_watches_and_may_open_many_files(
    database: str, gate: str, tmp_path: Path
) -> None:
    """The soft limit of open files is the hard one."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(service("stays", gate))
    with monitor(database, config, tmp_path / "said") as running:
        running.says(f"{config}: 1 service (1 http); recording to postgresql://")
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        row = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.MULTILINE)
        assert row
        assert row[1] == row[2]
        sees(database, "stays", rows=1)


def test_sighup_while_it_starts_does_not_end_it(gate: str, tmp_path: Path) -> None:
    """Whoever reloads a service that has just been started."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(f'[monitor]\nspool = "spool"\n{service("stays", gate)}')
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://127.0.0.1:{silent.getsockname()[1]}/nothing"
        with monitor(url, config, tmp_path / "said") as running:
            asking, _ = silent.accept()
            with asking:  # it asks whether the tables are there, and waits for an answer
                running.process.send_signal(signal.SIGHUP)
                running.says("not recording yet")


def test_closing_its_terminal_ends_it(database: str, gate: str, tmp_path: Path) -> None:
    """SIGHUP without a terminal any more is no wish to reload."""
    config = tmp_path / "pulsebase.toml"
    config.write_text(service("stays", gate))
    process_id, terminal = pty.fork()
    if process_id == 0:
        arguments = command("run", "-c", str(config))
        os.execve(arguments[0], arguments, environment(database))  # noqa: S606 -- our own command line
    try:
        sees(database, "stays", rows=2)
        os.close(terminal)
        wait_until(lambda: os.waitpid(process_id, os.WNOHANG)[0], "it has ended", 30)
    except BaseException:
        os.kill(process_id, signal.SIGKILL)
        os.waitpid(process_id, 0)
        raise
