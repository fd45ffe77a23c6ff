"""kill -9 before and after every step of a delivery: nothing is lost, and repeats are known by key.

Where a process is when it dies is not a matter of luck: what kills it is the database, when a claim
or a report waits for a lock or has just been committed, or the receiver, when somebody connects,
when a message has arrived whole, and when it has been answered.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID

import psycopg
import pytest

from tests.acceptance.monitor_process import monitoring
from tests.support.dispatching import all_delivered, asked, open_alerts, write_channels
from tests.support.mail_server import MailServer
from tests.support.raw_server import RawServer
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

Moment: TypeAlias = Literal[
    "a claim waits",
    "claimed",
    "connected",
    "arrived",
    "answered",
    "a report waits",
    "reported",
]
MOMENTS: tuple[Moment, ...] = get_args(Moment)
CHANNELS = ("hook", "mail")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
WAITS_FOR_LOCK = """
    select exists (
        select
        from pg_stat_activity
        where datname = current_database()
            and wait_event_type = 'Lock'
            and query like %s
    )
"""
TELLS_OF_ATTEMPTS = """
    create function tell_of_attempt() returns trigger language plpgsql as $$
    begin
        perform pg_notify(
            'attempts',
            case when tg_op = 'INSERT' then 'claimed ' else 'reported ' end || message.channel
        )
        from public.alert_messages as message
        where message.id = new.message_id;
        return null;
    end
    $$;
    create trigger tell_of_attempt
        after insert or update on alert_message_attempts
        for each row execute function tell_of_attempt();
"""


@dataclass(slots=True)
class Killer:
    """Kills the process that it is given when the moment has come on the channel, once."""

    url: str
    moment: Moment = "claimed"
    channel: str = ""
    victim: subprocess.Popen[bytes] | None = None
    kills: Counter[tuple[str, Moment]] = field(default_factory=Counter)

    def aim(self, victim: subprocess.Popen[bytes], moment: Moment, channel: str) -> None:
        self.victim, self.moment, self.channel = victim, moment, channel

    def reached(self, moment: Moment, channel: str) -> None:
        """Something has come so far."""
        if self.victim and (moment, channel) == (self.moment, self.channel):
            self.victim.kill()
            self.kills[channel, moment] += 1
            self.victim = None

    async def kill_when_waiting(self, query: str) -> None:
        """Kill as soon as such a call waits for a lock of ours, if nothing else has by then."""
        victim = self.victim
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as watcher:

            async def waits() -> bool:
                if self.victim is not victim:
                    return True
                row = await (await watcher.execute(WAITS_FOR_LOCK, [query])).fetchone()
                return bool(row and row[0])

            await wait_until_async(waits, f"a call like {query} waits", 90)
        if self.victim is victim:
            self.reached(self.moment, self.channel)

    async def listen(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Hear of every claim and report that is committed."""
        async for notice in connection.notifies():
            word, _, channel = notice.payload.partition(" ")
            self.reached("claimed" if word == "claimed" else "reported", channel)


