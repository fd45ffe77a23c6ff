"""`pulsebase check` keeps what it cannot record, and the next one records it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.acceptance.cli_process import Ended, pulsebase
from tests.acceptance.monitor_process import ask, monitoring, stored
from tests.support.migrating import migrate
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.probe_target import ProbeTarget
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def target() -> Iterator[ProbeTarget]:
    """What is looked at."""
    with ProbeTarget() as target:
        yield target


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A migrated PostgreSQL that this test may take away."""
    servers = available_servers()
    with PostgresServer(servers[max(servers)], fsync=True) as server:
        migrate(server.url())
        yield server


def check(configuration: Path, url: str, **variables: str) -> Ended:
    """Check all services once."""
    environment = {"PULSEBASE_URL": url, **variables}
    return pulsebase("check", "-c", str(configuration), "--json", env=environment)


def configured(target: ProbeTarget, folder: Path, spool: Path) -> Path:
    """A configuration of three services."""
    path = folder / "pulsebase.toml"
    more = f'[monitor]\nspool = "{spool}"\n'
    target.write_configuration(path, services=3, interval_seconds=10, more=more)
    return path


def test_what_a_check_could_not_record_the_next_one_records_first(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """Exit code 3 and a line that says so; later 0, and a line that says what came with it."""
    configuration = configured(target, tmp_path, tmp_path / "spool")
    server.stop()
    away = check(configuration, server.url())
    assert away.code == 3
    assert len(json.loads(away.out)) == 3
    [error] = [line for line in away.err.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: nothing was recorded: cannot reach PostgreSQL at")
    assert error.endswith("kept for the next check or run: 3 checks")
    again = check(configuration, server.url())
    assert again.code == 3
    assert "kept for the next check or run: 6 checks" in again.err
    server.start()
    back = check(configuration, server.url())
    assert back.code == 0, back.err
    assert back.err.strip() == "recorded as well, kept by earlier runs: 6 checks"
    assert stored(server.url()) == 9
    ids = [row["id"] for ended in (away, again, back) for row in json.loads(ended.out)]
    with psycopg.connect(server.url()) as connection:
        rows = connection.execute(
            "select id::text from service_health_checks order by created_at, checked_at, id"
        ).fetchall()
    assert sorted(identifier for (identifier,) in rows) == sorted(ids)
    assert {identifier for (identifier,) in rows[:6]} == set(ids[:6])
    assert list((tmp_path / "spool").iterdir()) == []


def test_what_a_check_could_not_record_a_run_records(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """They share the folder, and each looks after what the other left."""
    configuration = configured(target, tmp_path, tmp_path / "spool")
    server.stop()
    ids = {row["id"] for row in json.loads(check(configuration, server.url()).out)}
    server.start()
    with monitoring(configuration, server.url(), tmp_path / "log") as process:
        wait_until(lambda: stored(server.url()) >= 3, "the checks are recorded", 60)
        process.terminate()
        assert process.wait(60) == 0
    with psycopg.connect(server.url()) as connection:
        rows = connection.execute("select id::text from service_health_checks").fetchall()
    assert ids <= {identifier for (identifier,) in rows}


def test_a_check_beside_a_run_leaves_its_file_alone(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """Both keep their checks while the database is away; all of them are recorded, once."""
    configuration = configured(target, tmp_path, tmp_path / "spool")
    with monitoring(configuration, server.url(), tmp_path / "log") as process:
        wait_until(lambda: stored(server.url()) > 0, "it records", 60)
        server.stop()
        looks = target.looks
        wait_until(lambda: target.looks > looks, "it goes on probing", 60)
        wait_until(lambda: any((tmp_path / "spool").iterdir()), "it keeps a check", 60)
        kept = check(configuration, server.url())
        assert kept.err.strip().endswith("kept for the next check or run: 3 checks")
        assert len(list((tmp_path / "spool").glob("*.sqlite3"))) == 2
        server.start()
        assert check(configuration, server.url()).code == 0
        process.terminate()
        assert process.wait(60) == 0
    assert list((tmp_path / "spool").iterdir()) == []
    count, ids = ask(server.url(), "select count(*), count(distinct id) from service_health_checks")
    assert count == ids
    assert count >= 7


def test_a_database_that_hangs_holds_no_check_up_for_long(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """It says unknown, and what was seen is kept."""
    configuration = configured(target, tmp_path, tmp_path / "spool")
    with psycopg.connect(server.url()) as connection:
        connection.execute("lock table service_health_checks in access exclusive mode")
        hanging = check(configuration, server.url())
    assert hanging.code == 3
    assert "did not answer within 6 s" in hanging.err
    assert hanging.err.strip().endswith("kept for the next check or run: 3 checks")
    assert check(configuration, server.url()).code == 0
    assert stored(server.url()) == 6


def test_without_a_folder_a_check_still_works(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """As where a function in a cloud has no disk: well with a database, unknown without."""
    (tmp_path / "file").touch()
    configuration = configured(target, tmp_path, tmp_path / "file" / "spool")
    well = check(configuration, server.url())
    assert (well.code, well.err) == (0, "")
    assert stored(server.url()) == 3
    server.stop()
    lost = check(configuration, server.url())
    assert lost.code == 3
    end = "? lost: 3 checks; set spool under [monitor] to a folder that can be written"
    assert lost.err.strip().endswith(end)


def test_without_a_home_a_check_still_works(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """Nor does it need a folder to be named."""
    path = tmp_path / "pulsebase.toml"
    target.write_configuration(path, services=3, interval_seconds=10)
    well = check(path, server.url(), XDG_STATE_HOME="", HOME="/dev/null")
    assert (well.code, well.err) == (0, "")
    assert stored(server.url()) == 3


def test_the_folder_that_systemd_gives_is_used(
    tmp_path: Path, target: ProbeTarget, server: PostgresServer
) -> None:
    """StateDirectory= of the unit names it."""
    path = tmp_path / "pulsebase.toml"
    target.write_configuration(path, services=3, interval_seconds=10)
    server.stop()
    folder = tmp_path / "state"
    kept = check(path, server.url(), STATE_DIRECTORY=f"{folder}:/nowhere")
    assert kept.err.strip().endswith("kept for the next check or run: 3 checks")
    assert len(list(folder.glob("*.sqlite3"))) == 1
