from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pulsebase import HealthCheckModel, connect
from tests.acceptance.cli_process import environment, pulsebase, pulsebase_on_terminal, started

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE = "evil\u202egnp.exe\u200b[red]x[/red]:smile:"
WIDE = "日本語サービス・監視対象・決済"
DETAILS = {"error": {"message": "\x1b]0;owned\x07\x1b[2J\x9b31m\u2066[bold]"}}
COLOR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def hostile_database(database: str) -> str:
    """A database whose texts want to harm a terminal."""
    with connect(database) as connection:
        for name in (HOSTILE, WIDE, "plain"):
            HealthCheckModel.create(
                connection,
                service_name=name,
                status="down",
                latency_ms=1234,
                checked_at=datetime.now(UTC),
                probe_details=DETAILS,
            )
    return database


COMMANDS = [("status",), ("history", HOSTILE), ("history", WIDE), ("history", "nobody" + HOSTILE)]


def unsafe(text: str) -> Iterator[str]:
    """The characters that a terminal obeys or hides, line ends apart."""
    return (c for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs"})


@pytest.mark.parametrize("command", COMMANDS, ids=["status", "history", "wide", "error"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_that_a_terminal_obeys_reaches_a_pipe(
    hostile_database: str, command: tuple[str, ...], form: str
) -> None:
    more = ["--json"] if form == "json" else []
    ended = pulsebase(*command, *more, "--url", hostile_database)
    assert not list(unsafe(ended.everything))


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize("command", COMMANDS, ids=["status", "history", "wide", "error"])
def test_a_terminal_gets_colours_and_nothing_else(
    hostile_database: str, command: tuple[str, ...], columns: int
) -> None:
    ended = pulsebase_on_terminal(*command, "--url", hostile_database, columns=columns)
    shown = COLOR.sub("", re.sub(r"\x1b\[(?:\?25[lh]|1A|2K)|\r", "", ended.out))
    assert not list(unsafe(shown))
    if command == ("status",):
        assert columns == 40 or "[red]x[/red]:smile:" in shown, "markup is text"
        assert all(width(line) <= columns for line in shown.splitlines())


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("columns", [20, 40])
def test_a_narrow_terminal_keeps_every_service_and_status(
    hostile_database: str, columns: int
) -> None:
    ended = pulsebase_on_terminal("status", "--url", hostile_database, columns=columns)
    shown = COLOR.sub("", ended.out)
    assert shown.count("down") == 3
    assert "plain" in shown


@pytest.mark.parametrize("quiet", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_switched_off(hostile_database: str, quiet: dict[str, str]) -> None:
    coloured = pulsebase_on_terminal("status", "--url", hostile_database)
    plain = pulsebase_on_terminal("status", "--url", hostile_database, env=quiet)
    option = pulsebase_on_terminal("status", "--no-color", "--url", hostile_database)
    colours = re.compile(r"\x1b\[[0-9;]*3[0-7]")
    assert colours.search(coloured.out)
    assert not colours.search(plain.out)
    assert not colours.search(option.out)


@pytest.mark.parametrize(
    "locale",
    [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1", "LANG": "C"}],
)
def test_any_locale_gets_the_whole_answer(hostile_database: str, locale: dict[str, str]) -> None:
    ended = pulsebase("status", "--url", hostile_database, env=locale)
    assert (ended.code, ended.err) == (2, "")
    assert len(ended.out.splitlines()) == 4
    document = json.loads(pulsebase("status", "--json", "--url", hostile_database, env=locale).out)
    assert {service["service_name"] for service in document["services"]} == {HOSTILE, WIDE, "plain"}
    missing = pulsebase("history", "Ärger", "--url", hostile_database, env=locale)
    assert missing.code == 1


def test_a_closed_pipe_is_nobodys_error(database: str) -> None:
    with connect(database) as connection:
        for _ in range(300):
            HealthCheckModel.create(
                connection, service_name="a", status="down", probe_details={"text": "x" * 900}
            )
    with started("history", "a", "--all", "--json", "--url", database) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"{\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 141


def test_a_full_disk_is_told(hostile_database: str) -> None:

    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [sys.executable, "-m", "pulsebase", "status", "--url", hostile_database],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr == b"error: cannot read or write: No space left on device\n"
