"""500 migration files: our command against the real dbmate, whole processes on the same server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench.harness import Comparison, in_turn
from tests.support.node_parts import DBMATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.support.postgres_server import PostgresServer

_FILES = 500
_ROUNDS = 5
_SQL = "create table bench_{number:03} (id integer primary key, name text not null);\n"


def migrating(server: PostgresServer, folder: Path) -> list[Comparison]:
    """Apply 500 files to an empty database, and find nothing to do; seconds for the command."""
    ours, theirs = _write_files(folder)
    pulsebase = [sys.executable, "-m", "pulsebase", "db", "migrate", "--dir", str(ours), "--url"]
    dbmate = [str(DBMATE), "--migrations-dir", str(theirs), "--no-dump-schema", "--url"]
    done: dict[str, str] = {}

    def applying(name: str, command: Callable[[str], Sequence[str]]) -> Callable[[], float]:
        def apply() -> float:
            database = server.create_database()
            done[name] = server.url(database)
            return _seconds(command(done[name]))

        return apply

    def run_pulsebase(url: str) -> Sequence[str]:
        return [*pulsebase, url]

    def run_dbmate(url: str) -> Sequence[str]:
        return [*dbmate, f"{url}?sslmode=disable", "migrate"]

    applied = in_turn(_ROUNDS, applying("ours", run_pulsebase), applying("theirs", run_dbmate))
    nothing = in_turn(
        _ROUNDS,
        lambda: _seconds(run_pulsebase(done["ours"])),
        lambda: _seconds(run_dbmate(done["theirs"])),
    )
    return [
        Comparison(
            name=name,
            peer="dbmate",
            unit="s",
            ours=mine,
            theirs=others,
            target=target,
            less_is_better=True,
        )
        for name, (mine, others), target in (
            (f"{_FILES} migrations, apply", applied, 1.0),
            (f"{_FILES} migrations, nothing to do", nothing, None),
        )
    ]


def _write_files(folder: Path) -> tuple[Path, Path]:
    ours, theirs = folder / "pulsebase", folder / "dbmate"
    ours.mkdir()
    theirs.mkdir()
    for number in range(1, _FILES + 1):
        text = _SQL.format(number=number)
        (ours / f"{number:03}_create_bench_{number:03}.sql").write_text(text)
        (theirs / f"20260101{number:06}_create_bench.sql").write_text(
            f"-- migrate:up\n{text}-- migrate:down\n"
        )
    return ours, theirs


def _seconds(command: Sequence[str]) -> float:
    started_at = time.perf_counter()
    finished = subprocess.run(
        command, capture_output=True, text=True, check=False, env=_environment()
    )
    elapsed = time.perf_counter() - started_at
    if finished.returncode:
        msg = f"{command[0]} failed: {finished.stderr}"
        raise RuntimeError(msg)
    return elapsed


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
