"""The loop in the real process: whose turn it is, whose failure it is, and who hears of our end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from threading import Event, Thread
from typing import TYPE_CHECKING, ClassVar, Self

import psycopg
import pytest

from pulsebase.monitor.looking.schedule import phase_seconds
from tests.acceptance.test_monitor_process import command, environment
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.server_process import free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Answering(BaseHTTPRequestHandler):
    """Answers 200 to everything and keeps count."""

    asked: ClassVar[list[tuple[datetime, str]]] = []

    def do_GET(self) -> None:
        """Answer."""
        Answering.asked.append((datetime.now(UTC), self.path))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815 -- the base's name

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base's name
        """Say nothing."""


class Site:
    """An HTTP server that goes away and comes back on the same port."""

    def __init__(self, host: str = "127.0.0.1", *, handler: type[Answering] = Answering) -> None:
        self.host = host
        self._handler = handler
        self.port = free_port()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def start(self) -> None:
        self._server = ThreadingHTTPServer((self.host, self.port), self._handler)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        Answering.asked.clear()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@pytest.fixture
def hanging() -> Iterator[int]:
    """The port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        yield listener.getsockname()[1]


class Running:
    """A monitor that runs, and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def says(self, words: str, timeout_seconds: float = 30) -> None:
        wait_until(lambda: words in self.said, f"it says {words!r}", timeout_seconds)


@contextmanager
def monitor(url: str, folder: Path, config: str, **environ: str) -> Iterator[Running]:
    """`pulsebase run` while the block runs; it ends well."""
    said, path = folder / "said", folder / "pulsebase.toml"
    path.write_text(f'[defaults]\ninterval = "1s"\ntimeout = "1s"\n{config}')
    keys = {**environment(url), "XDG_STATE_HOME": str(folder), **environ}
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            command("run", "-c", str(path)),
            env=keys,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        ) as process,
    ):
        running = Running(process, said)
        try:
            yield running
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, running.said
        finally:
            process.kill()


def service(name: str, url: str, *lines: str) -> str:
    return "\n".join(["[[services]]", f'name = "{name}"', f'url = "{url}"', *lines, ""])


def rows(url: str, name: str) -> list[tuple[float, str]]:
    """When a service was looked at, in seconds since 1970, and what it was."""
    with psycopg.connect(url) as connection:
        return [
            (float(moment), status)
            for moment, status in connection.execute(
                "select extract(epoch from checked_at), status from service_health_checks"
                " where service_name = %s order by checked_at",
                (name,),
            )
        ]


def statuses(url: str, name: str) -> list[str]:
    return [status for _, status in rows(url, name)]


def has_rows(url: str, name: str, count: int, timeout_seconds: float = 40) -> None:
    wait_until(lambda: len(rows(url, name)) >= count, f"{count} rows of {name}", timeout_seconds)


def gaps(url: str, name: str) -> list[float]:
    return [after - before for (before, _), (after, _) in pairwise(rows(url, name))]


def test_a_server_that_hangs_takes_no_turn_from_another(
    database: str, tmp_path: Path, hanging: int
) -> None:
    """Forty services of the one want four seconds each for every second that there is."""
    keys = "[monitor]\nconcurrency = 8\nhost_concurrency = 4\n"
    slow = (
        service(f"slow-{n}", f"http://127.0.0.1:{hanging}/", 'interval = "4s"', 'timeout = "4s"')
        for n in range(40)
    )
    with Site("127.0.0.2") as site:
        config = keys + "".join([*slow, service("quick", site.url)])
        with monitor(database, tmp_path, config) as running:
            has_rows(database, "quick", 9)
            running.says("turns began over a second late")
    assert max(gaps(database, "quick")) < 1.5
    assert set(statuses(database, "quick")) == {"healthy"}
    with psycopg.connect(database) as connection:
        downs = connection.execute(
            "select count(*), count(distinct service_name) from service_health_checks"
            " where service_name like 'slow-%' and status = 'down'"
        ).fetchone()
    # They are not forgotten: each has its turn, one of them at a time.
    assert downs is not None
    assert downs[0] >= 4
    assert downs[0] == downs[1], "nobody twice before everybody once"


def test_while_the_network_is_away_nothing_is_recorded_as_down(
    database: str, tmp_path: Path
) -> None:
    """And a service that is really down is, before and after."""
    closed = f"http://127.0.0.1:{free_port()}/"
    with Site() as network, Site() as shop:
        keys = f'[monitor]\nconnectivity = ["{network.url}", "tcp://127.0.0.1:{free_port()}"]\n'
        config = keys + service("shop", shop.url) + service("closed", closed)
        with monitor(database, tmp_path, config) as running:
            wait_until(lambda: "down" in statuses(database, "closed"), "a real failure counts", 30)
            has_rows(database, "shop", 2)
            network.stop()
            shop.stop()
            running.says("this monitor's own network is away")
            wait_until(lambda: "shop is unknown" in running.said, "it is shown as unknown", 15)
            away_at = datetime.now(UTC).timestamp()
            shop.start()
            wait_until(
                lambda: rows(database, "shop")[-1][0] > away_at, "what is well is recorded", 15
            )
            network.start()
            running.says("network is back")
            back_at = datetime.now(UTC).timestamp()
            wait_until(
                lambda: any(at > back_at for at, _ in rows(database, "closed")),
                "what is down is recorded again",
                20,
            )
    assert set(statuses(database, "shop")) == {"healthy"}
    assert not [at for at, _ in rows(database, "closed") if away_at < at < back_at - 1]
    assert set(statuses(database, "closed")) == {"down"}


def test_the_dead_man_is_called_after_good_cycles_and_not_while_the_database_is_away(
    tmp_path: Path,
) -> None:
    servers = available_servers()

    def calls() -> int:
        return sum(path == "/hidden-path" for _, path in Answering.asked)

    with Site() as site, PostgresServer(servers[max(servers)]) as server:
        migrate(server.url())
        keys = f'[monitor]\ndead_man_url = "{site.url}hidden-path"\ndead_man_interval = "1s"\n'
        with monitor(server.url(), tmp_path, keys + service("shop", site.url)) as running:
            wait_until(lambda: calls() >= 2, "two calls", 30)
            server.kill()
            running.says("no call to the dead man's switch: ")
            before, looks = calls(), len(Answering.asked)
            wait_until(lambda: len(Answering.asked) > looks + 3, "it goes on probing", 30)
            assert calls() == before
            server.start()
            running.says("the dead man's switch is called again", 60)
            wait_until(lambda: calls() > before, "it is called again", 30)
    assert "hidden-path" not in running.said


KINDS = """
import asyncio
import time
from dataclasses import dataclass

