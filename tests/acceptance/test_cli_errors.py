from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cli_process import Ended, pulsebase, started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.postgres_server import PostgresServer
    from tests.support.postgrest_server import PostgrestServer

CANARY = "c4nary-s3cret"
AT_ONCE = 4
UNREACHABLE = f"postgresql://someone:{CANARY}@127.0.0.1:1/x"
COMMANDS = [
    ("status",),
    ("history", "a"),
    ("record", "a", "healthy"),
    ("prune",),
    ("alerts", "list"),
    ("doctor",),
]


def assert_one_line(err: str) -> None:
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unreachable_database_is_one_line_with_host_and_port(command: tuple[str, ...]) -> None:
    ended = pulsebase(*command, "--json", env={"DATABASE_URL": UNREACHABLE})
    assert ended.code == (3 if command == ("status",) else 1)
    assert "127.0.0.1:1" in ended.everything
    assert CANARY not in ended.everything
    if command == ("doctor",):
        assert json.loads(ended.out)["ok"] is False
    else:
        assert ended.out == ""
        assert_one_line(ended.err)


def test_a_silent_server_is_given_up_within_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        began = time.monotonic()
        ended = pulsebase(
            "status", "--url", f"postgresql://{host}:{port}/x", "--connect-timeout", "2s"
        )
    assert time.monotonic() - began < 6
    assert ended.code == 3
    assert f"{host}:{port}" in ended.err
    assert_one_line(ended.err)


URLS = [
    f"postgresql://someone:{CANARY}@127.0.0.1:1/x",
    f"postgresql://someone:{CANARY}%2F%40@127.0.0.1:1/x?connect_timeout=2",
    f"postgresql://someone:{CANARY}/@127.0.0.1:1/x",
    f"postgresql://someone:{CANARY}#@127.0.0.1:1/x",
    f"postgresql://127.0.0.1:1/x?user=u&password={CANARY}",
    f"postgresql://127.0.0.1:1/x?nonsense={CANARY}&password={CANARY}",
    f"postgres://someone:{CANARY}@[::1/x",
    f"mysql://someone:{CANARY}@127.0.0.1/x",
    f"host=127.0.0.1 password={CANARY}",
    f"https://someone:{CANARY}@127.0.0.1:1",
    f"postgresql://someone:{CANARY}@127.0.0.1:notaport/x",
]


def in_an_option(url: str) -> Ended:
    return pulsebase("-v", "status", "--url", url, "--key", f"sb_secret_{CANARY}")


def in_the_environment(url: str) -> Ended:
    env = {"DATABASE_URL": url, "SUPABASE_SECRET_KEY": f"sb_secret_{CANARY}"}
    return pulsebase("-v", "status", env=env)


def where_a_name_belongs(url: str) -> Ended:
    return pulsebase("history", "-v", url, "--url", UNREACHABLE)


