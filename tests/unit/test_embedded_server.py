"""The embedded server in one process: what it promises, and what it says when it cannot."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from pulsebase.errors import EmbeddedServerError, MissingExtraError
from pulsebase.transports import embedded, embedded_programs
from pulsebase.transports.embedded import EmbeddedServer, default_folder
from pulsebase.transports.embedded_programs import is_root
from tests.acceptance.embedded_user import (
    keep_a_row,
    postmaster,
    private_parent,
    query,
    server_processes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOLD_LOCK = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder that shall hold no running server when the test is over."""
    with private_parent() as folder:
        yield folder


@pytest.fixture
def folder(parent: Path) -> Path:
    """The folder of the server."""
    return parent / "server"


def test_the_second_start_finds_the_data_of_the_first(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        keep_a_row(server.start())
    assert not server_processes(folder)
    with EmbeddedServer(folder) as server:
        assert query(server.start(), "select n from kept") == 7


def test_the_server_is_postgresql_18_with_sensible_settings(folder: Path) -> None:
    settings = {
        "server_version_num": r"18\d{4}",
        "server_encoding": "UTF8",
        "timezone": "UTC",
        "fsync": "on",
        "data_checksums": "on",
        "listen_addresses": "",
        "max_connections": "100",
    }
    with EmbeddedServer(folder) as server:
        for name, pattern in settings.items():
            statement = f"select current_setting('{name}') ~ '^{pattern}$'"
            assert query(server.start(), statement) is True, name
        assert query(server.start(), "select current_user || '@' || current_database()") == (
            "pulsebase@pulsebase"
        )
        locale = "select datlocale from pg_database where datname = current_database()"
        assert query(server.start(), locale) == "C.UTF-8"


def test_fsync_can_be_switched_off(folder: Path) -> None:
    with EmbeddedServer(folder, fsync=False) as server:
        assert query(server.start(), "show fsync") == "off"


def test_start_may_be_repeated_and_one_stop_is_enough(folder: Path) -> None:
    server = EmbeddedServer(folder)
    server.stop()
    assert server.start() == server.start()
    server.stop()
    assert not server_processes(folder)
    server.stop()


def test_objects_and_threads_of_a_process_share_one_server(folder: Path) -> None:
    servers = [EmbeddedServer(folder) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        urls = set(threads.map(EmbeddedServer.start, servers))
        assert len(urls) == 1
        process = postmaster(folder)
        list(threads.map(EmbeddedServer.stop, servers[1:]))
        assert postmaster(folder) == process
        assert query(urls.pop(), "select 1") == 1
    servers[0].stop()
    assert not server_processes(folder)


def test_threads_that_come_and_go_always_find_a_server(folder: Path) -> None:
    def visit(_: int) -> int:
        with EmbeddedServer(folder) as server:
            return int(query(server.start(), "select 1"))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(visit, range(12))) == [1] * 12
    assert not server_processes(folder)


def test_the_socket_is_in_a_folder_that_only_the_server_enters(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        place = _socket_folder(server.start())
        assert place == folder / "socket"
        assert place.stat().st_mode & 0o777 == 0o700
        assert place.owner() == postmaster(folder).username()


@pytest.mark.parametrize(
    "name",
    ["x" * 150, "a b", "it's", 'say "no"', "$HOME $(id) `id` %a", "back\\slash", "comma,ä ☃"],
)
def test_any_path_will_do(parent: Path, name: str) -> None:
    with EmbeddedServer(parent / name / "server") as server:
        url = server.start()
        assert query(url, "select 1") == 1
        place = _socket_folder(url)
        assert place.stat().st_mode & 0o777 == 0o700
    assert place.exists() == place.is_relative_to(parent)


def test_a_socket_folder_of_somebody_else_is_not_trusted(parent: Path) -> None:
    if not is_root():
        pytest.skip("only root can make a folder of somebody else")
    folder = parent / ("x" * 150)
    with EmbeddedServer(folder) as server:
        place = _socket_folder(server.start())
    place.mkdir()
    shutil.chown(place, "daemon")
    try:
        with EmbeddedServer(parent / "decoy") as decoy:
            socket = _socket_folder(decoy.start()) / ".s.PGSQL.5432"
            (place / socket.name).symlink_to(socket)
            with pytest.raises(EmbeddedServerError, match="belongs to daemon") as caught:
                EmbeddedServer(folder).start()
        assert str(place) in str(caught.value)
    finally:
        shutil.rmtree(place)


def test_data_of_another_major_version_is_refused(folder: Path) -> None:
    with EmbeddedServer(folder):
        pass
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(folder).start()
    for part in (str(folder), "PostgreSQL 16", "PostgreSQL 18", "pg_dump", "move it away"):
        assert part in str(caught.value)


def test_files_that_are_no_database_are_left_alone(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "novel.txt").write_text("It was a dark and stormy night.")
    with pytest.raises(EmbeddedServerError, match="is no database; move it away, or"):
        EmbeddedServer(folder).start()
    assert (folder / "data" / "novel.txt").exists()


def test_a_damaged_database_is_told_with_the_servers_own_words(folder: Path) -> None:
    with EmbeddedServer(folder):
        pass
    (folder / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedServerError, match="pg_control") as caught:
        EmbeddedServer(folder).start()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_cannot_be_a_folder_is_told(parent: Path) -> None:
    (parent / "file").touch()
    with pytest.raises(EmbeddedServerError, match=r"cannot use .*file/server.*Not a directory"):
        EmbeddedServer(parent / "file" / "server").start()


def test_a_folder_that_the_servers_account_cannot_enter_is_told_to_root(parent: Path) -> None:
    if not is_root():
        pytest.skip("only root runs the server as another account")
    (parent / "closed").mkdir(mode=0o700)
    with pytest.raises(EmbeddedServerError) as caught:
        EmbeddedServer(parent / "closed" / "server").start()
    assert f"cannot enter {parent / 'closed'};" in str(caught.value)
    assert f"chmod o+x {parent / 'closed'}" in str(caught.value)


def test_an_unwritable_folder_is_told(parent: Path) -> None:
    if is_root():
        pytest.skip("root may write everywhere")
    (parent / "closed").mkdir(mode=0o500)
    with pytest.raises(EmbeddedServerError, match=r"Permission denied.*make it writable"):
        EmbeddedServer(parent / "closed" / "server").start()


def test_a_full_disk_is_told(parent: Path) -> None:
    folder = parent / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m,mode=711", "none", str(folder)]
    mounted = (
        is_root() and subprocess.run(command, check=False, capture_output=True).returncode == 0
    )
    if not mounted:
        pytest.skip("no small disk can be mounted here")
    try:
        with pytest.raises(EmbeddedServerError) as caught:
            EmbeddedServer(folder / "server").start()
        assert "No space left on device" in str(caught.value)
        assert "free some space" in str(caught.value)
        assert not list((folder / "server").glob("data*"))
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_start_that_cannot_get_its_turn_gives_up_in_time(folder: Path) -> None:
    folder.mkdir()
    command = [sys.executable, "-c", _HOLD_LOCK, str(folder / "setup.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(EmbeddedServerError, match=r"for 0\.2 s; wait for it or end it"):
            EmbeddedServer(folder, start_timeout_seconds=0.2).start()


def test_overlong_logs_are_set_aside(folder: Path) -> None:
    with EmbeddedServer(folder):
        pass
    for log in (folder / "data" / "log").glob("*.log"):
        os.truncate(log, 2_000_000)
    with EmbeddedServer(folder):
        pass
    sizes = [log.stat().st_size for log in (folder / "data" / "log").glob("*.log")]
    assert max(sizes) < 100_000


def test_nothing_of_our_environment_reaches_the_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULSEBASE_KEY", "canary")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGOPTIONS", "-c nonsense=1")
    with EmbeddedServer(folder):
        environment = postmaster(folder).environ()
    assert not {"PULSEBASE_KEY", "PGPORT", "PGOPTIONS"} & set(environment)


def test_a_missing_wheel_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_programs, "_PACKAGE", "no_such_package")
    with pytest.raises(MissingExtraError, match=r"pulsebase\[embedded\]"):
        EmbeddedServer(folder).start()
    assert not folder.exists()


def test_windows_is_told_what_works_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = EmbeddedServer(folder)
    monkeypatch.setattr(embedded, "os", SimpleNamespace(name="nt"))
    with pytest.raises(EmbeddedServerError, match="on Windows set PULSEBASE_URL"):
        server.start()


def test_the_default_folder_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/home/somebody/.local/share")
    assert default_folder().parts[-2:] == ("pulsebase", "embedded")
    assert Path.home() in default_folder().parents or "somebody" in str(default_folder())


def test_the_default_folder_of_root_is_open_to_the_servers_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not default_folder().is_relative_to(pwd.getpwuid(0).pw_dir)


def test_clients_of_another_name_are_refused(folder: Path) -> None:
    with EmbeddedServer(folder) as server:
        url = server.start().replace("pulsebase@", "stranger@")
        with pytest.raises(psycopg.OperationalError, match="stranger"):
            query(url, "select 1")


def _socket_folder(url: str) -> Path:
    return Path(parse_qs(urlsplit(url).query)["host"][0])
