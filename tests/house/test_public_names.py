from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pulsebase
from pulsebase import errors

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", pulsebase.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(pulsebase, name) is not None
    assert name in dir(pulsebase)


def test_every_error_is_public() -> None:
    assert set(errors.__all__) <= set(pulsebase.__all__)


def test_the_names_are_in_order() -> None:
    assert sorted(set(pulsebase.__all__)) == pulsebase.__all__


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pulsebase.nonsense  # noqa: B018 -- reading it is the test


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pulsebase.__version__ == project["version"]


def imported_by(statement: str) -> set[str]:
    """The modules that a new interpreter has imported after the statement."""
    script = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    command = [sys.executable, "-c", script]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


HEAVY = {"httpx", "psycopg", "click", "rich", "structlog", "pydantic", "pycurl", "tenacity", "ssl"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not imported_by("import pulsebase") & (HEAVY | {"pulsebase.connection", "asyncio"})


def test_a_model_without_a_connection_imports_no_transport() -> None:
    assert not imported_by("from pulsebase import NewHealthCheck") & HEAVY


def test_the_help_page_imports_no_command_and_nothing_heavy() -> None:
    seen = imported_by(
        "from pulsebase.cli.app import run; import io, sys; out = sys.stdout; "
        "sys.stdout = io.StringIO(); run(['--help']); sys.stdout = out"
    )
    assert not seen & (HEAVY - {"click"})
    assert "pulsebase.cli.status" not in seen
    assert "pulsebase.connection" not in seen
