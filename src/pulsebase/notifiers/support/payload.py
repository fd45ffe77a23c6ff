"""The body of a webhook: a JSON document whose schema is published.

    python -m pulsebase.notifiers.support.payload > docs/reference/webhook.schema.json

Version 1 may get more keys, and receivers are to ignore what they do not know; what is there keeps
its meaning.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 -- pydantic resolves the fields at run time
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from uuid import UUID  # noqa: TC003 -- as above

from pulsebase.notifiers.support.message import AlertType, NoticeKind  # noqa: TC001 -- as above
from pulsebase.notifiers.support.wording import sentence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic import TypeAdapter

    from pulsebase.notifiers.support.facts import Facts
    from pulsebase.notifiers.support.message import Message, Notice
    from pulsebase.notifiers.support.texts import Texts

__all__ = ["WebhookBody", "WebhookNotice", "encoded_body", "webhook_schema"]

# Pydantic takes the descriptions of the schema from the texts below the fields.
_DESCRIBED: Final[Mapping[str, Any]] = {"use_attribute_docstrings": True}
# Details are whatever checks have said; together they take no more than this of a message.
_LARGEST_DETAILS: Final = 256 * 1024
_UNSENDABLE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookNotice:
    """One thing to say about one event of one service."""

    __pydantic_config__: ClassVar[Any] = _DESCRIBED

    id: UUID
    """The delivery. The same in every attempt, and in no other message of the channel."""
    kind: NoticeKind
    """What is said: that it began, ended, still goes on, or that it comes and goes too often."""
    service_name: str
    """The service, as its checks name it."""
    labels: dict[str, str]
    """The labels of the service in the configuration."""
    alert_type: AlertType
    """What the event is about."""
    incident_id: UUID
    """What all events share from the first trouble until the service is healthy again."""
    event_id: UUID
    """The row of `alert_events`."""
    event_status: Literal["active", "resolved"]
    """Whether the event is over by now."""
    service_status: Literal["healthy", "degraded", "down"] | None
    """What the service is by now; null where that is not known."""
    started_at: datetime
    """When the trouble was first seen."""
    resolved_at: datetime | None
    """When its end was seen; null while it goes on."""
    lasted_seconds: float
    """How long it lasted or, while it goes on, has lasted when this was sent."""
    reason: str
    """Why, in the words of the newest failing check; empty where none said so."""
    location: str
    """From where it was seen; empty where checks name no location."""
    resolved_by: str
    """What ended it: `recovery`, `superseded` or `person`; empty while it goes on."""
    held_by: str | None
    """What kept this waiting: `maintenance`, `silence`, `parent` or `acknowledged`."""
    held_since: datetime | None
    """Since when it had been waiting for that."""
    flapping_since: datetime | None
    """Since when the service comes and goes too often; null where it does not."""
    sequence: int
    """Which reminder this is, from 1 on; 0 for everything else."""
    text: str
    """A sentence for people."""
    link: str | None
    """Where to read more; null where no link is configured."""
    details: Any
    """All that is known of the event; null where a large message leaves it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookBody:
    """What pulsebase POSTs to a channel at an https:// or http:// URL."""

    __pydantic_config__: ClassVar[Any] = _DESCRIBED

    version: Literal[1]
    """The version of this document."""
    message_id: UUID
    """The same in every attempt, as in the headers `Idempotency-Key` and `webhook-id`."""
    channel: str
    """The name of the channel in the configuration."""
    created_at: datetime
    """When the message was made, which is not when it was sent."""
    title: str
    """One line for people."""
    text: str
    """The whole message for people, in plain text."""
    notices: list[WebhookNotice]
    """Everything that the message says: one thing, or many that came together."""
    notices_left_out: int
    """How many more there were; above 0 only after the receiver called the whole too large."""


def encoded_body(
    message: Message, facts: Sequence[Facts], texts: Texts, *, most_notices: int | None = None
) -> bytes:
    """The bytes of the body, with all notices or with the first of them."""
    notices = message.notices[:most_notices]
    body = WebhookBody(
        version=1,
        message_id=message.id,
        channel=_sendable(message.channel),
        created_at=message.created_at,
        title=texts.title,
        text=texts.body,
        notices=_notices(notices, facts[: len(notices)]),
        notices_left_out=len(message.notices) - len(notices),
    )
    return _adapter().dump_json(body)


def webhook_schema() -> dict[str, Any]:
    """The JSON schema of the body."""
    schema = _adapter().json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_untitled(schema),
        "title": "A message of pulsebase to a webhook",
    }


def _notices(notices: Sequence[Notice], facts: Sequence[Facts]) -> list[WebhookNotice]:
    left = _LARGEST_DETAILS
    found: list[WebhookNotice] = []
    for notice, about in zip(notices, facts, strict=True):
        details, size = _details(notice.details, left)
        left -= size
        found.append(_notice(notice, about, details))
    return found


def _notice(notice: Notice, about: Facts, details: Any) -> WebhookNotice:
    return WebhookNotice(
        id=notice.id,
        kind=notice.kind,
        service_name=_sendable(notice.service_name),
        labels=_labels(notice.labels),
        alert_type=notice.alert_type,
        incident_id=notice.incident_id,
        event_id=notice.event_id,
        event_status=notice.event_status,
        service_status=notice.service_status,
        started_at=about.since,
        resolved_at=about.until,
        lasted_seconds=about.lasted.total_seconds(),
        reason=about.reason,
        location=about.location,
        resolved_by=about.resolved_by,
        held_by=notice.held_by,
        held_since=notice.held_since,
        flapping_since=notice.flapping_since,
        sequence=notice.sequence,
        text=sentence(about),
        link=about.link or None,
        details=details,
    )


def _details(details: Any, room: int) -> tuple[Any, int]:
    """The details with their size, or nothing where there is no room for them."""
    try:
        encoded = _sendable(json.dumps(details, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return None, 0
    return (json.loads(encoded), len(encoded)) if len(encoded) <= room else (None, 0)


def _labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {_sendable(str(name)): _sendable(str(value)) for name, value in labels.items()}


def _sendable(text: str) -> str:
    return text if text.isascii() else _UNSENDABLE.sub("\ufffd", text)


@cache
def _adapter() -> TypeAdapter[WebhookBody]:
    from pydantic import TypeAdapter

    return TypeAdapter(WebhookBody)


def _untitled(schema: Any) -> Any:
    """The schema without titles made of names."""
    match schema:
        case dict():
            kept = {key: _untitled(value) for key, value in schema.items()}
            if isinstance(kept.get("title"), str):
                del kept["title"]
            return kept
        case list():
            return [_untitled(one) for one in schema]
        case _:
            return schema


if __name__ == "__main__":
    sys.stdout.write(json.dumps(webhook_schema(), indent=2) + "\n")
