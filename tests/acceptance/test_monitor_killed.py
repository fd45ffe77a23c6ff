"""kill -9 at any moment loses what is under way or younger than a second, and nothing else."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
import time
from bisect import bisect_left
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Literal, TypeAlias

import psutil
import psycopg
import pytest

from tests.acceptance.monitor_process import monitoring, rows
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.probe_target import ProbeTarget, unrecorded
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SERVICES, INTERVAL_SECONDS = 100, 2
A_SECOND = SERVICES // INTERVAL_SECONDS
YOUNG_SECONDS = 1.0
UNDER_WAY_SECONDS = 0.3

Weather: TypeAlias = Literal["up", "locked", "away", "halted"]
WEATHERS: tuple[Weather, ...] = ("up", "locked", "away", "up", "halted", "away")


class Database:
    """A server that is up, away, or hangs in one of two ways."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._ending = ExitStack()

    def turn(self, weather: Weather) -> None:
        """Make it so, whatever it was."""
        self._ending.close()
        match weather:
            case "up":
                pass
            case "locked":
                holder = self._ending.enter_context(psycopg.connect(self._server.url()))
                holder.execute("lock table service_health_checks in access exclusive mode")
            case "away":
                self._server.kill()
                self._ending.callback(self._server.start)
            case "halted":
                postmaster = psutil.Process(self._server.process.process_id)
                for process in [postmaster, *postmaster.children(recursive=True)]:
                    process.suspend()
                    self._ending.callback(process.resume)


def spooled_ids(folder: Path, scratch: Path) -> set[str]:
    """The ids of the checks on disk, read from a copy: the files stay as the crash left them."""
    ids: set[str] = set()
    if not folder.exists():
        return ids
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder, scratch)
    for path in scratch.glob("*.sqlite3"):
        with closing(sqlite3.connect(path)) as connection:
            if connection.execute("select 1 from sqlite_master").fetchone():
                found = connection.execute("select row from healthy union select row from unwell")
                ids |= {row[7:43] for (row,) in found}
    return ids


def ages_at_kills(looks: Sequence[tuple[float, str]], killed_at: Sequence[float]) -> list[float]:
    """How old each look was when the process that made it was killed, where one was.

    What was under way to the target is seen there after the death of who sent it. No process makes
    its first look so soon after the death of the one before.
    """
    ages: list[float] = []
    for looked_at, _ in looks:
        death = bisect_left(killed_at, looked_at - UNDER_WAY_SECONDS)
        if death < len(killed_at):
            ages.append(killed_at[death] - looked_at)
    return ages


def stored_ids(url: str) -> list[str]:
    """The ids of all rows."""
    with psycopg.connect(url) as connection:
        found = connection.execute("select id::text from service_health_checks").fetchall()
    return [identifier for (identifier,) in found]


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(5, id="5 times"),
        pytest.param(50, id="50 times", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_kill_9_loses_only_what_is_under_way_or_younger_than_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rounds: int
) -> None:
    """The database is up, hanging and away in turn; at the end all that was safe is there."""
    chance = random.Random()  # noqa: S311 -- moments, no secrets
    servers = available_servers()
    configuration, spool = tmp_path / "pulsebase.toml", tmp_path / "spool"
    killed_at: list[float] = []
    safe: set[str] = set()
    with ProbeTarget() as target, PostgresServer(servers[max(servers)], fsync=True) as server:
        url = server.url()
        migrate(url)
        more = f'[monitor]\nspool = "{spool}"\nheartbeat_interval = "1s"\n'
        target.write_configuration(
            configuration, services=SERVICES, interval_seconds=INTERVAL_SECONDS, more=more
        )
        database = Database(server)
        for number in range(rounds):
            with monitoring(configuration, url, tmp_path / f"log-{number}") as process:
                begun = target.looks
                wait_until(lambda: target.looks > begun + A_SECOND // 5, "it probes", 60)  # noqa: B023 -- waited for here
                database.turn(WEATHERS[number % len(WEATHERS)])
                until = target.looks + chance.randrange(A_SECOND * 3)
                wait_until(lambda: target.looks >= until, "its moment has come", 60)  # noqa: B023 -- waited for here
                process.kill()
                process.wait()
                killed_at.append(time.time())
            safe |= spooled_ids(spool, tmp_path / "copy")
        database.turn("up")
        last_log = tmp_path / "log-last"
        with monitoring(configuration, url, last_log) as process:
            begun = target.looks
            wait_until(lambda: target.looks > begun + A_SECOND, "it probes", 60)
            process.terminate()
            assert process.wait(60) == 0
        stored = stored_ids(url)
        missing = unrecorded(target.seen, rows(url))
    ages = ages_at_kills(missing, killed_at)
    logs = [path.read_text() for path in tmp_path.glob("log-*")]
    with capsys.disabled():
        print(  # noqa: T201 -- the numbers of the acceptance
            f"\nkilled {rounds} times: {target.looks} looks, {len(stored)} rows,"
            f" {len(safe)} of them were on disk at a kill; {len(ages)} looks lost,"
            f" the oldest {max(ages, default=0):.2f} s before its kill"
        )
    assert len(stored) == len(set(stored))
    assert safe <= set(stored)
    assert safe
    assert max(ages, default=0) < YOUNG_SECONDS
    assert len(missing) - len(ages) <= SERVICES // 10  # under way when the last one was stopped
    assert not any(re.search("damaged|Traceback|cannot keep", log) for log in logs)
    assert list(spool.iterdir()) == []
