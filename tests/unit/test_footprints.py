"""Footprints: which monitors died on this machine, and what if nothing can be kept there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from uuid import uuid4

from pulsebase.monitor.sharing.footprints import Footprints

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

LEAVE = """
import os, sys, uuid, pathlib
from pulsebase.monitor.sharing.footprints import Footprints
Footprints(pathlib.Path(sys.argv[1])).leave(uuid.UUID(sys.argv[2]))
print("left", flush=True)
sys.stdin.read()
"""


def a_process_that_was_killed(folder: Path) -> UUID:
    """The id of a monitor whose process ended by kill -9."""
    identifier = uuid4()
    with subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(folder), str(identifier)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"left\n"
        assert Footprints(folder).leave(uuid4()) == []  # it runs
        process.kill()
    return identifier


def test_a_killed_monitor_is_found_by_the_next_one(tmp_path: Path) -> None:
    dead = a_process_that_was_killed(tmp_path)
    footprints = Footprints(tmp_path)
    assert dead in footprints.leave(uuid4())
    footprints.erase(dead)
    assert dead not in Footprints(tmp_path).leave(uuid4())


def test_one_that_left_in_order_is_not_found(tmp_path: Path) -> None:
    identifier = uuid4()
    footprints = Footprints(tmp_path)
    assert footprints.leave(identifier) == []
    footprints.erase(identifier)
    assert Footprints(tmp_path).leave(uuid4()) == []


def test_one_that_is_not_erased_is_forgotten_after_a_day(tmp_path: Path) -> None:
    """It may have worked on another database; it is told of once more, and then gone."""
    dead = a_process_that_was_killed(tmp_path)
    (path,) = [each for each in tmp_path.iterdir() if str(dead) in each.name]
    two_days_ago = time.time() - 2 * 86_400
    os.utime(path, (two_days_ago, two_days_ago))
    assert dead in Footprints(tmp_path).leave(uuid4())
    assert dead not in Footprints(tmp_path).leave(uuid4())


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.running").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / f"{uuid4()}.running").mkdir()
    assert Footprints(tmp_path).leave(uuid4()) == []
    assert (tmp_path / "notes.running").read_text() == "mine"


def test_where_nothing_can_be_kept_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    footprints = Footprints(tmp_path / "file" / "folder")
    identifier = uuid4()
    assert footprints.leave(identifier) == []
    footprints.erase(identifier)
