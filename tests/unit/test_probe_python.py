"""Functions of other people, called: well-behaved, broken, hanging and odd."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.probes import Outcome, ProbeTools, UnknownHealthError
from pulsebase.probes.python import PythonProbe
from pulsebase.probes.support import callables
from tests.support import shop_health
from tests.support.looking import a_look, look_once
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "canary-4f9c2d71b6"  # noqa: S105 -- nobody's


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Lets go what waits in the shop, at the end or earlier; a folder is importable meanwhile."""
    monkeypatch.syspath_prepend(str(tmp_path))
    release = Event()
    monkeypatch.setattr(shop_health, "release", release)
    yield release
    release.set()


def of_shop(function: str, **arguments: Any) -> PythonProbe:
    return PythonProbe(callable=f"tests.support.shop_health:{function}", arguments=arguments)


async def unknown(probe: PythonProbe) -> str:
    with pytest.raises(UnknownHealthError) as caught:
        await look_once(probe)
    return str(caught.value)


@pytest.mark.parametrize("function", ["gives", "gives_later"])
@pytest.mark.parametrize(
    ("what", "status"),
    [
        (None, "healthy"),
        (True, "healthy"),
        (False, "down"),
        ("healthy", "healthy"),
        ("degraded", "degraded"),
        ("down", "down"),
    ],
)
async def test_what_it_returns_is_the_status(function: str, what: Any, status: str) -> None:
    before = datetime.now(UTC)
    outcome = await look_once(of_shop(function, what=what))
    assert outcome.status == status
    assert outcome.latency_ms is not None
    assert before <= outcome.checked_at <= datetime.now(UTC)
    assert ("failed" in outcome.details) == (status != "healthy")


async def test_anything_that_can_be_called_is_called() -> None:
    assert (await look_once(of_shop("awaited"))).status == "degraded"
    assert (await look_once(of_shop("Cupboard.full"))).status == "healthy"


async def test_a_mapping_brings_its_own_details_and_time() -> None:
    outcome = await look_once(of_shop("maps"))
    assert (outcome.status, outcome.latency_ms) == ("degraded", 7)
    assert outcome.details == {"queue": 12, "loop": [1]}


async def test_an_outcome_is_taken_as_it_is() -> None:
    outcome = await look_once(of_shop("answers"))
    assert outcome == Outcome(
        status="degraded",
        latency_ms=3,
        checked_at=datetime(2026, 1, 1, tzinfo=UTC),
        details={"seen": 1},
    )


async def test_details_that_are_nested_without_end_are_cut() -> None:
    outcome = await look_once(of_shop("odd", number=list(shop_health.ODD).index("deep")))
    assert outcome.status == "down"
    assert "failed" not in outcome.details
    assert "(too large)" in repr(outcome.details)


@pytest.mark.parametrize(
    ("kind", "got"),
    [
        ("number", "ValueError: it returned a int"),
        ("text", "ValueError: it returned the text 'fine'"),
        ("empty", "ValueError: it returned the text ''"),
        ("bytes", "ValueError: it returned a bytes"),
        ("generator", "ValueError: it returned a generator"),
        ("no status", "ValueError: the status of the mapping is a NoneType"),
        ("status", "ValueError: the status of the mapping is the text 'up'"),
        ("list", "ValueError: the status of the mapping is a list"),
        ("key", "ValueError: the mapping has the unknown key detials"),
        ("details", "TypeError: the details of the mapping are the text 'x'"),
        ("object", "TypeError: probe details hold plain JSON values, not object"),
        ("huge", "ValueError: Exceeds the limit"),
        ("latency", "ValueError: the latency_ms of the mapping is no whole number from 0 on"),
        ("flag", "ValueError: the latency_ms of the mapping is no whole number from 0 on"),
        ("far", "ValueError: the latency_ms of the mapping is no whole number from 0 on"),
    ],
)
async def test_any_other_answer_is_a_failure_that_says_so(kind: str, got: str) -> None:
    outcome = await look_once(of_shop("odd", number=list(shop_health.ODD).index(kind)))
    assert outcome.status == "down"
    assert outcome.details["failed"]["expectation"] == "result"
    assert outcome.details["failed"]["got"].startswith(got)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("leaves", "SystemExit: 3"),
        ("leaves_later", "SystemExit: 3"),
        ("stops", "StopIteration"),
        ("cancels", "CancelledError"),
        ("mumbles", "MuteError"),
    ],
)
async def test_whatever_it_raises_is_down(function: str, message: str) -> None:
    outcome = await look_once(of_shop(function))
    assert (outcome.status, outcome.latency_ms) == ("down", None)
    assert outcome.details == {"error": {"kind": "exception", "message": message}}


