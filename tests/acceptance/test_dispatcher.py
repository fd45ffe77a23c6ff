"""The dispatcher on a real database, before real receivers that are there, slow, away or angry."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Self

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from pulsebase.connection import connect_async
from pulsebase.monitor.delivering.dispatcher import Dispatcher
from pulsebase.monitor.reachability import Reachability
from pulsebase.notifiers.webhook import WebhookNotifier
from tests.support.dispatching import (
    all_delivered,
    asked,
    messages,
    open_alerts,
    publish,
    recover,
    repeats_by_key,
)
from tests.support.lying_server import LyingServer, stalls
from tests.support.notices import Receiver
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from pulsebase.notifiers import Notifier
    from tests.support.postgres_server import PostgresServer
    from tests.support.postgrest_server import PostgrestServer

pytestmark = pytest.mark.anyio


def hook(url: str, timeout_seconds: float = 10) -> WebhookNotifier:
    timeout = timedelta(seconds=timeout_seconds)
    return WebhookNotifier(url=url, allow_private_addresses=True, timeout=timeout)


@asynccontextmanager
async def dispatching(
    database: str, key: str | None = None, **notifiers: Notifier
) -> AsyncIterator[Dispatcher]:
    async with (
        connect_async(database, key=key) as connection,
        Dispatcher(connection, notifiers, reachability=Reachability()) as dispatcher,
    ):
        yield dispatcher


async def until_delivered(database: str, deliveries: int) -> None:
    await wait_until_async(
        lambda: all_delivered(database, deliveries), f"{deliveries} deliveries arrived", 60
    )


async def test_what_is_owed_is_sent_once_with_the_message_as_its_key(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "pulsebase.monitor")
    publish(database, "ops")
    async with Receiver() as receiver, dispatching(database, ops=hook(receiver.url)):
        open_alerts(database, ["checkout"])
        await until_delivered(database, 1)
        recover(database, ["checkout"])
        await until_delivered(database, 2)
    assert repeats_by_key(receiver.received) == dict.fromkeys(messages(database), 1)
    assert "told 'ops' opened: service_down of 'checkout'" in caplog.text
    assert "told 'ops' resolved: service_down of 'checkout'" in caplog.text


async def test_over_https_all_is_the_same(
    database: str, start_postgrest: Callable[[str], PostgrestServer]
) -> None:
    publish(database, "ops")
    server = await asyncio.to_thread(start_postgrest, database)
    async with Receiver() as receiver:
        open_alerts(database, [f"service-{number}" for number in range(20)])
        async with dispatching(server.url, server.service_key, ops=hook(receiver.url)):
            await until_delivered(database, 20)
    assert repeats_by_key(receiver.received) == dict.fromkeys(messages(database), 1)


async def test_messages_about_a_service_go_out_in_order_also_when_one_has_to_be_repeated(
    database: str,
) -> None:
    publish(database, "ops")
    open_alerts(database, ["checkout"])
    async with (
        Receiver(503, 200, headers="Retry-After: 0\r\n") as receiver,
        dispatching(database, ops=hook(receiver.url)),
    ):
        await wait_until_async(lambda: receiver.received, "the first attempt")
        recover(database, ["checkout"])
        await until_delivered(database, 2)
    kinds = [json.loads(one.body)["notices"][0]["kind"] for one in receiver.received]
    assert kinds == ["opened", "opened", "resolved"]
    assert [tries for _, _, tries in messages(database).values()] == [2, 1]


async def test_a_slow_channel_delays_no_other_and_is_asked_for_no_more_than_it_can_take(
    database: str,
) -> None:
    publish(database, "slow", "quick")
    open_alerts(database, [f"service-{number}" for number in range(40)])
    async with (
        LyingServer(stalls()) as slow,
        Receiver() as quick,
        dispatching(database, slow=hook(slow.url, 50), quick=hook(quick.url)) as dispatcher,
    ):
        await wait_until_async(lambda: dispatcher.delivered == 40, "the quick one has it all", 30)
        sending = asked(database, "select count(*) from alert_messages where status = 'sending'")
        assert sending == [(slow.connections,)]
        assert slow.connections <= 8
    assert len(repeats_by_key(quick.received)) == 40


async def test_what_is_under_way_at_the_end_is_finished_and_nothing_new_is_begun(
    database: str,
) -> None:
    publish(database, "ops")
    open_alerts(database, ["checkout"])
    arrived, may_answer = asyncio.Event(), asyncio.Event()

    async def answer_when_allowed(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes
    ) -> None:
        arrived.set()
        await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        LyingServer(answer_when_allowed) as receiver,
        dispatching(database, ops=hook(receiver.url)) as dispatcher,
    ):
        async with asyncio.timeout(20):
            await arrived.wait()
        dispatcher.stop()
        open_alerts(database, ["search"])
        asyncio.get_running_loop().call_later(0.2, may_answer.set)
    assert receiver.connections == 1
    assert [status for _, status, _ in messages(database).values()] == ["delivered"]


async def test_a_changed_channel_gets_what_is_new_and_what_was_under_way_stays_where_it_was(
    database: str,
) -> None:
    publish(database, "ops")
    open_alerts(database, ["checkout"])
    may_answer = asyncio.Event()

    async def answer_when_allowed(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes
    ) -> None:
        await may_answer.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with (
        LyingServer(answer_when_allowed) as before,
        Receiver() as after,
        dispatching(database, ops=hook(before.url)) as dispatcher,
    ):
        await wait_until_async(lambda: before.requests, "the first one is under way")
        dispatcher.update({"ops": hook(after.url)})
        open_alerts(database, ["search"])
        await wait_until_async(lambda: after.received, "the second one went elsewhere")
        may_answer.set()
        await until_delivered(database, 2)
    assert before.connections == 1
    assert b"search" in after.only.body


@contextmanager
def cut_off(postgres: PostgresServer, database: str) -> Iterator[None]:
    """Nobody reaches the database while the block runs."""
    name = sql.Identifier(str(conninfo_to_dict(database)["dbname"]))
    with psycopg.connect(postgres.url(), autocommit=True) as admin:
        admin.execute(sql.SQL("alter database {} allow_connections false").format(name))
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
            [conninfo_to_dict(database)["dbname"]],
        )
        try:
            yield
        finally:
            admin.execute(sql.SQL("alter database {} allow_connections true").format(name))


async def test_a_report_that_cannot_be_stored_is_stored_when_it_can(
    postgres: PostgresServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The message is not sent again meanwhile: it is still ours."""
    caplog.set_level(logging.INFO, "pulsebase.monitor")
    publish(database, "ops")
    open_alerts(database, ["checkout"])
    away = ExitStack()

    async def answer_when_the_database_is_away(
        _: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes
    ) -> None:
        away.enter_context(cut_off(postgres, database))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with away:
        async with (
            LyingServer(answer_when_the_database_is_away) as receiver,
            dispatching(database, ops=hook(receiver.url)) as dispatcher,
        ):
            await wait_until_async(lambda: dispatcher.trouble, "a round came to nothing", 30)
            away.close()
            await until_delivered(database, 1)
            await wait_until_async(lambda: dispatcher.trouble is None, "all is well", 40)
    assert receiver.connections == 1
    lines = [record.message for record in caplog.records]
    assert sum("no messages are delivered: " in line for line in lines) == 1
    assert sum("messages are delivered again" in line for line in lines) == 1


