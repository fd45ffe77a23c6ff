"""What every probe kind promises, and what it answers with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, runtime_checkable

from pulsebase.probes.cleaning import clean_details

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pulsebase.errors import InvalidValueError
    from pulsebase.probes.tools import ProbeTools

__all__ = ["CLOSED", "InvalidFieldsError", "Outcome", "Probe", "Status", "refuse"]

Status = Literal["healthy", "degraded", "down"]

# Every kind says `__pydantic_config__: ClassVar[Any] = CLOSED`: a key that is not a field is an
# error where a configuration file is read. A plain mapping, so that no kind imports pydantic.
CLOSED: Final[Mapping[str, Any]] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a probe saw, once: ready to be recorded as one check.

    `checked_at` is the wall clock when the probe looked, in UTC; `latency_ms` is None where there
    was no whole answer to time. `details` are cleaned on the way in: plain JSON without NUL or
    lone surrogates, long strings shortened, well under the 64 KiB that a check may carry. Keys
    that all kinds share: `failed` {expectation, expected, got} and `error` {kind, message}; each
    kind's page in the reference lists its own.
    """

    status: Status
    latency_ms: int | None
    checked_at: datetime
    details: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Refuse a naive time, which is a mistake in the kind, and clean the details."""
        if self.checked_at.utcoffset() != timedelta(0):
            message = "checked_at must be aware and in UTC"
            raise ValueError(message)
        object.__setattr__(self, "details", clean_details(self.details))


@runtime_checkable
class Probe(Protocol):
    """Something that can look at a service: a frozen dataclass that is its own configuration.

    A kind lives in the file of its name and its class is called after it (`http.py`, `HttpProbe`).
    Its fields are the keys of `[[services]]`; what is wrong with them is refused by
    `__post_init__`, so at load and never at probe time.
    """

    async def probe(self, *, timeout_seconds: float, tools: ProbeTools) -> Outcome:
        """Look once, and answer within the timeout.

        Whatever the service does is an outcome. An exception means a mistake in the kind itself,
        and nothing may be recorded from it.
        """
        ...


class InvalidFieldsError(ValueError):
    """Several fields of a kind are wrong; `errors` holds one error for each."""

    def __init__(self, errors: Iterable[InvalidValueError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, self.errors)))


def refuse(problems: Iterable[InvalidValueError]) -> None:
    """Raise what a kind found wrong with its fields, all of it at once."""
    match found := list(problems):
        case []:
            return
        case [only]:
            raise only
        case _:
            raise InvalidFieldsError(found)
