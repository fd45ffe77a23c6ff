"""When a changed file is taken over: each look is made by hand, so that nothing hangs on time."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pulsebase.monitor.configuration import Configuration, load_configuration
from pulsebase.monitor.reload import Reloading, needing_restart
from tests.support.waiting import wait_until_async
from tests.unit.configuration_file import MINIMAL

pytestmark = pytest.mark.anyio

FILE = Path("pulsebase.toml")
MORE = MINIMAL + '[[services]]\nname = "b"\nurl = "http://b.example/"\n'


def write(text: str, name: str = "pulsebase.toml") -> None:
    """Write into the current folder."""
    Path(name).write_text(text)


def remove() -> None:
    """Remove the configuration file."""
    FILE.unlink()


@dataclass
class Watched:
    """A file that is watched, and what came of it."""

    reloading: Reloading
    applied: list[Configuration] = field(default_factory=list[Configuration])

    async def looks(self, times: int) -> None:
        """Look so often."""
        for _ in range(times):
            await self.reloading._turn()

    @property
    def names(self) -> list[list[str]]:
        """The services of each configuration that was taken over."""
        return [[service.name for service in found.services] for found in self.applied]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.chdir(tmp_path)
    return watching(MINIMAL)


def watching(text: str) -> Watched:
    write(text)
    found = load_configuration(FILE, environ={})
    applied: list[Configuration] = []
    return Watched(Reloading(FILE, found, environ={}, apply=applied.append), applied)


async def test_a_file_that_stays_is_never_read_again(watched: Watched) -> None:
    await watched.looks(5)
    os.utime(FILE, (1, 1))
    await watched.looks(5)
    assert watched.applied == []


async def test_a_change_counts_when_two_looks_agree(watched: Watched) -> None:
    write(MORE)
    await watched.looks(1)
    assert watched.applied == []
    await watched.looks(4)
    assert watched.names == [["a", "b"]]


async def test_a_file_that_is_being_written_is_waited_for(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    for length in range(len(MINIMAL), len(MORE), 7):
        write(MORE[:length])
        await watched.looks(1)
    write(MORE)
    await watched.looks(3)
    assert watched.names == [["a", "b"]]
    assert caplog.records == []


async def test_a_file_that_changes_while_it_is_read_is_not_taken_over(watched: Watched) -> None:
    write(MORE)
    await watched.looks(1)
    agreed = watched.reloading._seen
    write(MORE.replace('"b"', '"c"'))
    await watched.reloading._read(agreed)
    assert watched.applied == []
    await watched.looks(3)
    assert watched.names == [["a", "c"]]


async def test_a_wrong_file_is_told_once_for_each_content(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    write(MINIMAL + "x = 1\ny = 2\n")
    await watched.looks(6)
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    assert "pulsebase.toml:4: unknown key" in caplog.text
    write("[")
    await watched.looks(6)
    remove()
    await watched.looks(6)
    assert caplog.text.count("was refused") == 3
    assert "there is no such file" in caplog.text
    assert watched.applied == []
    write(MORE)
    await watched.looks(2)
    assert watched.names == [["a", "b"]]


async def test_the_old_content_back_again_is_nothing_new(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    write("[")
    await watched.looks(2)
    write(MINIMAL)
    await watched.looks(3)
    assert watched.applied == []
    assert len(caplog.records) == 2


async def test_a_missing_secret_is_looked_for_until_it_is_there(watched: Watched) -> None:
    write(f'{MINIMAL}body = "${{file:secret}}"\n')
    await watched.looks(3)
    assert watched.applied == []
    write("x", "secret")
    await watched.looks(2)
    assert watched.names == [["a"]]
    write("y", "secret")
    await watched.looks(2)
    assert [service.probe.body for found in watched.applied for service in found.services] == [  # type: ignore[attr-defined]  # both are of the kind http
        "x",
        "y",
    ]


async def test_a_secret_that_changes_with_a_broken_file_is_told_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    write("x", "secret")
    write(f'{MINIMAL}body = "${{file:secret}}"\n')
    await watched.looks(2)
    write("[")
    write("y", "secret")
    await watched.looks(6)
    assert caplog.text.count("was refused") == 1


async def test_who_asks_need_not_wait(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(MORE)
    watched.reloading.reload_now()
    await watched.looks(1)
    assert watched.names == [["a", "b"]]
    watched.reloading.reload_now()
    await watched.looks(1)
    assert "nothing in pulsebase.toml has changed" in caplog.text
    await watched.looks(3)
    assert len(watched.applied) == 1


async def test_what_cannot_be_taken_over_does_not_end_the_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    write(MINIMAL)

    def refuse(_: Configuration) -> None:
        message = "a mistake"
        raise RuntimeError(message)

    found = load_configuration(FILE, environ={})
    broken = Watched(Reloading(FILE, found, environ={}, apply=refuse))
    write(MORE)
    await broken.looks(6)
    assert caplog.text.count("restart to apply it") == 1


async def test_it_goes_on_by_itself(watched: Watched) -> None:
    watched.reloading._pause_seconds = 0.01
    task = asyncio.create_task(watched.reloading.run())
    try:
        write(MORE)
        await wait_until_async(lambda: watched.applied, "the change is taken over")
    finally:
        task.cancel()
    assert watched.names == [["a", "b"]]


def test_what_needs_a_new_start_is_named(watched: Watched) -> None:
    before = watched.reloading._current
    text = (
        '[database]\nurl = "embedded://"\n[monitor]\nname = "a"\nlocation = "b"\nconcurrency = 3\n'
        f'heartbeat_interval = "9s"\nspool_drops = "newest"\ndead_man_interval = "2s"\n{MORE}'
    )
    write(text)
    assert needing_restart(before, load_configuration(FILE, environ={})) == [
        "[database]",
        "name in [monitor]",
        "location in [monitor]",
        "heartbeat_interval in [monitor]",
        "spool_drops in [monitor]",
    ]