async def test_what_it_raises_is_told_without_secrets_and_cut() -> None:
    outcome = await look_once(of_shop("raises", token=SECRET))
    message = outcome.details["error"]["message"]
    assert message.startswith("ValueError: no such key: ***xxx")
    assert len(message) == 200
    assert SECRET not in repr(of_shop("raises", token=SECRET))


async def test_a_function_can_say_that_it_could_not_look() -> None:
    assert await unknown(of_shop("cannot_look")) == (
        "no way to the queue from here; open the tunnel"
    )


async def test_what_this_machine_is_out_of_is_our_own_trouble() -> None:
    assert "this machine is out of something" in await unknown(of_shop("runs_out"))


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no_such_package.health:queue", "No module named 'no_such_package'"),
        ("tests.support.shop_health:no_such_function", "has no attribute 'no_such_function'"),
        ("tests.support.shop_health:not_a_function", "is no function but of the type int"),
        ("broken_health:queue", "ZeroDivisionError"),
        ("leaving_health:queue", "SystemExit"),
        ("unreadable_health:queue", "SyntaxError"),
    ],
)
async def test_what_cannot_be_loaded_is_our_own_trouble(
    target: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "broken_health.py").write_text("1 / 0\n")
    (tmp_path / "leaving_health.py").write_text("raise SystemExit(1)\n")
    (tmp_path / "unreadable_health.py").write_text("def queue(:\n")
    assert message in await unknown(PythonProbe(callable=target))


async def test_arguments_that_it_does_not_take_are_our_own_trouble() -> None:
    assert "does not take these arguments" in await unknown(of_shop("gives", queue="mail"))


async def test_reading_the_configuration_runs_nobodys_code(tmp_path: Path) -> None:
    import sys

    (tmp_path / "loud_health.py").write_text("print('imported')\ndef queue(): pass\n")
    probe = PythonProbe(callable="loud_health:queue")
    assert "loud_health" not in sys.modules
    assert (await look_once(probe)).status == "healthy"


async def timed(probe: PythonProbe, timeout_seconds: float) -> tuple[Outcome, float]:
    began = time.monotonic()
    outcome = await look_once(probe, timeout_seconds=timeout_seconds)
    return outcome, time.monotonic() - began


@pytest.mark.parametrize("function", ["waits", "waits_later", "ignores"])
async def test_one_that_hangs_is_down_when_the_timeout_is_over(function: str, shop: Event) -> None:
    outcome, elapsed_seconds = await timed(of_shop(function), 0.3)
    shop.set()
    assert (outcome.status, outcome.latency_ms) == ("down", None)
    assert outcome.details["error"]["kind"] == "timeout"
    assert elapsed_seconds < 10


@pytest.mark.parametrize("function", ["waits", "ignores"])
async def test_one_that_hangs_is_not_called_a_second_time(function: str, shop: Event) -> None:
    async with ProbeTools() as tools:
        probe = of_shop(function)
        assert (await probe.probe(a_look(tools, timeout_seconds=0.1))).status == "down"
        with pytest.raises(UnknownHealthError, match="not called again until then"):
            await probe.probe(a_look(tools, timeout_seconds=0.1))
        # Another service is not concerned.
        other = await of_shop("gives").probe(a_look(tools, service_name="b"))
        assert other.status == "healthy"
        shop.set()

        async def is_back() -> bool:
            try:
                return (await of_shop("gives").probe(a_look(tools))).status == "healthy"
            except UnknownHealthError:
                return False

        await wait_until_async(is_back, "the function has come back")


