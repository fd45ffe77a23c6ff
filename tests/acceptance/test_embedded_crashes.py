"""Whatever dies, and whenever: nothing that it leaves behind blocks the next start."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pulsebase.transports.embedded import EmbeddedServer
from tests.acceptance.embedded_user import (
    User,
    keep_a_row,
    postmaster,
    private_parent,
    query,
    wait_gone,
)
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY = "select count(*) from generate_series(1, 1000000000000)"


@pytest.fixture
def folder() -> Iterator[Path]:
    """The folder of a server that shall not run any more when the test is over."""
    with private_parent() as parent:
        yield parent / "server"
        wait_gone(parent)  # what a killed process had started ends soon after


def test_a_server_left_by_a_killed_process_is_found_and_shared(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        server = postmaster(folder)
        user.kill()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select 1") == 1
        assert postmaster(folder) == server
    wait_gone(folder)


def test_a_killed_server_comes_back_for_its_users_and_for_others(folder: Path) -> None:
    with User(folder) as user:
        keep_a_row(user.url())
        postmaster(folder).kill()
        wait_gone(folder)
        assert user.ask("query", "select n from kept") == {"value": 7}
        with User(folder) as other:
            assert other.ask("query", "select n from kept") == {"value": 7}
            user.ask("stop")
            other.ask("stop")


def test_process_and_server_killed_together_leave_nothing_that_blocks(folder: Path) -> None:
    with User(folder) as user:
        keep_a_row(user.url())
        server = postmaster(folder)
        user.kill()
        server.kill()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select n from kept") == 7


def test_a_busy_orphan_of_a_killed_server_does_not_block_the_next(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        backend = psutil.Process(user.ask("begin", _BUSY)["value"])
        wait_until(lambda: backend.cpu_times().user > 0.05, "the backend is busy")
        postmaster(folder).kill()
        user.kill()
        assert backend.is_running()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select 1") == 1
        backend.wait(20)


@pytest.mark.parametrize("sign", ["data.new-*", "data.new-*/PG_VERSION", "data.new-*/base/4"])
def test_a_process_killed_in_the_middle_of_initdb_leaves_nothing_that_blocks(
    folder: Path, sign: str
) -> None:
    with User(folder) as user:
        user.send("start")
        wait_until(lambda: list(folder.glob(sign)), f"{sign} is there")
        user.kill()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select current_database()") == "pulsebase"
    wait_gone(folder)
    with EmbeddedServer(folder):
        assert not list(folder.glob("data.new-*"))


@pytest.mark.parametrize(
    "sign",
    ["setup.lock", "data/start.log", "data/postmaster.pid", "socket/.s.PGSQL.5432"],
)
def test_a_process_killed_while_the_server_starts_leaves_nothing_that_blocks(
    folder: Path, sign: str
) -> None:
    with EmbeddedServer(folder):
        pass
    with User(folder) as user:
        user.send("start")
        wait_until((folder / sign).exists, f"{sign} is there")
        user.kill()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select 1") == 1


def test_a_pid_file_whose_pid_is_another_process_now_does_not_block(folder: Path) -> None:
    with EmbeddedServer(folder):
        pid_file = folder / "data" / "postmaster.pid"
        socket_file = folder / "socket" / ".s.PGSQL.5432.lock"
        owner = pid_file.stat()
        texts = {path: path.read_text() for path in (pid_file, socket_file)}
    identity: dict[str, Any] = {"user": owner.st_uid} if os.geteuid() == 0 else {}
    # `cat` waits for us as long as its input is open.
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, **identity) as stranger:
        for path, text in texts.items():
            path.write_text("\n".join([str(stranger.pid), *text.splitlines()[1:]]) + "\n")
        (folder / "socket" / ".s.PGSQL.5432").touch()
        with EmbeddedServer(folder) as embedded:
            assert query(embedded.start(), "select 1") == 1
        assert stranger.poll() is None


@pytest.mark.parametrize("harm", ["no socket", "open to everybody"])
def test_a_server_whose_socket_folder_is_wrong_is_replaced(folder: Path, harm: str) -> None:
    with EmbeddedServer(folder) as embedded:
        server = postmaster(folder)
        if harm == "no socket":
            (folder / "socket" / ".s.PGSQL.5432").unlink()
        else:
            (folder / "socket").chmod(0o777)
        assert query(embedded.start(), "select 1") == 1
        assert postmaster(folder) != server


def test_a_process_killed_while_it_stops_the_server_leaves_nothing_that_blocks(
    folder: Path,
) -> None:
    with User(folder) as user:
        user.url()
        user.send("stop")
        wait_until(lambda: not _is_ready(folder), "the server is stopping")
        user.kill()
    with EmbeddedServer(folder) as embedded:
        assert query(embedded.start(), "select 1") == 1


def _is_ready(folder: Path) -> bool:
    try:
        return "ready" in (folder / "data" / "postmaster.pid").read_text()
    except FileNotFoundError:
        return False
