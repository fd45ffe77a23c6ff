"""`check-config` as a process: what it says of right and wrong files, and its exit codes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.test_monitor_process import command

if TYPE_CHECKING:
    from pathlib import Path

RIGHT = """
[[services]]
name = "site"
url = "http://site.example/"

[[services]]
name = "port"
kind = "tcp"
host = "port.example"
port = 1

[[services]]
name = "other"
url = "http://other.example/"
"""
WRONG = '[[services]]\nname = "site"\nul = "http://site.example/"\ninterval = 3\n'


def check_config(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder, to its end."""
    return subprocess.run(
        command("check-config", *arguments),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_right_file_has_no_problems(tmp_path: Path) -> None:
    """How many services, and of which kinds."""
    (tmp_path / "pulsebase.toml").write_text(RIGHT)
    finished = check_config(tmp_path)
    assert finished.returncode == 0
    assert finished.stderr == ""
    assert [line.split() for line in finished.stdout.splitlines()] == [
        ["pulsebase.toml:", "3", "services,", "no", "problems"],
        ["kind", "services"],
        ["http", "2"],
        ["tcp", "1"],
    ]


ALERTING = """
[alerts]
open_after = 5
[[alerts.policies]]
services = ["db-*"]
open_after = "5m"
[[channels]]
name = "ops"
url = "https://hook.example/"
[[routes]]
channels = ["ops"]
[[maintenance]]
name = "nightly"
from = "02:00"
until = "03:00"
"""


def test_what_there_is_of_alerting_is_counted(tmp_path: Path) -> None:
    """Channels, routes, maintenance windows and policies, that of [alerts] itself too."""
    (tmp_path / "pulsebase.toml").write_text(RIGHT + ALERTING)
    finished = check_config(tmp_path)
    assert finished.returncode == 0
    assert finished.stdout.startswith(
        "pulsebase.toml: 3 services, 1 channel, 1 route, 1 maintenance window, 2 policies, "
        "no problems"
    )


def test_every_problem_is_a_line(tmp_path: Path) -> None:
    """In the order of the file, in a form that editors can jump by."""
    (tmp_path / "a.toml").write_text(WRONG)
    finished = check_config(tmp_path, "-c", "a.toml")
    assert finished.returncode == 1
    assert [line.partition(" ")[0] for line in finished.stdout.splitlines()] == [
        "a.toml:1:",
        "a.toml:3:",
        "a.toml:4:",
    ]
    assert finished.stderr == ""


def test_json_holds_the_same(tmp_path: Path) -> None:
    """For CI."""
    (tmp_path / "right.toml").write_text(RIGHT)
    (tmp_path / "wrong.toml").write_text(WRONG)
    right = check_config(tmp_path, "-c", "right.toml", "--json")
    assert right.returncode == 0
    assert json.loads(right.stdout) == {
        "ok": True,
        "file": "right.toml",
        "services": 3,
        "kinds": {"http": 2, "tcp": 1},
        "policies": 0,
        "channels": 0,
        "routes": 0,
        "maintenance_windows": 0,
        "problems": [],
    }
    wrong = check_config(tmp_path, "--json", "-c", "wrong.toml")
    assert wrong.returncode == 1
    document = json.loads(wrong.stdout)
    assert document["ok"] is False
    assert [problem["line"] for problem in document["problems"]] == [1, 3, 4]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "there is no such file"),
        ("a = [", "pulsebase.toml:1:6: not valid TOML"),
        ("\x00", "not valid TOML"),
    ],
)
def test_what_is_no_file_is_one_problem(tmp_path: Path, text: str | None, said: str) -> None:
    """Not there, or no TOML."""
    if text is not None:
        (tmp_path / "pulsebase.toml").write_text(text)
    finished = check_config(tmp_path)
    assert finished.returncode == 1
    [line] = finished.stdout.splitlines()
    assert said in line


def test_wrong_usage_exits_with_two(tmp_path: Path) -> None:
    """As everywhere."""
    assert check_config(tmp_path, "--schem").returncode == 2
    assert check_config(tmp_path, "extra").returncode == 2
