"""`pulsebase deliver` as cron calls it: what may go goes, and its exit code says how it went."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.cli_process import Ended, pulsebase
from tests.support.dispatching import (
    asked,
    messages,
    open_alerts,
    recover,
    repeats_by_key,
    write_channels,
)
from tests.support.notices import Receiver
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def deliver(url: str, path: Path, *arguments: str) -> Ended:
    return await asyncio.to_thread(pulsebase, "deliver", "-c", str(path), "--url", url, *arguments)


async def document(url: str, path: Path) -> tuple[int, dict[str, Any]]:
    ended = await deliver(url, path, "--json")
    return ended.code, json.loads(ended.out)


def statuses(url: str) -> list[str]:
    return [status for _, status, _ in messages(url).values()]


async def test_it_publishes_the_channels_and_sends_what_they_are_owed(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, ops=ops.url)
        first = await deliver(database, path)
        assert (first.code, first.out, first.err) == (0, "delivered 0 messages\n", "")
        open_alerts(database, ["checkout", "search"])
        second = await deliver(database, path)
        assert (second.code, second.out, second.err) == (0, "delivered 2 messages\n", "")
    assert repeats_by_key(ops.received) == dict.fromkeys(messages(database), 1)


async def test_what_waits_for_an_earlier_message_of_its_service_goes_in_the_same_call(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, ops=ops.url)
        await deliver(database, path)
        open_alerts(database, ["checkout"])
        recover(database, ["checkout"])
        code, done = await document(database, path)
    assert code == 0
    assert [message["outcome"] for message in done["messages"]] == ["delivered", "delivered"]
    assert done["next_due_at"] is None
    kinds = [json.loads(one.body)["notices"][0]["kind"] for one in ops.received]
    assert kinds == ["opened", "resolved"]


async def test_more_than_can_be_under_way_at_once_goes_in_one_call(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, ops=ops.url)
        await deliver(database, path)
        open_alerts(database, [f"service-{number}" for number in range(60)])
        ended = await deliver(database, path)
    assert (ended.code, ended.out) == (0, "delivered 60 messages\n")
    assert len(repeats_by_key(ops.received)) == 60


async def test_what_is_younger_than_the_window_is_left_for_later(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, group_window="1h", ops=ops.url)
        await deliver(database, path)
        open_alerts(database, ["checkout"])
        code, done = await document(database, path)
    assert (code, done["messages"], ops.received) == (0, [], [])
    assert done["next_due_at"] is not None


async def test_a_channel_that_is_away_is_named_and_left_and_the_others_are_told(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, ops=ops.url, chat=f"http://127.0.0.1:{free_port()}/hidden-word")
        await deliver(database, path)
        open_alerts(database, ["checkout"])
        ended = await deliver(database, path)
    assert ended.code == 1
    assert ended.out == "delivered 1 message, and not 1 message\n"
    assert "chat was not told opened: service_down of 'checkout'; it is tried again" in ended.err
    assert "hidden-word" not in ended.everything
    assert sorted(statuses(database)) == ["delivered", "pending"]


async def test_a_refused_message_is_dead_and_says_so(database: str, tmp_path: Path) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver(410) as ops:
        write_channels(path, ops=ops.url)
        await deliver(database, path)
        open_alerts(database, ["checkout"])
        code, done = await document(database, path)
        assert code == 1
        [message] = done["messages"]
        assert (message["outcome"], message["status"]) == ("refused", "dead")
        again = await deliver(database, path)
        assert (again.code, again.out) == (0, "delivered 0 messages\n")
    assert len(ops.received) == 1


async def test_without_its_tables_or_its_database_it_fails_with_a_sentence(
    empty_database: str, tmp_path: Path
) -> None:
    path = tmp_path / "pulsebase.toml"
    write_channels(path, ops="http://127.0.0.1:9/")
    unmigrated = await deliver(empty_database, path)
    assert (unmigrated.code, unmigrated.out) == (1, "")
    assert "pulsebase db migrate" in unmigrated.err
    away = await deliver(f"postgresql://127.0.0.1:{free_port()}/nobody", path)
    assert (away.code, away.out) == (1, "")
    assert away.err.startswith("error: ")


async def test_several_calls_at_once_send_everything_once(database: str, tmp_path: Path) -> None:
    path = tmp_path / "pulsebase.toml"
    async with Receiver() as ops:
        write_channels(path, timeout="30s", ops=ops.url)
        await deliver(database, path)
        open_alerts(database, [f"service-{number}" for number in range(40)])
        ended = await asyncio.gather(*(deliver(database, path) for _ in range(4)))
    assert {each.code for each in ended} == {0}
    assert len(ops.received) == len(repeats_by_key(ops.received)) == 40
    assert asked(database, "select count(*) from alert_message_attempts") == [(40,)]
