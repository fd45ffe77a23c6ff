"""Alert messages: the rows of `alert_messages`, and of `alert_deliveries`, which they carry.

A delivery is what is owed to one channel about one event. A message is what is sent: one delivery,
or a digest of many; whoever receives it twice knows that by its id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID

from pulsebase.connection import Call, Pages, Steps
from pulsebase.errors import InvalidValueError, NotFoundError
from pulsebase.models import fields
from pulsebase.models.alert_act import new_act
from pulsebase.models.alert_delivery import (
    claimed_delivery,
    optional_instant,
    waiting_delivery,
)
from pulsebase.models.batches import delete_in_batches
from pulsebase.transports.request import Request
from pulsebase.verbs import operation, procedure, stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from pulsebase.models.alert_delivery import ClaimedDelivery, WaitingDelivery
    from pulsebase.transports.request import JsonText

__all__ = [
    "AlertMessage",
    "AlertMessageModel",
    "AlertMessageStory",
    "Claim",
    "ClaimedMessage",
    "MessageAttempt",
    "MessageStatus",
    "Outcome",
]

MessageStatus: TypeAlias = Literal["pending", "sending", "delivered", "dead"]
Outcome: TypeAlias = Literal["delivered", "failed", "refused"]
MESSAGE_STATUSES: tuple[str, ...] = get_args(MessageStatus)
OUTCOMES: tuple[str, ...] = get_args(Outcome)

_PAGE = fields.LARGEST_PAGE
_LONGEST_LEASE = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessage:
    """A message to a channel. Times are in UTC, by the database's clock.

    `service_name` is None where it is about several services. A `dead` message was refused, or
    could not be delivered until `give_up_at`.
    """

    id: UUID
    channel: str
    service_name: str | None
    status: MessageStatus
    delivery_count: int
    created_at: datetime
    next_attempt_at: datetime
    give_up_at: datetime
    attempts: int
    leased_by: UUID | None
    leased_until: datetime | None
    finished_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAttempt:
    """One attempt to send a message; without `outcome` it is under way, or was cut off."""

    attempt: int
    worker: UUID
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome | None
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertMessageStory(AlertMessage):
    """A message with all attempts to send it, and with what it tells, in order."""

    tried: tuple[MessageAttempt, ...]
    deliveries: tuple[ClaimedDelivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedMessage:
    """A message that is yours to send until `leased_until`; then somebody else may send it.

    Its `id` stays the same over all attempts. `attempts_before` are the earlier ones: one without
    an outcome was cut off, and may have arrived.
    """

    id: UUID
    channel: str
    attempt: int
    attempts_before: tuple[MessageAttempt, ...]
    created_at: datetime
    give_up_at: datetime
    leased_until: datetime
    deliveries: tuple[ClaimedDelivery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The messages to send now, and when it is worth asking again; None: nothing is in sight.

    What is held back, and what happens meanwhile, has no time: ask now and then in any case.
    """

    messages: tuple[ClaimedMessage, ...]
    next_due_at: datetime | None


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": UUID(row["id"]),
        "channel": row["channel"],
        "service_name": row["service_name"],
        "status": row["status"],
        "delivery_count": int(row["delivery_count"]),
        "created_at": fields.parsed_instant(row["created_at"]),
        "next_attempt_at": fields.parsed_instant(row["next_attempt_at"]),
        "give_up_at": fields.parsed_instant(row["give_up_at"]),
        "attempts": int(row["attempts"]),
        "leased_by": None if row["leased_by"] is None else UUID(row["leased_by"]),
        "leased_until": optional_instant(row["leased_until"]),
        "finished_at": optional_instant(row["finished_at"]),
        "last_error": row["last_error"],
    }


def _attempt(row: Mapping[str, Any]) -> MessageAttempt:
    return MessageAttempt(
        attempt=int(row["attempt"]),
        worker=UUID(row["worker"]),
        started_at=fields.parsed_instant(row["started_at"]),
        finished_at=optional_instant(row["finished_at"]),
        outcome=row["outcome"],
        error=row["error"],
    )


