"""`[monitor]`, sizes, and the files that a configuration was read from."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from pulsebase.monitor.configuration import MonitorKeys, UnusableFileError, load_configuration
from pulsebase.monitor.configuration.sizes import format_size, parse_size
from pulsebase.monitor.configuration.sources import fingerprint
from tests.unit.configuration_file import CANARY, MINIMAL, complaints, load


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_key_of_the_monitor() -> None:
    keys = load(
        """
[monitor]
name = "eu-1"
location = "Frankfurt am Main"
connectivity = ["https://one.example", "tcp://192.0.2.1:53", "tcp://[2001:db8::1]:443"]
concurrency = 200
host_concurrency = 10
heartbeat_interval = "2s"
dead_man_url = "https://dead.example/ping?token=x"
dead_man_interval = "5m"
spool = "spool"
spool_limit = "1.5GiB"
spool_drops = "healthy"
"""
        + MINIMAL
    ).monitor
    assert keys == MonitorKeys(
        name="eu-1",
        location="Frankfurt am Main",
        connectivity=("https://one.example", "tcp://192.0.2.1:53", "tcp://[2001:db8::1]:443"),
        concurrency=200,
        host_concurrency=10,
        heartbeat_interval=timedelta(seconds=2),
        dead_man_url="https://dead.example/ping?token=x",
        dead_man_interval=timedelta(minutes=5),
        spool=str(Path("spool").absolute()),
        spool_limit=1536 * 1024 * 1024,
        spool_drops="healthy",
    )
    assert "token" not in repr(keys)


def test_without_the_table_everything_has_its_default() -> None:
    assert load(MINIMAL).monitor == MonitorKeys()


def test_a_spool_lies_in_the_folder_of_the_file() -> None:
    Path("etc").mkdir()
    path = Path("etc", "pulsebase.toml")
    path.write_text(f'[monitor]\nspool = "../var"\n{MINIMAL}')
    spool = load_configuration(path, environ={}).monitor.spool
    assert spool == str(Path("etc", "..", "var").absolute())


def test_a_spool_may_lie_in_the_home_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    spool = load(f'[monitor]\nspool = "~/spool"\n{MINIMAL}').monitor.spool
    assert spool == "/home/somebody/spool"
    [complaint] = complaints(f'[monitor]\nspool = "~nobody-at-all/spool"\n{MINIMAL}')
    assert complaint.startswith(
        "pulsebase.toml:2: spool in [monitor] begins with the home of nobody"
    )


@pytest.mark.parametrize(
    ("line", "key", "bound"),
    [
        ('name = ""', "name", "1 to 100 readable characters"),
        ('name = " a"', "name", "1 to 100 readable characters"),
        ('name = "a\\u200bb"', "name", "1 to 100 readable characters"),
        (f'name = "{"x" * 101}"', "name", "1 to 100 readable characters"),
        ("name = 3", "name", "text in quotes"),
        ('location = "a\\tb"', "location", "1 to 100 readable characters"),
        ('connectivity = "https://a"', "connectivity", "a list in brackets"),
        ('connectivity = ["a.example"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://a.example"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://a.example:0"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://a.example:99999"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://:53"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://a:53/x"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["tcp://[::1:53"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["ftp://a.example"]', "connectivity", "tcp://host:port"),
        ('connectivity = ["https://"]', "connectivity", "tcp://host:port"),
        ("concurrency = 0", "concurrency", "a whole number from 1 to 100000; got 0"),
        ("concurrency = true", "concurrency", "a whole number, without quotes"),
        ('concurrency = "9"', "concurrency", "a whole number, without quotes"),
        ("host_concurrency = 100001", "host_concurrency", "a whole number from 1 to 100000"),
        ('heartbeat_interval = "999ms"', "heartbeat_interval", 'from 1s to 5m; got "999ms"'),
        ('heartbeat_interval = "6m"', "heartbeat_interval", "from 1s to 5m"),
        ('dead_man_url = "gopher://x"', "dead_man_url", "an http:// or https:// URL"),
        ('dead_man_interval = "0s"', "dead_man_interval", 'at least 1s; got "0s"'),
        ('spool = ""', "spool", "the path of a folder"),
        ('spool = "a\\u0000b"', "spool", "the path of a folder"),
        ("spool_limit = 100", "spool_limit", "in quotes; got 100"),
        ('spool_limit = "100"', "spool_limit", 'a size such as "512KiB"'),
        ('spool_limit = "-1MiB"', "spool_limit", 'a size such as "512KiB"'),
        ('spool_limit = "1mib"', "spool_limit", 'a size such as "512KiB"'),
        ('spool_limit = "1023KiB"', "spool_limit", 'at least 1MiB; got "1023KiB"'),
        ('spool_drops = "all"', "spool_drops", 'one of "oldest", "newest" or "healthy"'),
    ],
)
def test_a_bad_value_names_key_bound_and_line(line: str, key: str, bound: str) -> None:
    [complaint] = complaints(f"[monitor]\n{line}\n{MINIMAL}")
    assert complaint.startswith(f"pulsebase.toml:2: {key} in [monitor] must be ")
    assert bound in complaint


def test_an_unknown_key_of_the_monitor_names_the_nearest() -> None:
    [complaint] = complaints(f'[monitor]\nspool_drop = "oldest"\n{MINIMAL}')
    assert complaint.endswith('in [monitor]; did you mean "spool_drops"?')


@pytest.mark.parametrize(
    "line",
    [
        f'dead_man_url = "gopher://x/{CANARY}"',
        f'dead_man_url = ["https://x/{CANARY}"]',
        f'connectivity = ["ftp://u:{CANARY}@h/"]',
        f'connectivity = [["{CANARY}"]]',
        'name = "${SECRET}\\n"',
        'spool_limit = "${SECRET}"',
    ],
)
def test_no_complaint_shows_a_secret(line: str) -> None:
    found = complaints(f"[monitor]\n{line}\n{MINIMAL}", {"SECRET": CANARY})
    assert CANARY not in "\n".join(found)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("1B", 1),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
        ("2GB", 2_000_000_000),
        ("1TiB", 1024**4),
        ("256MiB", 256 * 1024**2),
    ],
)
def test_sizes_are_read_and_written(text: str, size: int) -> None:
    assert parse_size(text) == size
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "text", ["", "1", "MiB", "1 MiB", "1e3B", "\u0661B", "1.B", f"{'9' * 16}B"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(text)


def test_a_configuration_knows_what_it_was_read_from() -> None:
    Path("token").write_text("x\n")
    configuration = load(f'{MINIMAL}headers = {{ A = "${{file:token}}" }}\n')
    assert set(configuration.sources) == {Path("pulsebase.toml"), Path("token")}
    assert configuration.sources[Path("token")] == fingerprint(Path("token"), is_value=True)
    before = configuration.sources[Path("pulsebase.toml")]
    assert before == fingerprint(Path("pulsebase.toml"), is_value=False)
    Path("pulsebase.toml").write_text(MINIMAL)
    assert fingerprint(Path("pulsebase.toml"), is_value=False) != before


def test_a_refused_file_knows_what_to_look_at_until_it_is_right() -> None:
    with pytest.raises(UnusableFileError) as caught:
        load(f'{MINIMAL}headers = {{ A = "${{file:token}}" }}\n')
    assert caught.value.sources[Path("token")] is None
    assert caught.value.sources[Path("pulsebase.toml")] is not None
    [problem] = caught.value.problems
    assert (problem.file, problem.line) == ("pulsebase.toml", 4)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 -- our own, made a line above
    assert copy.problems == caught.value.problems


def test_a_pipe_is_read_once_and_not_looked_at_again() -> None:
    reading, writing = os.pipe()
    os.write(writing, MINIMAL.encode())
    os.close(writing)
    try:
        configuration = load_configuration(Path(f"/dev/fd/{reading}"), environ={})
    finally:
        os.close(reading)
    assert len(configuration.services) == 1
    assert configuration.sources == {}


def test_the_same_file_is_equal_and_one_change_is_one_difference() -> None:
    text = "".join(f'[[services]]\nname = "s{n}"\nurl = "http://a/"\n' for n in range(3))
    before, again = load(text), load(text)
    assert before == again
    after = load(text.replace("http://a/", "http://b/", 1))
    same = [old == new for old, new in zip(before.services, after.services, strict=True)]
    assert same == [False, True, True]


def test_ten_thousand_services_take_little_memory() -> None:
    text = "".join(f'[[services]]\nname = "s{n}"\nurl = "http://a/{n}"\n' for n in range(10_000))
    load(MINIMAL)  # imports the kind, which is not what is measured
    tracemalloc.start()
    try:
        configuration = load(text)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(configuration.services) == 10_000
    assert peak_bytes < 20_000_000


def test_equal_values_are_one_object() -> None:
    text = "".join(
        f'[[services]]\nname = "s{n}"\nurl = "http://a/"\nlabels = {{ a = "b" }}\n'
        f'interval = "30s"\ndegraded_above = "2s"\nheaders = {{ A = "x" }}\n'
        for n in range(2)
    )
    one, other = load(text).services
    assert one.labels is other.labels
    assert one.interval is other.interval
    for name in ("degraded_above", "headers", "expect"):
        assert getattr(one.probe, name) is getattr(other.probe, name)
