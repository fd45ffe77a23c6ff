"""Acts: the rows of `alert_acts`, which say what people did about alerts, and when and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from pulsebase.connection import Call, Pages, Steps
from pulsebase.errors import InvalidValueError
from pulsebase.models import fields
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure, stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["ActKind", "AlertAct", "AlertActModel", "new_act"]

ActKind: TypeAlias = Literal[
    "acknowledge",
    "unacknowledge",
    "resolve",
    "silence",
    "maintenance",
    "lift",
    "replay",
    "enable_channel",
    "disable_channel",
]

Arguments: TypeAlias = "dict[str, str | int | JsonText | None]"

_PAGE = fields.LARGEST_PAGE
_LONGEST_NOTE = 2000
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertAct:
    """What somebody did. Times are in UTC.

    `actor` is who it was, or the database's role where nobody was named. `until` is the end of an
    acknowledgement.
    """

    id: UUID
    act: ActKind
    actor: str
    acted_at: datetime
    service_name: str | None
    event_id: UUID | None
    silence_id: UUID | None
    message_id: UUID | None
    channel: str | None
    until: datetime | None
    note: str | None


def _act(row: Mapping[str, Any]) -> AlertAct:
    return AlertAct(
        id=UUID(row["id"]),
        act=row["act"],
        actor=row["actor"],
        acted_at=fields.parsed_instant(row["acted_at"]),
        service_name=row["service_name"],
        event_id=_id(row["event_id"]),
        silence_id=_id(row["silence_id"]),
        message_id=_id(row["message_id"]),
        channel=row["channel"],
        until=None if row["until"] is None else fields.parsed_instant(row["until"]),
        note=row["note"],
    )


def _id(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


_row = fields.decoder(_act)


class AlertActModel:
    """Reads what people did; the acts themselves are verbs of what they are done to.

    Every verb takes a connection first, as those of AlertEventModel do.
    """

    @operation
    @staticmethod
    def find(
        *,
        event_id: UUID | str | None = None,
        silence_id: UUID | str | None = None,
        message_id: UUID | str | None = None,
        channel: str | None = None,
        service_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        before: AlertAct | None = None,
    ) -> Call[list[AlertAct]]:
        """At most `limit` (1 to 1000) acts that fit all that is given, newest first.

        `since` is included, `until` is not. For the next page give the last row as `before`.
        """
        arguments = _filters(
            event_id=event_id,
            silence_id=silence_id,
            message_id=message_id,
            channel=channel,
            service_name=service_name,
            since=since,
            until=until,
        )
        return _page_call(arguments, size=fields.limit(limit), before=before)

    @stream
    @staticmethod
    def iterate(
        *,
        event_id: UUID | str | None = None,
        silence_id: UUID | str | None = None,
        message_id: UUID | str | None = None,
        channel: str | None = None,
        service_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[AlertAct]:
        """All acts that fit all that is given, newest first; fetched 1000 at a time."""
        arguments = _filters(
            event_id=event_id,
            silence_id=silence_id,
            message_id=message_id,
            channel=channel,
            service_name=service_name,
            since=since,
            until=until,
        )
        return Pages(lambda last: _page_call(arguments, size=_PAGE, before=last), _PAGE)

    @procedure
    @staticmethod
    def find_acknowledgements(*, service_name: str | None = None) -> Steps[list[AlertAct]]:
        """The acknowledgements of active events that hold now, of one service or of all."""
        arguments: Arguments = {
            "service_name": None if service_name is None else fields.service_name(service_name),
            "max_rows": _PAGE,
        }
        found: list[AlertAct] = []
        while True:
            request = Request("find_alert_acknowledgements", dict(arguments))
            page: list[AlertAct] = yield Call(request, fields.rows(_row))
            found += page
            if len(page) < _PAGE:
                return found
            arguments["after_event_id"] = str(page[-1].event_id)


def new_act(by: str | None, note: str | None) -> Arguments:
    """The arguments that every act has; its id makes it one act, however often it is sent."""
    return {
        "actor": None if by is None else fields.service_name(by, "by"),
        "note": fields.optional(note_text, "note", note),
        "act_id": str(uuid7()),
    }


def note_text(field: str, value: object) -> str:
    """A text of up to 2000 characters that PostgreSQL can store."""
    if not isinstance(value, str) or len(value) > _LONGEST_NOTE or _UNSTORABLE.search(value):
        bound = f"a text of at most {_LONGEST_NOTE} characters, without NUL and lone surrogates"
        raise InvalidValueError(field, value, bound)
    return str.__str__(value)


def _filters(
    *,
    event_id: UUID | str | None,
    silence_id: UUID | str | None,
    message_id: UUID | str | None,
    channel: str | None,
    service_name: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Arguments:
    return {
        "event_id": None if event_id is None else fields.identifier(event_id, "event_id"),
        "silence_id": None if silence_id is None else fields.identifier(silence_id, "silence_id"),
        "message_id": None if message_id is None else fields.identifier(message_id, "message_id"),
        "channel": None if channel is None else fields.service_name(channel, "channel"),
        "service_name": None if service_name is None else fields.service_name(service_name),
        "since": fields.optional(fields.instant, "since", since),
        "until": fields.optional(fields.instant, "until", until),
    }


def _page_call(arguments: Arguments, *, size: int, before: AlertAct | None) -> Call[list[AlertAct]]:
    arguments = arguments | {"max_rows": size}
    if before is not None:
        arguments["before_acted_at"] = fields.instant("before", before.acted_at)
        arguments["before_id"] = str(before.id)
    return Call(Request("find_alert_acts", arguments), fields.rows(_row))
