"""What channels are owed, put there and looked at."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString
from uuid import UUID

import psycopg

from pulsebase.connection import connect
from pulsebase.models.alert_channel import AlertChannelModel, NewAlertChannel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.support.notices import Received

__all__ = [
    "all_delivered",
    "asked",
    "messages",
    "open_alerts",
    "publish",
    "recover",
    "repeats_by_key",
    "write_channels",
]

_OPEN: LiteralString = """
    with opened as (
        insert into alert_events (service_name, alert_type, status, details)
        select name, 'service_down', 'active', '{"reason": "it does not answer"}'
        from unnest(%s::text[]) as given (name)
        returning id, service_name
    )
    select queue_alert_messages('opened', service_name, id, id) from opened
"""
_RECOVER: LiteralString = """
    with resolved as (
        update alert_events
        set status = 'resolved', resolved_at = now()
        where status = 'active' and service_name = any (%s)
        returning id, service_name
    )
    select queue_alert_messages('recovered', service_name, id, id) from resolved
"""


_CHANNEL = """
[[channels]]
name = "{name}"
url = "{url}"
timeout = "{timeout}"
group_window = "{group_window}"
"""
# `run` asks for a service. This one is looked at once, since a minute is the shortest first look.
_SERVICE = """
[[services]]
name = "itself"
kind = "command"
command = ["true"]
interval = "1d"
"""


def write_channels(
    path: Path,
    *,
    group_window: str = "0s",
    timeout: str = "2s",
    more: str = "",
    **urls: str,
) -> None:
    """A configuration file for `run` and `deliver` with these channels.

    The lease of a process that was killed goes by the timeout, which is short for that reason.
    """
    channels = [
        _CHANNEL.format(name=name, url=url, group_window=group_window, timeout=timeout)
        + ("" if not url.startswith("http") else "allow_private_addresses = true\n")
        for name, url in urls.items()
    ]
    path.write_text("".join([more, _SERVICE, *channels]))


def publish(url: str, *names: str, **rules: Any) -> None:
    """Let there be these channels, that collect nothing unless the rules say so."""
    rules = {"group_window": timedelta(0)} | rules
    with connect(url) as connection:
        channels = [NewAlertChannel(name=name, **rules) for name in names]
        AlertChannelModel.publish(connection, channels=channels)


def open_alerts(url: str, services: Iterable[str]) -> None:
    """An active alert event of each service, and what is owed to the channels for it."""
    with psycopg.connect(url) as connection:
        connection.execute(_OPEN, [list(services)])


def recover(url: str, services: Iterable[str]) -> None:
    """These services are well again."""
    with psycopg.connect(url) as connection:
        connection.execute(_RECOVER, [list(services)])


def asked(url: str, query: LiteralString) -> list[Any]:
    """The rows of an answer."""
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def messages(url: str) -> dict[UUID, tuple[str, str, int]]:
    """Channel, status and attempts of each message."""
    rows = asked(
        url, "select id, channel, status, attempts from alert_messages order by created_at"
    )
    return {identifier: (channel, status, tries) for identifier, channel, status, tries in rows}


def all_delivered(url: str, deliveries: int) -> bool:
    """Whether there are so many deliveries, and each is in a message that was delivered."""
    [(there, arrived)] = asked(
        url,
        "select count(*), count(*) filter (where message.status = 'delivered')"
        " from alert_deliveries as delivery"
        " left join alert_messages as message on message.id = delivery.message_id",
    )
    return bool(there == arrived == deliveries)


def repeats_by_key(received: Iterable[Received]) -> dict[UUID, int]:
    """How often each message arrived, by its key."""
    counts: dict[UUID, int] = {}
    for key in _keys(received):
        counts[key] = counts.get(key, 0) + 1
    return counts


def _keys(received: Iterable[Received]) -> Iterator[UUID]:
    return (UUID(one.headers["idempotency-key"]) for one in received)
