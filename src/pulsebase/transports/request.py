"""What every transport carries: the name of a SQL function and its arguments, and JSON back.

All functions of pulsebase return exactly one JSON value. PostgREST cuts a set of rows at its row
cap, silently; a single value it never cuts, and every server writes its timestamps alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_EXACT_INTEGER = 18


class JsonText(str):
    """A text that is JSON already and travels as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Request:
    """A call of `public.<function>` with named arguments; arguments that are None are left out.

    `repeatable` says that sending it twice does no more than sending it once.
    """

    function: str
    arguments: Mapping[str, str | int | JsonText | None] = field(default_factory=dict)
    repeatable: bool = True

    def given(self) -> dict[str, str | int | JsonText]:
        """The arguments that have a value; SQL supplies the defaults of the others."""
        return {name: value for name, value in self.arguments.items() if value is not None}


class Transport(Protocol):
    """Carries requests and answers; knows nothing of what they mean."""

    @property
    def retries(self) -> bool:
        """Whether a repeatable request may be sent again: not inside somebody's transaction."""
        ...

    def send(self, request: Request) -> Any:
        """Call one function; the decoded JSON of its answer."""
        ...

    def close(self) -> None:
        """Give back sockets, threads and processes; a second call does nothing."""
        ...


class AsyncTransport(Protocol):
    """The same for asyncio."""

    @property
    def retries(self) -> bool:
        """Whether a repeatable request may be sent again: not inside somebody's transaction."""
        ...

    async def send(self, request: Request) -> Any:
        """Call one function; the decoded JSON of its answer."""
        ...

    async def close(self) -> None:
        """Give back sockets, threads and processes; a second call does nothing."""
        ...


@runtime_checkable
class PipeliningTransport(Protocol):
    """A transport that can send requests without waiting for each answer."""

    def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction; their answers in the same order."""
        ...


@runtime_checkable
class AsyncPipeliningTransport(Protocol):
    """The same for asyncio."""

    async def send_many(self, requests: Iterable[Request]) -> list[Any]:
        """Call many functions in one transaction; their answers in the same order."""
        ...


def decode_json(text: str | bytes) -> Any:
    """Python values of a JSON text; whole numbers beyond 64 bits become floats.

    PostgreSQL writes the float 1e23 as a 1 and 23 noughts. Read as an integer that would not
    equal the float that was stored.
    """
    return _DECODER.decode(text.decode() if isinstance(text, bytes) else text)


def _whole_number(digits: str) -> int | float:
    if len(digits) <= _LONGEST_EXACT_INTEGER:
        return int(digits)
    # A float first: int() refuses texts of thousands of digits, float() takes them.
    return int(digits) if abs(float(digits)) <= 2.0**63 else float(digits)


_DECODER = json.JSONDecoder(parse_int=_whole_number)