class Returning(Receiver):
    """A receiver on a port of one's choice, that others may have tried before."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        return self


@pytest.mark.parametrize("issue", ["UK#6046", "HC#212"])
async def test_a_channel_that_is_away_for_some_seconds_gets_its_messages_when_it_is_back(
    database: str, issue: str
) -> None:
    """In their order, and nothing is lost by its being away."""
    service, port = issue, free_port()
    publish(database, "ops")
    async with dispatching(database, ops=hook(f"http://127.0.0.1:{port}/")):
        open_alerts(database, [service])
        await wait_until_async(
            lambda: asked(database, "select from alert_messages where last_error is not null"),
            "it was tried in vain",
            30,
        )
        recover(database, [service])
        async with Returning(port) as receiver:
            await until_delivered(database, 2)
    assert repeats_by_key(receiver.received) == dict.fromkeys(messages(database), 1)
    kinds = [json.loads(one.body)["notices"][0]["kind"] for one in receiver.received]
    assert kinds == ["opened", "resolved"]


async def test_refusals_and_failures_are_told_once(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    publish(database, "ops", "chat")
    open_alerts(database, ["checkout", "search"])
    async with (
        Receiver(503, 503, 200, headers="Retry-After: 0\r\n") as ops,
        Receiver(410) as chat,
        dispatching(database, ops=hook(ops.url), chat=hook(chat.url)),
    ):
        settled = sorted(["dead", "dead", "delivered", "delivered"])
        await wait_until_async(
            lambda: sorted(status for _, status, _ in messages(database).values()) == settled,
            "everything is settled",
            40,
        )
    lines = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert sum("the channel 'ops' does not take messages" in line for line in lines) == 1
    assert sum("the channel 'ops' takes messages again" in line for line in lines) == 1
    assert sum("the channel 'chat' was not told" in line for line in lines) == 2