async def test_a_hanging_thread_keeps_no_process_from_ending() -> None:
    await look_once(of_shop("waits"), timeout_seconds=0.1)
    [left] = [one for one in threading.enumerate() if one.name.startswith("callable ")]
    assert left.daemon


def left_behind() -> int:
    """How many threads wait in the function that waits."""
    return sum(thread.name.endswith(":waits") for thread in threading.enumerate())


async def test_the_number_of_hanging_threads_is_bounded(
    shop: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callables, "MOST_LEFT_BEHIND", 3)
    async with ProbeTools() as tools:
        for name in "abc":
            await of_shop("waits").probe(a_look(tools, timeout_seconds=0.1, service_name=name))
        for name in "def":
            with pytest.raises(UnknownHealthError, match="3 callables have not come back"):
                await of_shop("waits").probe(a_look(tools, service_name=name))
        assert left_behind() == 3
        shop.set()
        await wait_until_async(lambda: left_behind() == 0, "they are back")
        assert (await of_shop("gives").probe(a_look(tools, service_name="g"))).status == "healthy"


async def test_a_module_that_hangs_at_import_is_our_own_trouble(tmp_path: Path) -> None:
    (tmp_path / "slow_health.py").write_text(
        "from tests.support import shop_health\nshop_health.release.wait(60)\ndef queue(): pass\n"
    )
    with pytest.raises(UnknownHealthError, match=r"was not imported within 0\.2 s"):
        await look_once(PythonProbe(callable="slow_health:queue"), timeout_seconds=0.2)


async def test_a_look_that_is_given_up_cancels_the_coroutine() -> None:
    async with ProbeTools() as tools:
        look = asyncio.create_task(of_shop("waits_later").probe(a_look(tools, timeout_seconds=60)))
        await wait_until_async(lambda: len(asyncio.all_tasks()) > 2, "the coroutine waits")
        look.cancel()
        with pytest.raises(asyncio.CancelledError):
            await look

        async def is_back() -> bool:
            try:
                return (await of_shop("gives").probe(a_look(tools))).status == "healthy"
            except UnknownHealthError:
                return False

        await wait_until_async(is_back, "the coroutine has ended")


@pytest.mark.parametrize("function", ["waits", "waits_later"])
async def test_closing_the_tools_ends_a_look_without_an_answer(function: str) -> None:
    async with ProbeTools() as tools:
        look = asyncio.create_task(of_shop(function).probe(a_look(tools, timeout_seconds=60)))
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await look


async def test_a_slow_answer_is_judged_by_its_time() -> None:
    probe = PythonProbe(
        callable="tests.support.shop_health:sleeps", degraded_above=timedelta(milliseconds=50)
    )
    outcome = await look_once(probe)
    assert outcome.status == "degraded"
    assert outcome.latency_ms is not None
    assert outcome.latency_ms >= 100
    assert outcome.details["failed"]["expectation"] == "degraded_above"


async def test_the_time_of_the_import_is_not_that_of_the_call(tmp_path: Path) -> None:
    (tmp_path / "heavy_health.py").write_text("import time\ntime.sleep(1)\ndef queue(): pass\n")
    outcome = await look_once(PythonProbe(callable="heavy_health:queue"))
    assert outcome.latency_ms is not None
    assert outcome.latency_ms < 900


async def test_a_function_never_holds_up_the_loop() -> None:
    look = asyncio.create_task(look_once(of_shop("sleeps")))
    seen: list[bool] = []

    def is_done() -> bool:
        seen.append(look.done())
        return seen[-1]

    await wait_until_async(is_done, "the function is back")
    assert seen.count(False) >= 2


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({"callable": ""}, "callable"),
        ({"callable": "shop"}, "callable"),
        ({"callable": "shop:"}, "callable"),
        ({"callable": ":queue"}, "callable"),
        ({"callable": "shop.health.queue"}, "callable"),
        ({"callable": "shop..health:queue"}, "callable"),
        ({"callable": "shop:queue()"}, "callable"),
        ({"callable": "shop:queue:length"}, "callable"),
        ({"callable": "shop:queue", "arguments": {"a b": 1}}, "arguments"),
    ],
)
def test_keys_that_cannot_work_are_refused(keys: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        PythonProbe(**keys)
    assert caught.value.field == field
