"""The kind `ping`: send ICMP echo requests, and judge by how many come back and how fast."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from icmplib import (
    AsyncSocket,
    ICMPError,
    ICMPRequest,
    ICMPSocketError,
    ICMPv4Socket,
    ICMPv6Socket,
    SocketPermissionError,
)

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import failed, fault
from pulsebase.probes.support.fields import host_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.connecting import (
    IpVersion,
    Journey,
    Verdict,
    ip_version_problem,
    travel,
)
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.faults import ErrorKind
    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["PingProbe"]

MOST_PACKETS: Final = 20

_PAUSE_SECONDS: Final = 0.2
# icmplib reads the wall clock, which may jump; the monotonic one ends the wait long before.
_NEVER_SECONDS: Final = 1_000_000
_NO_PERMISSION: Final = (
    "this process may not send ICMP packets; set net.ipv4.ping_group_range to include its group,"
    " or give it CAP_NET_RAW"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PingProbe(LatencyLimits):
    """Send a few echo requests, and judge by loss and by the average time.

    `degraded_above` and `down_above` are compared with the average time of those that came back.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    host: str
    count: int = 3
    ip_version: IpVersion | None = None
    degraded_loss_percent: int | None = None
    down_loss_percent: int = 100

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Send them one after the other; the timeout covers all of them."""
        return await travel(look, self._way)

    async def _way(self, journey: Journey) -> Verdict:
        with journey.phase("dns"):
            found = await journey.addresses(self.host, port=0, ip_version=self.ip_version)
        family, (address, *_) = found[0]
        journey.details["remote_ip"] = address
        with _open(family) as endpoint:
            pinging = _Pinging(endpoint, address)
            journey.when_late = partial(self._count, journey, pinging)
            await pinging.send_all(self.count, within_seconds=journey.seconds_left)
        return self._count(journey, pinging)

    def _count(self, journey: Journey, pinging: _Pinging) -> Verdict:
        journey.details |= pinging.details()
        if not pinging.took_seconds:
            return "down", fault(pinging.last_error or TimeoutError(), kind=pinging.error_kind)
        average_seconds = sum(pinging.took_seconds) / len(pinging.took_seconds)
        journey.answered(latency_seconds=average_seconds)
        return self._judge(pinging.loss_percent, average_seconds)

    def _judge(self, loss_percent: int, average_seconds: float) -> Verdict:
        if loss_percent >= self.down_loss_percent:
            return "down", _too_much("down_loss_percent", self.down_loss_percent, loss_percent)
        latency = self.judge_latency(average_seconds)
        bound = self.degraded_loss_percent
        if latency[0] != "down" and bound is not None and loss_percent >= bound:
            return "degraded", _too_much("degraded_loss_percent", bound, loss_percent)
        return latency

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from host_problem(self.host)
        yield from ip_version_problem(self.host, self.ip_version)
        if not 1 <= self.count <= MOST_PACKETS:
            yield InvalidValueError("count", self.count, f"from 1 to {MOST_PACKETS}")
        degraded, down = self.degraded_loss_percent, self.down_loss_percent
        for name, percent in (("degraded_loss_percent", degraded), ("down_loss_percent", down)):
            if percent is not None and not 1 <= percent <= 100:  # noqa: PLR2004 - percent
                yield InvalidValueError(name, percent, "from 1 to 100")
        if degraded is not None and degraded >= down:
            yield InvalidValueError(
                "degraded_loss_percent", degraded, "less than down_loss_percent"
            )
        yield from self.latency_problems()


class _Pinging:
    """Echo requests to one address, one after the other, and what became of them."""

    def __init__(self, endpoint: AsyncSocket, address: str) -> None:
        self._endpoint = endpoint
        self._address = address
        # Random, since a raw socket also sees the answers to others.
        self._id = secrets.randbelow(1 << 16)
        self._sent = 0
        self.took_seconds: list[float] = []
        self.last_error: Exception | None = None

    async def send_all(self, count: int, *, within_seconds: float) -> None:
        ends_at = time.monotonic() + within_seconds
        # At most half of the time goes to pauses.
        pause_seconds = min(_PAUSE_SECONDS, within_seconds / count / 2)
        for left in range(count, 0, -1):
            await self._send(within_seconds=max(0.0, ends_at - time.monotonic()) / left)
            if left > 1:
                await asyncio.sleep(min(pause_seconds, max(0.0, ends_at - time.monotonic())))

    async def _send(self, *, within_seconds: float) -> None:
        request = ICMPRequest(self._address, self._id, secrets.randbelow(1 << 16))
        self._sent += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(within_seconds):
                self._endpoint.send(request)
                reply = await self._endpoint.receive(request, _NEVER_SECONDS)
            reply.raise_for_status()
            self.took_seconds.append(time.monotonic() - began)
        except TimeoutError:
            self.last_error = self.last_error or TimeoutError()
        except ICMPError as error:
            self.last_error = ServiceError(str(error), kind="unreachable")
        except ICMPSocketError as error:
            self.last_error = _cause(error)

    @property
    def error_kind(self) -> ErrorKind | None:
        """The kind of the last error, where it is an error of ours that says so."""
        return self.last_error.kind if isinstance(self.last_error, ServiceError) else None

    @property
    def loss_percent(self) -> int:
        """How many of a hundred did not come back, rounded."""
        return round(100 * (1 - len(self.took_seconds) / max(1, self._sent)))

    def details(self) -> dict[str, Any]:
        """The keys `packets` and `round_trip_ms`."""
        took_ms = [round(seconds * 1000, 2) for seconds in self.took_seconds]
        packets = {"sent": self._sent, "received": len(took_ms), "loss_percent": self.loss_percent}
        if not took_ms:
            return {"packets": packets}
        average = round(sum(took_ms) / len(took_ms), 2)
        trip = {"min": min(took_ms), "average": average, "max": max(took_ms)}
        return {"packets": packets, "round_trip_ms": trip}


def _open(family: int) -> AsyncSocket:
    """A socket of the less powerful sort, if this machine lets us have it, else of the other."""
    kind = ICMPv6Socket if family == socket.AF_INET6 else ICMPv4Socket
    for privileged in (False, True):
        try:
            return AsyncSocket(kind(None, privileged))
        except SocketPermissionError:
            continue
        except ICMPSocketError as error:
            raise _cause(error) from error
    raise UnknownHealthError(_NO_PERMISSION)


def _cause(error: ICMPSocketError) -> Exception:
    # icmplib keeps the operating system's own error, with its number, only behind its own.
    behind = error.__context__
    return behind if isinstance(behind, OSError) else ServiceError(str(error), kind="other")


def _too_much(expectation: str, bound: int, got: int) -> dict[str, Any]:
    return failed(expectation, f"less than {bound} % lost", f"{got} % lost")