from pulsebase.probes import Look, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RaisingProbe:
    host: str | None = None

    async def probe(self, look: Look) -> Outcome:
        raise LookupError("a mistake in somebody's kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class HangingProbe:
    host: str | None = None

    async def probe(self, look: Look) -> Outcome:
        await asyncio.Event().wait()
"""


def install_kinds(folder: Path) -> None:
    """What `pip install` leaves behind for a package with two kinds of probe."""
    (folder / "somebodys_kinds.py").write_text(KINDS)
    information = folder / "somebodys_kinds-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[pulsebase.probes]\n"
        "raising = somebodys_kinds:RaisingProbe\n"
        "hanging = somebodys_kinds:HangingProbe\n"
    )


def test_kinds_that_hang_or_raise_are_told_of_and_never_recorded(
    database: str, tmp_path: Path
) -> None:
    """They take neither the turns of others nor a place for ever."""
    install_kinds(tmp_path)
    config = "[monitor]\nconcurrency = 4\n" + "".join(
        f'[[services]]\nname = "{kind}-{n}"\nkind = "{kind}"\n'
        for kind in ("raising", "hanging")
        for n in range(3)
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (
        Site() as site,
        monitor(database, tmp_path, config + service("shop", site.url), PYTHONPATH=path) as running,
    ):
        has_rows(database, "shop", 5)
        running.says("it did not end within its timeout of 1 s")
        assert "(raising) broke: LookupError" in running.said
        assert "hanging-0 is unknown" in running.said
    with psycopg.connect(database) as connection:
        names = connection.execute("select distinct service_name from service_health_checks")
        assert names.fetchall() == [("shop",)]
    assert max(gaps(database, "shop")) < 2.5


def test_after_a_failure_looks_come_faster_and_the_regular_turns_stay(
    database: str, tmp_path: Path
) -> None:
    lines = 'interval = "4s"', 'retry_interval = "1s"'
    closed = f"http://127.0.0.1:{free_port()}/"
    with Site() as site:
        config = service("shop", site.url, *lines) + service("closed", closed, *lines)
        with monitor(database, tmp_path, config):
            has_rows(database, "closed", 8)
            has_rows(database, "shop", 2)
    assert all(gap == pytest.approx(4, abs=0.5) for gap in gaps(database, "shop"))
    phase = phase_seconds("closed", 4)
    beside = [(at - phase) % 4 for at, _ in rows(database, "closed")]
    # Turn, then one, two and three seconds after it; then the next turn in its place.
    assert all(abs(moment - round(moment)) < 0.5 for moment in beside)
    assert {round(moment) for moment in beside} == {0, 1, 2, 3}
    assert all(gap == pytest.approx(1, abs=0.5) for gap in gaps(database, "closed"))


def test_after_a_stop_of_the_process_missed_turns_are_left_out(
    database: str, tmp_path: Path
) -> None:
    """As when a machine is suspended: no burst, everybody in his place again."""
    names = [f"shop-{number}" for number in range(20)]
    with Site() as site:
        config = "".join(service(name, site.url) for name in names)
        with monitor(database, tmp_path, config) as running:
            has_rows(database, "shop-0", 2)
            running.process.send_signal(signal.SIGSTOP)
            stopped_at = time.time()
            wait_until(lambda: time.time() > stopped_at + 4, "four seconds go by")
            running.process.send_signal(signal.SIGCONT)
            woken_at = time.time()
            wait_until(lambda: time.time() > woken_at + 3, "three more do")
    for name in names:
        moments = [at for at, _ in rows(database, name)]
        assert not [at for at in moments if stopped_at + 0.1 < at < woken_at]
        assert 2 <= len([at for at in moments if at > woken_at]) <= 4
        for at in moments:
            beside = (at - phase_seconds(name, 1)) % 1
            assert min(beside, 1 - beside) < 0.4


class Waiting(Answering):
    """Answers when it is told to."""

    is_asked: ClassVar[Event] = Event()
    may_answer: ClassVar[Event] = Event()

    def do_GET(self) -> None:
        """Answer, but not yet."""
        Waiting.is_asked.set()
        Waiting.may_answer.wait(30)
        with suppress(OSError):  # it may have been given up
            super().do_GET()


def test_a_look_during_which_the_process_was_stopped_is_no_failure(
    database: str, tmp_path: Path
) -> None:
    """The server answered in time; it was us who did not read it."""
    Waiting.is_asked.clear()
    Waiting.may_answer.clear()
    with (
        Site(handler=Waiting) as site,
        monitor(
            database, tmp_path, service("shop", site.url, 'degraded_above = "700ms"')
        ) as running,
    ):
        assert Waiting.is_asked.wait(30)
        running.process.send_signal(signal.SIGSTOP)
        Waiting.may_answer.set()
        stopped_at = time.time()
        wait_until(lambda: time.time() > stopped_at + 3, "three times the timeout goes by")
        running.process.send_signal(signal.SIGCONT)
        running.says("this monitor stood still for ")
        has_rows(database, "shop", 3)
    assert set(statuses(database, "shop")) == {"healthy"}


def test_checks_say_which_monitor_made_them(database: str, tmp_path: Path) -> None:
    with Site() as site:
        config = '[monitor]\nname = "north"\nlocation = "Oslo"\n' + service("shop", site.url)
        with monitor(database, tmp_path, config):
            has_rows(database, "shop", 1)
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "select distinct probe_details ->> 'monitor', probe_details ->> 'location'"
            " from service_health_checks"
        )
        assert found.fetchall() == [("north", "Oslo")]
