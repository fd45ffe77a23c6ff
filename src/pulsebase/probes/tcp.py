"""The kind `tcp`: connect to a port and, if wanted, say something and judge what comes back."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.network.connecting import Journey, NetworkTarget, Verdict, travel
from pulsebase.probes.support.patterns import (
    Regex,  # noqa: TC001 - pydantic resolves the fields at run time
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.network.wire import Wire
    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["TcpExpectation", "TcpProbe"]

LARGEST_ANSWER: Final = 16 * 1024

# What has come is looked at when a server pauses, and while it does not, at growing distances: one
# that sends single bytes would otherwise have everything looked at again for each of them.
_PAUSE_SECONDS: Final = 0.05
_GROWTH: Final = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpExpectation:
    """What must be among the first bytes that the service says; all of it."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    contains: str | None = None
    matches: Regex | None = None

    def __post_init__(self) -> None:
        """Refuse an empty text, which everything contains."""
        refuse(self._problems())

    def _problems(self) -> Iterator[InvalidValueError]:
        if self.contains == "":
            yield InvalidValueError("contains", "", "at least one character")

    @property
    def wants_an_answer(self) -> bool:
        """Whether the service has to say anything."""
        return self.contains is not None or self.matches is not None

    def unmet(self, answer: bytes) -> tuple[str, str] | None:
        """The first expectation that does not hold yet, as (name, expected)."""
        text = answer.decode("utf-8", "replace")
        if self.contains is not None and self.contains not in text:
            return "contains", self.contains
        if self.matches is not None and not self.matches.found_in(text):
            return "matches", self.matches.pattern
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpProbe(NetworkTarget):
    """Connect, and judge by what the service says and by the time that took."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    # What is said to a service may hold a password.
    send: str | None = field(default=None, repr=False)
    expect: TcpExpectation = field(default_factory=TcpExpectation)

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Connect once; the timeout covers the answer too."""
        return await travel(look, self._way, secrets=self._secrets())

    async def _way(self, journey: Journey) -> Verdict:
        async with await journey.connect(self) as wire:
            if self.send is not None:
                await wire.send(self.send.encode())
            if not self.expect.wants_an_answer:
                return self.judge_latency(journey.answered())
            answer = await self._listen(wire, journey)
        return self._judge(journey, answer)

    async def _listen(self, wire: Wire, journey: Journey) -> bytearray:
        """What the service says, until it is what is expected, or enough of something else."""
        with journey.phase("first_byte"):
            answer = bytearray(await wire.receive())
        if not answer:
            message = "the connection was closed without a word"
            raise ConnectionResetError(message)
        # What did come is judged and shown, not only that time ran out.
        journey.when_late = partial(self._judge, journey, answer)
        while len(answer) < LARGEST_ANSWER and self.expect.unmet(bytes(answer)):
            if not await _extend(answer, wire):
                break
        return answer

    def _judge(self, journey: Journey, answer: bytearray) -> Verdict:
        elapsed_seconds = journey.answered()
        said = bytes(answer[:LARGEST_ANSWER])
        if (unmet := self.expect.unmet(said)) is None:
            return self.judge_latency(elapsed_seconds)
        got = excerpt(said.decode("utf-8", "replace"), self._secrets())
        return "down", failed(*unmet, got)

    def _secrets(self) -> tuple[str, ...]:
        said = (self.send or "").strip()
        return (said, *said.splitlines())

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        if self.send == "":
            yield InvalidValueError("send", "", "at least one character")


async def _extend(answer: bytearray, wire: Wire) -> bool:
    """Add what comes until it is worth another look; False once the service has closed."""
    enough = len(answer) * _GROWTH
    if not (chunk := await wire.receive()):
        return False
    answer += chunk
    with suppress(TimeoutError, ConnectionError):
        while chunk and len(answer) < enough:
            async with asyncio.timeout(_PAUSE_SECONDS):
                chunk = await wire.receive()
            answer += chunk
    return True
