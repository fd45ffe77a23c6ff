"""What every probe kind promises, what it is asked, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pulsebase.probes.support.cleaning import clean_details

if TYPE_CHECKING:
    from uuid import UUID

    from pulsebase.probes.support.tools import ProbeTools

__all__ = ["Look", "NothingYetError", "Outcome", "Probe", "Status", "UnknownHealthError"]

Status = Literal["healthy", "degraded", "down"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at one service: whose it is, how long it may take, and what it may share."""

    service_name: str
    timeout_seconds: float
    tools: ProbeTools


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a probe saw, once: ready to be recorded as one check.

    `checked_at` is the wall clock when the probe looked, in UTC; `latency_ms` is None where there
    was no whole answer to time. `details` are cleaned on the way in: plain JSON without NUL or
    lone surrogates, long strings shortened, well under the 64 KiB that a check may carry. Keys
    that all kinds share: `failed` {expectation, expected, got} and `error` {kind, message}; each
    kind's page in the reference lists its own.

    `id` is for a kind that may see the same thing twice and wants it stored once. A kind that
    found its answer in the database says `already_recorded`: it is shown, and not stored again.
    """

    status: Status
    latency_ms: int | None
    checked_at: datetime
    details: dict[str, Any] = field(default_factory=dict[str, Any])
    id: UUID | None = None
    already_recorded: bool = False

    def __post_init__(self) -> None:
        """Refuse a naive time, which is a mistake in the kind, and clean the details."""
        if self.checked_at.utcoffset() != timedelta(0):
            message = "checked_at must be aware and in UTC"
            raise ValueError(message)
        object.__setattr__(self, "details", clean_details(self.details))


class UnknownHealthError(Exception):
    """The monitor could not look: its own trouble, which says nothing about the service.

    A kind raises it with a sentence that says what is wrong here and what to do. Nothing is
    recorded; the service is shown as unknown, with the sentence.
    """


class NothingYetError(UnknownHealthError):
    """There is nothing to see yet, and nothing is wrong: not worth a line in the log."""


@runtime_checkable
class Probe(Protocol):
    """Something that can look at a service: a frozen dataclass that is its own configuration.

    A kind lives in the file of its name and its class is called after it (`http.py`, `HttpProbe`).
    Its fields are the keys of `[[services]]`; what is wrong with them is refused by
    `__post_init__`, so at load and never at probe time.
    """

    @property
    def host(self) -> str | None:
        """Whom it asks, so that one host is not asked too much at once; None where it is nobody."""
        ...

    async def probe(self, look: Look) -> Outcome:
        """Look once, and answer within the timeout.

        Whatever the service does is an outcome. UnknownHealthError says that we could not look. Any
        other exception means a mistake in the kind itself, and nothing may be recorded from it.
        """
        ...
