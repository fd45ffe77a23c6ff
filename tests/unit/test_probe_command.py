"""Programs that judge by their exit code: real ones, well-behaved and not."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.probes import Outcome, ProbeTools, UnknownHealthError
from pulsebase.probes.command import CommandProbe
from pulsebase.probes.support.perfdata import parse_perfdata, split_output
from tests.support.looking import a_look, look_once
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "canary-4f9c2d71b6"  # noqa: S105 -- nobody's


def sh(script: str, **keys: Any) -> CommandProbe:
    return CommandProbe(command=("sh", "-c", script), **keys)


def python(program: str) -> CommandProbe:
    return CommandProbe(command=(sys.executable, "-c", program))


async def unknown(probe: CommandProbe) -> str:
    with pytest.raises(UnknownHealthError) as caught:
        await look_once(probe)
    return str(caught.value)


def wait_until_gone(process_id: int) -> None:
    def gone() -> bool:
        try:
            return psutil.Process(process_id).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(gone, f"process {process_id} is gone")


def zombies() -> set[int]:
    children = psutil.Process().children()
    return {child.pid for child in children if child.status() == psutil.STATUS_ZOMBIE}


@pytest.fixture(autouse=True)
def _no_new_zombie() -> Iterator[None]:
    before = zombies()
    yield
    assert zombies() <= before


@pytest.mark.parametrize(("code", "status"), [(0, "healthy"), (1, "degraded"), (2, "down")])
async def test_the_exit_code_is_the_status(code: int, status: str) -> None:
    outcome = await look_once(sh(f"echo DISK says so; exit {code}"))
    assert outcome.status == status
    assert outcome.details["exit_code"] == code
    assert outcome.details["output"] == "DISK says so"
    assert outcome.latency_ms is not None
    assert ("failed" in outcome.details) == (code > 0)


async def test_a_failure_says_what_the_plugin_said() -> None:
    outcome = await look_once(sh("echo 'DISK CRITICAL - 2% free | free=2%;10;5'; exit 2"))
    assert outcome.details == {
        "exit_code": 2,
        "output": "DISK CRITICAL - 2% free",
        "perfdata": {"free": {"value": 2, "unit": "%", "warn": "10", "crit": "5"}},
        "failed": {
            "expectation": "exit_code",
            "expected": "0",
            "got": "2: DISK CRITICAL - 2% free",
        },
    }


async def test_a_plugin_that_cannot_tell_records_nothing() -> None:
    assert await unknown(sh("echo no route to the agent; exit 3")) == (
        "sh cannot tell: no route to the agent"
    )


@pytest.mark.parametrize("code", [4, 126, 127, 255])
async def test_other_exit_codes_stand_for_no_status(code: int) -> None:
    assert f"exit code {code}, which stands for no status" in await unknown(sh(f"exit {code}"))


async def test_a_plugin_that_a_signal_ends_records_nothing() -> None:
    assert "was ended by signal 11" in await unknown(sh("kill -SEGV $$"))


async def test_a_missing_program_is_our_own_trouble() -> None:
    assert "no-such-program was not found" in await unknown(
        CommandProbe(command=("no-such-program",))
    )


async def test_a_program_that_may_not_be_run_is_our_own_trouble(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_text("#!/bin/sh\nexit 0\n")
    assert "may not be run" in await unknown(CommandProbe(command=(str(plugin),)))
    plugin.chmod(0o755)
    assert (await look_once(CommandProbe(command=(str(plugin),)))).status == "healthy"


async def test_a_program_of_another_kind_is_our_own_trouble(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    plugin.write_bytes(b"\x7fNO-ELF\x00\x01")
    plugin.chmod(0o755)
    assert "cannot be started (Exec format error)" in await unknown(
        CommandProbe(command=(str(plugin),))
    )


async def test_too_many_arguments_are_our_own_trouble() -> None:
    assert "Argument list too long" in await unknown(CommandProbe(command=("true", "x" * 10**7)))


async def test_a_working_directory_that_is_gone_is_our_own_trouble(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert f"the folder {gone} cannot be entered" in await unknown(
        sh("exit 0", working_directory=gone)
    )


async def test_it_runs_in_its_working_directory(tmp_path: Path) -> None:
    (tmp_path / "plugin").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "plugin").chmod(0o755)
    probe = CommandProbe(command=("./plugin",), working_directory=str(tmp_path))
    assert (await look_once(probe)).details["output"] == str(tmp_path)


async def test_there_is_no_shell() -> None:
    outcome = await look_once(CommandProbe(command=("echo", "$HOME", "&&", "exit 2")))
    assert outcome.details["output"] == "$HOME && exit 2"


async def test_it_gets_its_own_variables_and_few_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULSEBASE_KEY", SECRET)
    outcome = await look_once(sh("env | sort | tr '\\n' ' '", environment={"A_WORD": "7"}))
    assert "A_WORD=7" in outcome.details["output"]
    assert "PATH=" in outcome.details["output"]
    assert SECRET not in outcome.details["output"]


@pytest.mark.parametrize("code", [0, 2, 3])
async def test_a_secret_of_its_environment_is_never_shown(code: int) -> None:
    script = f'echo "token $TOKEN | $TOKEN=1 a=1;$TOKEN"; echo "$TOKEN" >&2; exit {code}'
    probe = sh(script, environment={"TOKEN": SECRET})
    try:
        shown = str((await look_once(probe)).details)
    except UnknownHealthError as error:
        shown = str(error)
    assert "token ***" in shown
    assert SECRET not in shown
    assert SECRET not in repr(probe)


async def test_without_output_its_last_complaint_is_shown() -> None:
    program = "import sys; sys.stderr.write('Traceback\\nValueError: no disk\\n'); sys.exit(2)"
    outcome = await look_once(python(program))
    assert outcome.details["output"] == "ValueError: no disk"


async def test_a_slow_healthy_answer_is_judged_by_its_time() -> None:
    probe = sh("sleep 0.1", degraded_above=timedelta(milliseconds=50))
    outcome = await look_once(probe)
    assert outcome.status == "degraded"
    assert outcome.details["failed"]["expectation"] == "degraded_above"


async def timed(probe: CommandProbe, timeout_seconds: float) -> tuple[Outcome, float]:
    began = time.monotonic()
    outcome = await look_once(probe, timeout_seconds=timeout_seconds)
    return outcome, time.monotonic() - began


async def test_a_hanging_plugin_ends_in_time_with_all_that_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 61 & echo $! >> {pids}; (sleep 62 & echo $! >> {pids}; wait) & wait"
    outcome, elapsed_seconds = await timed(sh(f"echo hello; {script}"), 1.0)
    assert outcome.status == "down"
    assert outcome.latency_ms is None
    assert outcome.details["error"]["kind"] == "timeout"
    assert outcome.details["output"] == "hello"
    assert elapsed_seconds < 8
    for process_id in map(int, pids.read_text().split()):
        wait_until_gone(process_id)


async def test_a_plugin_that_will_not_be_told_is_killed() -> None:
    outcome, elapsed_seconds = await timed(sh("trap '' TERM; while :; do sleep 0.1; done"), 1.0)
    assert outcome.details["error"]["kind"] == "timeout"
    assert elapsed_seconds < 8


async def test_a_plugin_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    script = f"trap ': > {tidied}; exit 0' TERM; while :; do sleep 0.05; done"
    outcome, _ = await timed(sh(script), 3.0)
    assert outcome.details["error"]["kind"] == "timeout"
    assert tidied.exists()


async def test_a_child_that_keeps_the_pipe_open_delays_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    outcome, elapsed_seconds = await timed(sh(f"sleep 61 & echo $! > {pid}; echo fine"), 10)
    assert (outcome.status, outcome.details["output"]) == ("healthy", "fine")
    assert elapsed_seconds < 8
    wait_until_gone(int(pid.read_text()))


async def test_a_daemon_that_keeps_the_pipe_open_delays_nothing(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        f"    open({str(pid)!r}, 'w').write(str(os.getpid()))\n"
        "    time.sleep(61)\n"
        "print('started')\n"
    )
    try:
        outcome, elapsed_seconds = await timed(python(program), 10)
        assert outcome.details["output"] == "started"
        assert elapsed_seconds < 8
    finally:
        os.kill(wait_until(lambda: int(pid.read_text() or 0), "it is there"), signal.SIGKILL)


async def test_endless_output_is_our_own_trouble_and_takes_no_memory() -> None:
    before = psutil.Process().memory_info().rss
    assert "writes more than 1 MiB" in await unknown(CommandProbe(command=("yes",)))
    assert psutil.Process().memory_info().rss - before < 32 * 1024 * 1024


async def test_much_output_is_read_and_its_first_line_kept() -> None:
    outcome = await look_once(python("print('fine'); print('x' * 500_000)"))
    assert outcome.details == {"exit_code": 0, "output": "fine"}
    outcome = await look_once(python("print('x' * 500_000)"))
    assert len(outcome.details["output"]) == 200


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.write(1, os.urandom(50_000))",
        "import os; os.write(1, b'\\x00\\xff\\xfe|\\x00=1\\n' * 5000)",
        "import os; os.write(1, b'|' + b\"'\" * 60_000)",
        "import os; os.write(1, b'|' + b'a=' * 30_000)",
        "import os; os.write(1, b'\\n' * 60_000)",
        "import os; os.write(1, b'|x=' + b'9' * 60_000)",
        "import os; os.close(1); os.close(2)",
    ],
    ids=["random", "odd", "quotes", "labels", "blank", "digits", "closed"],
)
async def test_any_output_makes_a_check(program: str) -> None:
    outcome, elapsed_seconds = await timed(python(program), 10)
    assert outcome.status == "healthy"
    assert elapsed_seconds < 8


async def test_a_look_that_is_given_up_leaves_nothing_running(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with ProbeTools() as tools:
        probe = sh(f"sleep 61 & echo $! $$ > {pids}; wait")
        look = asyncio.create_task(probe.probe(a_look(tools, timeout_seconds=60)))
        await wait_until_async(lambda: pids.exists() and pids.read_text(), "the plugin runs")
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look
    for process_id in map(int, pids.read_text().split()):
        wait_until_gone(process_id)


async def test_many_at_once_leave_no_descriptor_open() -> None:
    await look_once(sh("exit 0"))
    before = psutil.Process().num_fds()
    async with ProbeTools() as tools:
        looks = [sh("echo fine").probe(a_look(tools, timeout_seconds=30)) for _ in range(50)]
        outcomes = await asyncio.gather(*looks)
    assert {outcome.status for outcome in outcomes} == {"healthy"}
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"command": ()}, "command"),
        ({"command": ("",)}, "command"),
        ({"command": ("true", "a\0b")}, "command"),
        ({"command": ("true",), "environment": {"A B": "1"}}, "environment"),
        ({"command": ("true",), "environment": {"A=B": "1"}}, "environment"),
        ({"command": ("true",), "environment": {"A": "\0"}}, "environment"),
        ({"command": ("true",), "working_directory": "here"}, "working_directory"),
    ],
)
def test_keys_that_cannot_work_are_refused(keys: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        CommandProbe(**keys)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("output", "shown", "data"),
    [
        ("OK\n", "OK", ""),
        ("\n\nOK | a=1\n", "OK", "a=1"),
        ("OK | a=1\nmore\neven more | b=2\nc=3\n", "OK", "a=1  b=2\nc=3"),
        ("OK\r\nmore | b=2", "OK", "b=2"),
        ("", "", ""),
    ],
)
def test_output_is_parted_from_performance_data(output: str, shown: str, data: str) -> None:
    assert split_output(output) == (shown, data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "/=2643MB;5948;5958;0;5968",
            {
                "/": {
                    "value": 2643,
                    "unit": "MB",
                    "warn": "5948",
                    "crit": "5958",
                    "min": 0,
                    "max": 5968,
                }
            },
        ),
        (
            "rta=12.445000ms;100.000000;200.000000;0.000000 pl=0%;5;15;0",
            {
                "rta": {
                    "value": 12.445,
                    "unit": "ms",
                    "warn": "100.000000",
                    "crit": "200.000000",
                    "min": 0,
                },
                "pl": {"value": 0, "unit": "%", "warn": "5", "crit": "15", "min": 0},
            },
        ),
        ("'free space'=-1.5e3B", {"free space": {"value": -1500, "unit": "B"}}),
        ("'it''s'=1c", {"it's": {"value": 1, "unit": "c"}}),
        ("load=.5;@10:20;~:30", {"load": {"value": 0.5, "warn": "@10:20", "crit": "~:30"}}),
        ("a=U;;;; b=2;;;;", {"a": {"value": None}, "b": {"value": 2}}),
        ("µ=3µs", {"µ": {"value": 3, "unit": "µs"}}),
        ("a=1,5s b=2", {"b": {"value": 2}}),
        ("a=nan b=inf c=1e999 d= =5 e", {"c": {"value": None}}),
        ("a=1 a=2", {"a": {"value": 2}}),
        (f"a={2**60}", {"a": {"value": float(2**60)}}),
        ("", {}),
    ],
)
def test_performance_data_become_values(data: str, expected: dict[str, Any]) -> None:
    assert parse_perfdata(data) == expected


def test_performance_data_are_bounded() -> None:
    assert len(parse_perfdata(" ".join(f"label{n}=1" for n in range(5000)))) == 50
    assert parse_perfdata("x" * 101 + "=1") == {}


@pytest.mark.parametrize("hostile", ["'" * 10**6, "a=" * 10**6, "' " * 10**6, "=1;" * 10**6])
def test_hostile_performance_data_take_no_time(hostile: str) -> None:
    began = time.monotonic()
    parse_perfdata(hostile)
    assert time.monotonic() - began < 2
