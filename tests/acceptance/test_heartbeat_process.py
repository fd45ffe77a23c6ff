"""A job that reports by the command line, watched by real monitors over a real database."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.requirement import require
from tests.support.server_process import scratch_folder
from tests.support.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "watch-a-cron-job.md"
BIN = Path(sys.executable).parent
NAME = "nightly backup"
WATCHED = f"""
[[services]]
name = "{NAME}"
kind = "heartbeat"
period = "1h"
grace = "1s"
interval = "1s"
"""


def environment(url: str) -> dict[str, str]:
    kept = {name: text for name, text in os.environ.items() if not name.endswith(("_URL", "_KEY"))}
    return {**kept, "PULSEBASE_URL": url, "PATH": f"{BIN}:{os.environ['PATH']}"}


def pulsebase(url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "pulsebase", *arguments],
        env=environment(url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def checks(url: str) -> list[dict[str, Any]]:
    with psycopg.connect(url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(
            "select status, checked_at, created_at, latency_ms, probe_details"
            " from service_health_checks order by checked_at"
        ).fetchall()


def report(url: str, age: timedelta) -> datetime:
    """Let the job report as it would have so long ago."""
    checked_at = datetime.now(UTC) - age
    told = pulsebase(url, "record", NAME, "healthy", "--checked-at", checked_at.isoformat())
    assert told.returncode == 0, told.stderr
    return checked_at


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "pulsebase.toml"
    path.write_text(WATCHED)
    return path


def test_the_first_check_on_a_new_embedded_database_awaits_a_report(configuration: Path) -> None:
    """It has to be made, started and migrated first, which takes longer than a look may."""
    with scratch_folder("heartbeat") as folder:
        told = pulsebase(f"embedded://{folder}/data", "check", "--config", configuration)
    assert told.returncode == 3
    assert "no report yet" in told.stdout


def test_check_tells_a_report_from_a_silence(database: str, configuration: Path) -> None:
    check = ("--json", "check", "--config", configuration)
    assert pulsebase(database, *check).returncode == 3, "nothing is known without any report"
    reported_at = report(database, timedelta(minutes=75))
    for _ in range(2):
        silent = pulsebase(database, *check)
        assert silent.returncode == 2, silent.stderr
        assert len(checks(database)) == 2, "the silence is noted once"
    noted = checks(database)[-1]
    assert noted["status"] == "down"
    assert noted["checked_at"] == reported_at + timedelta(hours=1)
    assert noted["latency_ms"] is None
    report(database, timedelta(0))
    back = pulsebase(database, *check)
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)[0]["status"] == "healthy"
    assert len(checks(database)) == 3


def test_several_monitors_note_a_silence_once(database: str, tmp_path: Path) -> None:
    reported_at = report(database, timedelta(minutes=75))
    with ExitStack() as monitors:
        for place in ("Frankfurt", "Dublin"):
            path = tmp_path / f"{place}.toml"
            path.write_text(f'[monitor]\nlocation = "{place}"\n{WATCHED}')
            log = monitors.enter_context((tmp_path / f"{place}.log").open("w"))
            monitor = subprocess.Popen(
                [BIN / "pulsebase", "run", "--config", path],
                env={**environment(database), "STATE_DIRECTORY": str(tmp_path / place)},
                stdout=log,
                stderr=log,
            )
            monitors.callback(monitor.wait, 30)
            monitors.callback(monitor.terminate)

        def both_saw() -> bool:
            logs = [path.read_text() for path in tmp_path.glob("*.log")]
            return len(logs) == 2 and all(" down" in log for log in logs)

        wait_until(both_saw, "both monitors saw the silence", 30)
        wait_until(lambda: len(checks(database)) >= 2, "it is noted", 30)
    rows = checks(database)
    assert [row["status"] for row in rows] == ["healthy", "down"]
    assert rows[-1]["checked_at"] == reported_at + timedelta(hours=1)


def shell(page: Path) -> str:
    """What the page tells a job to run, one block after another."""
    blocks = re.findall(r"^```bash\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return "\n".join(blocks)


@pytest.mark.parametrize(("job", "status"), [("true", "healthy"), ("false", "down")])
def test_the_shell_of_the_page_reports_how_the_job_ended(
    job: str, status: str, database: str
) -> None:
    require("bash is not installed", shutil.which("bash"))
    script = shell(PAGE).replace("/usr/local/bin/backup", job)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=environment(database),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert {row["status"] for row in checks(database)} == {status}


def test_the_sql_of_the_page_is_a_report(database: str, configuration: Path) -> None:
    [statement] = re.findall(
        r"^```sql\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())
    assert pulsebase(database, "check", "--config", configuration).returncode == 0