class Receivers:
    """An HTTP receiver and a mail server that tell the killer how far it has come."""

    def __init__(self, killer: Killer) -> None:
        self._killer = killer
        self.received: list[tuple[str, UUID, frozenset[str]]] = []
        self._holding: set[asyncio.Task[None]] = set()

    def _note(self, channel: str, key: str, text: str) -> None:
        self.received.append((channel, UUID(key), frozenset(re.findall(r"service-\d+", text))))

    async def _hold_report(self, channel: str, key: str) -> None:
        """Keep the report of a message waiting from now on, where that is the moment."""
        killer = self._killer
        if (killer.moment, killer.channel) != ("a report waits", channel) or not killer.victim:
            return
        locked = asyncio.Event()
        holding = asyncio.create_task(self._lock(key, locked))
        self._holding.add(holding)
        holding.add_done_callback(self._holding.discard)
        await locked.wait()

    async def _lock(self, key: str, locked: asyncio.Event) -> None:
        async with await psycopg.AsyncConnection.connect(self._killer.url) as holder:
            await holder.execute("select from alert_messages where id = %s for update", [key])
            locked.set()
            await self._killer.kill_when_waiting("%finish_alert_message%")

    async def hook(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._killer.reached("connected", "hook")
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self._note("hook", headers["idempotency-key"], body.decode())
        self._killer.reached("arrived", "hook")
        await self._hold_report("hook", headers["idempotency-key"])
        writer.write(ANSWER)
        await writer.drain()
        self._killer.reached("answered", "hook")

    async def handle_EHLO(  # noqa: N802 -- aiosmtpd calls it so
        self, _: object, session: Any, __: object, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self._killer.reached("connected", "mail")
        return responses

    async def handle_DATA(self, _: object, __: object, envelope: Any) -> str:  # noqa: N802
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        body = mail.get_body(("plain", "html"))
        key = mail["X-Idempotency-Key"]
        self._note("mail", key, body.get_content() if body else "")
        self._killer.reached("arrived", "mail")
        await self._hold_report("mail", key)
        return "250 OK"

    async def handle_QUIT(self, _: object, __: object, ___: object) -> str:  # noqa: N802
        """The client has read the answer to its mail."""
        self._killer.reached("answered", "mail")
        return "221 Bye"


@asynccontextmanager
async def listening(killer: Killer) -> AsyncIterator[None]:
    async with await psycopg.AsyncConnection.connect(killer.url, autocommit=True) as connection:
        await connection.execute(TELLS_OF_ATTEMPTS)
        await connection.execute("listen attempts")
        task = asyncio.create_task(killer.listen(connection))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def kill_once(
    killer: Killer, victim: subprocess.Popen[bytes], moment: Moment, channel: str
) -> None:
    """Return when the process is dead."""
    if moment == "a claim waits":
        async with await psycopg.AsyncConnection.connect(killer.url) as holder:
            await holder.execute("lock table alert_message_attempts in exclusive mode")
            killer.aim(victim, moment, channel)
            await killer.kill_when_waiting("%claim_alert_messages%")
    else:
        killer.aim(victim, moment, channel)
    await wait_until_async(lambda: victim.poll() is not None, f"{channel}: {moment}", 90)
    assert victim.returncode == -9


def keys_by_delivery(url: str) -> dict[tuple[str, str], UUID]:
    """The message in which each channel is told of each service."""
    rows = asked(url, "select channel, service_name, message_id from alert_deliveries")
    return {(channel, service): message for channel, service, message in rows}


@pytest.mark.parametrize(
    ("rounds", "patience_seconds"),
    [
        pytest.param(14, 240, id="at every moment", marks=pytest.mark.timeout(480)),
        pytest.param(
            200, 1500, id="200 times", marks=[pytest.mark.soak, pytest.mark.timeout(4500)]
        ),
    ],
)
async def test_kill_9_at_any_step_loses_nothing_and_every_repeat_has_the_same_key(
    database: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rounds: int,
    patience_seconds: float,
) -> None:
    """Each alert reaches each channel, in one message, whose id is the key of all attempts."""
    killer = Killer(database)
    receivers = Receivers(killer)
    configuration = tmp_path / "pulsebase.toml"
    cases: list[tuple[Moment, str]] = [
        (moment, channel) for moment in MOMENTS for channel in CHANNELS
    ]
    async with RawServer(receivers.hook) as hook, MailServer(receivers) as mail:
        write_channels(
            configuration,
            hook=f"http://127.0.0.1:{hook.port}/",
            mail=f"mailto://127.0.0.1:{mail.port}?from=a@shop.example&to=b@shop.example",
        )
        async with listening(killer):
            for number in range(rounds):
                with monitoring(configuration, database, tmp_path / f"log-{number}") as process:
                    if number == 0:
                        await wait_until_async(lambda: has_channels(database), "channels", 60)
                    open_alerts(database, [f"service-{number}"])
                    await kill_once(killer, process, *cases[number % len(cases)])
            with monitoring(configuration, database, tmp_path / "log-last") as process:
                # A killed attempt counts: after some of them, a failure has a long pause behind it.
                await wait_until_async(
                    lambda: all_delivered(database, 2 * rounds),
                    "everything arrived",
                    patience_seconds,
                )
                process.terminate()
                assert await asyncio.to_thread(process.wait, 30) == 0
    owed = keys_by_delivery(database)
    told = {
        (channel, service): key
        for channel, key, services in receivers.received
        for service in services
    }
    assert told == owed
    for channel, key, services in receivers.received:
        assert {owed[channel, service] for service in services} == {key}
    times = Counter(key for _, key, _ in receivers.received)
    with capsys.disabled():
        print(  # noqa: T201 -- the numbers of the acceptance
            f"\nkilled {rounds} times: {len(owed)} deliveries in {len(set(owed.values()))}"
            f" messages, {len(receivers.received)} arrivals,"
            f" {sum(count - 1 for count in times.values())} of them repeats"
        )
    assert sum(killer.kills.values()) == rounds


def has_channels(url: str) -> bool:
    return len(asked(url, "select from alert_channels where is_published")) == len(CHANNELS)