@pytest.mark.parametrize("given", [in_an_option, in_the_environment, where_a_name_belongs])
def test_no_url_gives_its_password_away(given: Callable[[str], Ended]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for url, ended in zip(URLS, threads.map(given, URLS), strict=True):
            assert ended.code != 0, url
            assert CANARY not in ended.everything, url


@pytest.mark.parametrize(
    "key", [f"sb_secret_{CANARY}", CANARY, f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}"]
)
def test_no_error_over_https_gives_the_key_away(postgrest: PostgrestServer, key: str) -> None:
    lines = [
        ("-v", *command, "--url", url, "--key", key)
        for url in (postgrest.url, "https://127.0.0.1:1", "http://127.0.0.1:1/rest/v1")
        for command in (("status",), ("doctor",), ("history", key), ("record", "a", key))
    ]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for line, ended in zip(
            lines, threads.map(lambda line: pulsebase(*line), lines), strict=True
        ):
            assert ended.code != 0, line
            assert CANARY not in ended.everything, line


def test_a_wrong_key_is_told_as_such(postgrest: PostgrestServer) -> None:
    ended = pulsebase("status", "--url", postgrest.url, env={"PULSEBASE_KEY": "not-a-key"})
    assert ended.code == 3
    assert "check the key" in ended.err
    assert_one_line(ended.err)


def test_missing_tables_are_told_with_the_command_that_makes_them(empty_database: str) -> None:
    ended = pulsebase("prune", "--url", empty_database)
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.endswith("run: pulsebase db migrate\n")


def test_a_missing_database_is_told(postgres: PostgresServer) -> None:
    ended = pulsebase("prune", "--url", postgres.url("nowhere"))
    assert ended.code == 1
    assert 'database "nowhere" does not exist' in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["statsu"], "did you mean status?"),
        (["frobnicate"], "there are: "),
        (["status", "--jsno"], "--json"),
        (["record", "a", "sick"], "'healthy', 'degraded', 'down'"),
        (["record", "a", "healthy", "--latency-ms", "-1"], "latency_ms must be"),
        (["record", "", "healthy"], "service_name must be"),
        (["record", "a\x1b[2J", "healthy"], "service_name must be"),
        (["record", "a" * 101, "healthy"], "1 to 100 characters"),
        (["record", "a", "healthy", "--checked-at", "2026-01-01T00:00:00"], "has no time zone"),
        (["record", "a", "healthy", "--checked-at", "2099-01-01T00:00:00Z"], "in the future"),
        (["history", "a", "--since", "yesterday"], "neither a duration nor a time"),
        (["history", "a", "--since", "1h", "--until", "2h"], "must be before"),
        (["history", "a", "--limit", "0"], "--limit"),
        (["history", "a", "--limit", "9223372036854775808"], "--limit"),
        (["history", "a", "--limit", "5", "--all"], "exclude each other"),
        (["prune", "--older-than", "30"], 'a duration such as "500ms"'),
        (["prune", "--older-than", "0s"], "above zero"),
        (["alerts", "resolve", "1"], "UUID"),
        (["alerts", "list", "--all"], "needs a SERVICE"),
        (["status", "--connect-timeout", "0s"], "above zero"),
        (["history"], "Missing argument 'SERVICE'"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str) -> None:
    """Or 3 where 2 would say that a service is down."""
    ended = pulsebase(*arguments, env={"DATABASE_URL": UNREACHABLE})
    assert (ended.code, ended.out) == (3 if arguments[0] == "status" else 2, "")
    assert words in ended.err
    assert "--help" in ended.err
    assert_one_line(ended.err)


@pytest.mark.parametrize(("command", "code"), [("status", 3), ("prune", 1)])
def test_a_bug_is_one_line_without_what_it_holds(
    database: str, tmp_path: Path, command: str, code: int
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import pulsebase.connection\n"
        f"def broken(*_): raise KeyError('{CANARY}')\n"
        "pulsebase.connection.Connection.run = broken\n"
    )
    path = f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    ended = pulsebase(command, "--url", database, env={"PYTHONPATH": path})
    assert (ended.code, ended.out) == (code, "")
    assert_one_line(ended.err)
    assert "KeyError: this is a bug in pulsebase" in ended.err
    assert CANARY not in ended.err
    verbose = pulsebase(command, "-v", "--url", database, env={"PYTHONPATH": path})
    assert "Traceback" in verbose.err


def test_ctrl_c_ends_quietly_with_130() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with started("status", "--url", f"postgresql://{host}:{port}/x") as process:
            silent.settimeout(20)
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
            connection.close()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_verbose_logs_are_json_lines_with_one_correlation_id() -> None:
    ended = pulsebase("prune", "-v", "--url", UNREACHABLE)
    *lines, last = ended.err.splitlines()
    assert last.startswith("error: ")
    ids = {json.loads(line)["correlation_id"] for line in lines}
    assert len(ids) == 1
    assert len(lines) >= 3
    assert CANARY not in ended.everything
