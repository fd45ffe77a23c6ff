"""A kind of probe from somebody else's package, as the page about it says: installed, then used."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-a-probe-kind.md"


def block(language: str) -> str:
    """The first code block of the page in a language."""
    found = re.search(
        rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return found[1]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the page's package in it, laid out as an installer does."""
    site = tmp_path / "site"
    about = site / "fresh_file-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "fresh_file.py").write_text(block("python"))
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fresh-file\nVersion: 1.0\n")
    points = tomllib.loads(block("ini"))["project"]["entry-points"]["pulsebase.probes"]
    lines = [f"{name} = {target}" for name, target in points.items()]
    (about / "entry_points.txt").write_text("\n".join(["[pulsebase.probes]", *lines, ""]))
    return site


def check(site: Path, url: str, configuration: str) -> subprocess.CompletedProcess[str]:
    """Run `pulsebase check` where that folder is searched for packages."""
    path = site.parent / "pulsebase.toml"
    path.write_text(configuration)
    return subprocess.run(
        [sys.executable, "-m", "pulsebase", "--json", "check", "-c", str(path)],
        env={**os.environ, "PYTHONPATH": str(site), "PULSEBASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_kind_of_a_package_is_used_like_ours(site: Path, database: str) -> None:
    dump = site.parent / "dump.sql"
    configuration = block("toml").replace("/var/backups/dump.sql", str(dump))
    missing = check(site, database, configuration)
    assert missing.returncode == 2, missing.stderr
    dump.write_text("-- all of it\n")
    fresh = check(site, database, configuration)
    assert fresh.returncode == 0, fresh.stderr
    [seen] = json.loads(fresh.stdout)
    assert (seen["service_name"], seen["status"]) == ("nightly dump", "healthy")


def test_its_keys_are_checked_when_the_file_is_read(site: Path, database: str) -> None:
    relative = check(site, database, block("toml").replace("/var/backups/dump.sql", "dump.sql"))
    assert "path in [[services]] " in relative.stderr
    assert "must be a whole path, from / on" in relative.stderr
    misspelt = check(site, database, block("toml").replace("newer_than", "newer_then"))
    assert 'did you mean "newer_than"?' in misspelt.stderr


def run(site: Path, program: str) -> Any:
    """The JSON that a program prints, with that folder searched for packages."""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(finished.stdout)


def test_it_cannot_replace_one_of_ours(site: Path) -> None:
    points = site / "fresh_file-1.0.dist-info" / "entry_points.txt"
    points.write_text("[pulsebase.probes]\nhttp = fresh_file:FreshFileProbe\n")
    program = (
        "import json; from pulsebase.probes import load_probe_kind;"
        "print(json.dumps(load_probe_kind('http').__name__))"
    )
    assert run(site, program) == "HttpProbe"


def test_one_that_cannot_be_loaded_names_its_package(site: Path, database: str) -> None:
    (site / "fresh_file.py").write_text("1 / 0\n")
    broken = check(site, database, block("toml"))
    assert broken.returncode == 3
    assert "fresh-file cannot be loaded (ZeroDivisionError" in broken.stderr
