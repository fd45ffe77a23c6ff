"""What the pages show works: their Python runs, their TOML is accepted, their SQL is valid."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from pulsebase.monitor.configuration import load_configuration

ROOT = Path(__file__).parents[2]
RUNNABLE = ("README.md", "docs/tutorial/first-hour.md")


# What the pages leave to the environment.
ENVIRONMENT = {
    "OPS_WEBHOOK": "https://hooks.example/ops",
    "OPS_WEBHOOK_SECRET": "sixteen or more characters",
    "MAIL_LOGIN": "login:password",
}
CONTINUED = "# pulsebase.toml, continued\n"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in one language; one that continues another, together with it."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        found[number - 1] + block if block.startswith(CONTINUED) else block
        for number, block in enumerate(found)
    ]


def cases(language: str) -> list[object]:
    """Each block of the runnable pages, named by page and number."""
    return [
        pytest.param(block, id=f"{page}-{number}")
        for page in RUNNABLE
        for number, block in enumerate(blocks(page, language), start=1)
    ]


@pytest.mark.parametrize("block", cases("python"))
def test_python_runs(block: str, database: str) -> None:
    """As a program of its own, on the database that the environment names."""
    kept = {name: text for name, text in os.environ.items() if not name.endswith(("_URL", "_KEY"))}
    finished = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        env={**kept, "DATABASE_URL": database},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""


@pytest.mark.parametrize("block", cases("toml"))
def test_toml_is_accepted(block: str, tmp_path: Path) -> None:
    """By the reader of the configuration file."""
    path = tmp_path / "pulsebase.toml"
    path.write_text(block, encoding="utf-8")
    assert load_configuration(path, environ=ENVIRONMENT).services


def test_the_grants_for_an_application_role_are_enough(database: str) -> None:
    """A role with what the page grants can record and read, and alerts are opened."""
    recording, _ = blocks("docs/howto/application-role.md", "sql")
    with psycopg.connect(database) as connection:
        connection.execute("create role app")
        connection.execute(recording.encode())
        connection.execute("set local role app")
        for _ in range(3):
            connection.execute("select create_health_check('a', 'down')")
        for verb in ("find_health_checks('a')", "find_active_alert_events('a')"):
            found = connection.execute(f"select {verb}".encode()).fetchone()
            assert found is not None
            assert found[0], verb
        connection.rollback()  # the role would outlive the database


def test_the_grants_for_a_monitors_role_are_enough(database: str) -> None:
    """For the calls of each layer of alerting."""
    _, monitoring = blocks("docs/howto/application-role.md", "sql")
    with psycopg.connect(database) as connection:
        connection.execute("create role monitor")
        connection.execute(monitoring.encode())
        connection.execute("set local role monitor")
        for verb in (
            "create_health_check('a', 'down')",
            'publish_monitored_services(\'[{"service_name": "a"}]\')',
            'publish_alert_channels(\'[{"name": "ops", "group_window_seconds": 0}]\', \'[]\')',
            "evaluate_health_checks()",
            "claim_alert_messages(gen_random_uuid(), array['ops'])",
            "find_alert_acts()",
            "find_monitors()",
        ):
            assert connection.execute(f"select {verb}".encode()).fetchone(), verb
        connection.rollback()


def test_every_page_is_linked_from_the_readme() -> None:
    """And every link of the README leads to a page."""
    linked = set(re.findall(r"\((docs/[^)#]+\.md)\)", (ROOT / "README.md").read_text("utf-8")))
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    assert linked == there
