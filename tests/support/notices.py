"""Notices and messages to tell, and a real receiver of webhooks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from pulsebase.notifiers import Message, Notice
from tests.support.lying_server import LyingServer

if TYPE_CHECKING:
    import asyncio
    import ssl

__all__ = ["BEGAN", "ENDED", "HOSTILE_TEXTS", "Received", "Receiver", "a_message", "a_notice"]

BEGAN = datetime(2026, 11, 25, 6, 0, tzinfo=UTC)
ENDED = BEGAN + timedelta(minutes=12)

# What a service may be called, and what it may say of itself.
HOSTILE_TEXTS = {
    "template": "{{ 7 * 7 }}{% for x in range(9) %}x{% endfor %}{service}",
    "header": "a\r\nBcc: everybody@shop.example\r\n\r\nbody",
    "long": "x" * 65_536,
    "long emoji": "\U0001f525" * 65_536,
    "right to left": "\u202egnp.exe\u202c \u05d0\u05d1",
    "emoji": "\U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea",
    "html": "<script>alert(1)</script><img src=x onerror=y>\"'&",
    "markdown": "[click](http://evil.example) **b** `c` ![i](http://evil.example/i) # h",
    "calls everybody": "@everyone <!channel> <@U123> @here",
    "controls": "a\x00b\x1b[31mc\x7f\u2028d\u0085e",
    "surrogate": "a\ud800b",
    "blank": " \n\t ",
    "dots": "../../..",
}


def a_notice(service_name: str = "checkout", kind: str = "opened", **parts: Any) -> Notice:
    """Something to say; `reason` is a part of its details."""
    reason = parts.pop("reason", "HTTP 503 instead of 200")
    details = {"started_at": BEGAN.isoformat(), "reason": reason, "location": "fra"}
    if kind == "resolved":
        parts = {"event_status": "resolved", "resolved_at": ENDED} | parts
        details |= {"resolved_by": "recovery", "downtime_seconds": 720.0}
    given: dict[str, Any] = {
        "id": uuid4(),
        "kind": kind,
        "service_name": service_name,
        "incident_id": uuid4(),
        "event_id": uuid4(),
        "alert_type": "service_down",
        "event_created_at": BEGAN,
        "created_at": BEGAN,
        "labels": {"team": "ai"},
        "details": details,
    }
    return Notice(**(given | parts))


def a_message(*notices: Notice, channel: str = "ops", attempt: int = 1) -> Message:
    """A message of these notices, or of one."""
    return Message(
        id=uuid4(),
        channel=channel,
        attempt=attempt,
        created_at=BEGAN,
        notices=notices or (a_notice(),),
    )


class Received(NamedTuple):
    """One request: its first line, its headers by lower-case names, its body."""

    line: str
    headers: dict[str, str]
    body: bytes


class Receiver(LyingServer):
    """Reads whole requests and answers them, each with the next of these statuses.

    The last one is for all that follow. `location` is where it redirects to.
    """

    def __init__(
        self,
        *statuses: int,
        location: str = "",
        headers: str = "",
        body: bytes = b"",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(self._receive, tls=tls)
        self._statuses = list(statuses or (HTTPStatus.OK,))
        self._headers = headers + (f"Location: {location}\r\n" if location else "")
        self._body = body
        self.received: list[Received] = []

    async def _receive(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes
    ) -> None:
        line, *rest = head.decode("latin-1").split("\r\n")
        pairs = (one.partition(": ") for one in rest if one)
        headers = {name.lower(): value for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.received.append(Received(line, headers, body))
        status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        length = f"Content-Length: {len(self._body)}\r\n"
        writer.write(f"HTTP/1.1 {status} X\r\n{length}{self._headers}\r\n".encode())
        writer.write(self._body)

    @property
    def only(self) -> Received:
        """The one request that came."""
        [one] = self.received
        return one
