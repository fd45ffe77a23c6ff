from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.cli.logs import configure_logs
from pulsebase.cli.redaction import Redactor
from pulsebase.correlation import bind_correlation_id, current_correlation_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Lines: TypeAlias = Callable[[], list[dict[str, Any]]]

CANARY = "c4nary-s3cret"


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Lines]:
    """Logs configured as JSON lines; calling it gives the lines written since the last call."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    names = ("pulsebase", "pulsebase.transports", "httpx", "psycopg")
    levels = {name: logging.getLogger(name).level for name in names}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    configure_logs(logging.INFO, Redactor((CANARY,)), json_lines=True)
    yield lines
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=False)


def test_ours_and_the_libraries_records_have_one_form(logged: Lines) -> None:
    bind_correlation_id("abc")
    logging.getLogger("pulsebase.monitor").info("watching %d services", 1)
    logging.getLogger("httpx").warning("strange answer")
    ours, theirs = logged()
    assert ours["event"] == "watching 1 services"
    assert (ours["level"], ours["logger"]) == ("info", "pulsebase.monitor")
    assert set(ours) == set(theirs)
    assert ours["correlation_id"] == theirs["correlation_id"] == "abc"


def test_httpx_does_not_tell_of_every_url(logged: Lines) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://x")
    logging.getLogger("psycopg.pool").warning("error connecting in 'pool-1'")
    assert logged() == []


def test_calls_that_are_repeated_are_told_only_when_asked_for(logged: Lines) -> None:
    transports = logging.getLogger("pulsebase.transports")
    transports.info("attempt %d failed", 1)
    assert logged() == [], "an outage must not fill the log of a monitor"
    configure_logs(logging.DEBUG, Redactor(()), verbose=True, json_lines=True)
    transports.info("attempt %d failed", 1)
    (line,) = logged()
    assert line["event"] == "attempt 1 failed"


def test_no_part_of_a_record_gives_a_secret_away(logged: Lines) -> None:
    log = logging.getLogger("pulsebase")
    log.warning("key %s", CANARY)
    more = {"details": {"list": [CANARY]}, "password": "pw", "url": f"a:{CANARY}"}
    log.warning("more", extra=more)
    log.error("failed", exc_info=ValueError(CANARY))
    lines = logged()
    assert CANARY not in json.dumps(lines)
    assert lines[1]["password"] == "***"  # noqa: S105 -- it is hidden
    assert lines[2]["error"] == "ValueError"
    assert "exception" not in lines[2], "no traceback unless it is asked for"


def raised() -> ValueError:
    """An error with a traceback."""
    with pytest.raises(ValueError, match=CANARY) as caught:
        int(CANARY)
    return caught.value


def test_a_verbose_log_has_the_traceback_without_the_secret(
    capsys: pytest.CaptureFixture[str], logged: Lines
) -> None:
    configure_logs(logging.DEBUG, Redactor((CANARY,)), verbose=True, json_lines=True)
    logging.getLogger("pulsebase").error("failed", exc_info=raised())
    (line,) = logged()
    assert "Traceback" in line["exception"]
    assert CANARY not in line["exception"]
    assert not capsys.readouterr().out


def test_on_a_terminal_lines_are_readable_and_harmless(
    capsys: pytest.CaptureFixture[str], logged: Lines
) -> None:
    assert logged() == []
    configure_logs(logging.INFO, Redactor(), json_lines=False)
    logging.getLogger("pulsebase").warning("service %s", "x\x1b[2J\u202e")
    text = capsys.readouterr().err
    assert "service x\\x1b[2J\\u202e" in text
    assert text.count("\n") == 1


def test_configuring_twice_writes_once(logged: Lines) -> None:
    configure_logs(logging.INFO, Redactor(), json_lines=True)
    logging.getLogger("pulsebase").warning("once")
    assert len(logged()) == 1


def test_each_task_has_its_own_correlation_id() -> None:
    async def cycle() -> tuple[str, str]:
        bound = bind_correlation_id()
        await asyncio.sleep(0)
        return bound, current_correlation_id()

    async def cycles() -> list[tuple[str, str]]:
        return await asyncio.gather(*(cycle() for _ in range(3)))

    before = current_correlation_id()
    pairs = asyncio.run(cycles())
    assert all(bound == seen for bound, seen in pairs)
    assert len(set(pairs)) == 3
    assert current_correlation_id() == before