def _claimed(row: Mapping[str, Any]) -> ClaimedMessage:
    return ClaimedMessage(
        id=UUID(row["id"]),
        channel=row["channel"],
        attempt=int(row["attempt"]),
        attempts_before=tuple(map(_attempt, row["attempts_before"])),
        created_at=fields.parsed_instant(row["created_at"]),
        give_up_at=fields.parsed_instant(row["give_up_at"]),
        leased_until=fields.parsed_instant(row["leased_until"]),
        deliveries=tuple(map(claimed_delivery, row["deliveries"])),
    )


_row = fields.decoder(lambda row: AlertMessage(**_message(row)))
_story = fields.decoder(
    lambda row: AlertMessageStory(
        **_message(row),
        tried=tuple(map(_attempt, row["tried"])),
        deliveries=tuple(map(claimed_delivery, row["deliveries"])),
    )
)
_claim = fields.decoder(
    lambda answer: Claim(
        messages=tuple(map(_claimed, answer["messages"])),
        next_due_at=optional_instant(answer["next_due_at"]),
    )
)


class AlertMessageModel:
    """Hands out the messages that channels are owed, and takes reports of what became of them.

    Every verb takes a connection first, as those of HealthCheckModel do.
    """

    @operation
    @staticmethod
    def claim(
        worker: UUID,
        *,
        channels: Iterable[str],
        lease: timedelta = timedelta(minutes=1),
        max_messages: int = 100,
    ) -> Call[Claim]:
        """Take at most `max_messages` messages for these channels; nobody else gets them.

        Report each with `finish` within `lease` (up to a day): after it the message counts as not
        sent, and whoever claims next sends it again, with the same id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "worker": fields.identifier(worker, "worker"),
            "channels": _text_array(channels),
            "lease_seconds": str(_lease_seconds(lease)),
            "max_messages": fields.whole_number("max_messages", max_messages, 1, _PAGE),
        }
        # Repeated after an answer that was lost, it would take others besides.
        return Call(Request("claim_alert_messages", arguments, repeatable=False), _claim)

    @operation
    @staticmethod
    def finish(
        id: UUID,  # noqa: A002 -- the column's name
        *,
        attempt: int,
        outcome: Outcome,
        error: str | None = None,
        retry_after: timedelta | None = None,
    ) -> Call[AlertMessage]:
        """Report what became of an attempt, and get the message as it is now.

        `failed` is tried again, not before `retry_after`, until the message's time is over;
        `refused` is not, and three refusals in a row disable the channel. Raises NotFoundError
        when there is no message with this id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": fields.identifier(id),
            "attempt": fields.whole_number("attempt", attempt, 1, fields.LARGEST_INTEGER),
            "outcome": fields.one_of("outcome", outcome, OUTCOMES),
            "error": None if error is None else _clean(error),
            "retry_after_seconds": None
            if retry_after is None
            else str(max(retry_after.total_seconds(), 0.0)),
        }
        return Call(Request("finish_alert_message", arguments), lambda row: _found(row, id))

    @operation
    @staticmethod
    def replay(
        id: UUID | str,  # noqa: A002 -- the column's name
        *,
        by: str,
        note: str | None = None,
    ) -> Call[AlertMessage]:
        """Send a message again that is `dead`, under the same id; any other stays as it is.

        It is tried for as long as a new one. Raises NotFoundError when there is no message with
        this id.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "id": fields.identifier(id),
            **new_act(fields.service_name(by, "by"), note),
        }
        return Call(Request("replay_alert_message", arguments), lambda row: _found(row, id))

    @operation
    @staticmethod
    def find_by_id(id: UUID | str) -> Call[AlertMessageStory | None]:  # noqa: A002 -- the column's name
        """The message with its attempts and what it tells, or None."""
        request = Request("find_alert_message", {"id": fields.identifier(id)})
        return Call(request, fields.optional_row(_story))

    @operation
    @staticmethod
    def find(
        *,
        status: MessageStatus | None = None,
        channel: str | None = None,
        service_name: str | None = None,
        limit: int = 100,
        before: AlertMessage | None = None,
    ) -> Call[list[AlertMessage]]:
        """At most `limit` (1 to 1000) messages, newest first, also digests that name the service.

        For the next page give the last row as `before`.
        """
        size = fields.limit(limit)
        return _page_call(status, channel, service_name, size=size, before=before)

    @stream
    @staticmethod
    def iterate(
        *,
        status: MessageStatus | None = None,
        channel: str | None = None,
        service_name: str | None = None,
    ) -> Pages[AlertMessage]:
        """All messages, newest first, however many; fetched 1000 at a time."""
        return Pages(
            lambda last: _page_call(status, channel, service_name, size=_PAGE, before=last), _PAGE
        )

    @procedure
    @staticmethod
    def find_waiting(
        *, channel: str | None = None, service_name: str | None = None
    ) -> Steps[list[WaitingDelivery]]:
        """Everything that is owed and in no message yet, oldest first, with what holds it back."""
        arguments: dict[str, str | int | JsonText | None] = {
            "channel": fields.optional(_name, "channel", channel),
            "service_name": fields.optional(_name, "service_name", service_name),
            "max_rows": _PAGE,
        }
        found: list[WaitingDelivery] = []
        while True:
            request = Request("find_waiting_deliveries", dict(arguments))
            page: list[WaitingDelivery] = yield Call(request, fields.rows(waiting_delivery))
            found += page
            if len(page) < _PAGE:
                return found
            arguments["after_created_at"] = fields.instant("created_at", page[-1].created_at)
            arguments["after_id"] = str(page[-1].id)

    @procedure
    @staticmethod
    def delete_older_than(age: timedelta) -> Steps[int]:
        """Delete what was finished longer than `age` ago, in batches; says how many rows.

        Messages, deliveries that were dropped, silences that are over, and acts; nothing that is
        needed to resolve what is still active.
        """
        return delete_in_batches("delete_alert_messages_older_than", age)


def _name(field: str, value: object) -> str:
    return fields.service_name(value, field)


def _lease_seconds(value: object) -> float:
    field = "lease"
    lease = fields.duration(field, value)
    if lease > _LONGEST_LEASE:
        raise InvalidValueError(field, value, "a timedelta of at most a day")
    return lease.total_seconds()


def _text_array(names: Iterable[str]) -> str:
    """An array as PostgreSQL writes it, which both doors take as it is."""
    checked = (fields.service_name(name, "channels") for name in names)
    return f"{{{','.join(json.dumps(name, ensure_ascii=False) for name in checked)}}}"


def _clean(text: str) -> str:
    """What servers answer can hold what PostgreSQL cannot store."""
    return text.replace("\x00", "").encode(errors="replace").decode()[:2000]


def _found(row: Any, sought: UUID | str) -> AlertMessage:
    if row is None:
        msg = f"there is no alert message with the id {sought}"
        raise NotFoundError(msg)
    return _row(row)


def _page_call(
    status: MessageStatus | None,
    channel: str | None,
    service_name: str | None,
    *,
    size: int,
    before: AlertMessage | None,
) -> Call[list[AlertMessage]]:
    arguments: dict[str, str | int | JsonText | None] = {
        "status": None if status is None else fields.one_of("status", status, MESSAGE_STATUSES),
        "channel": fields.optional(_name, "channel", channel),
        "service_name": fields.optional(_name, "service_name", service_name),
        "max_rows": size,
    }
    if before is not None:
        arguments["before_created_at"] = fields.instant("before", before.created_at)
        arguments["before_id"] = str(before.id)
    return Call(Request("find_alert_messages", arguments), fields.rows(_row))
