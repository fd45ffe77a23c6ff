"""What the kinds share that connect to a host and a port: their keys, the way there, the deadline.

A probe goes on a `Journey`: name lookup, connection, handshake, answer. One deadline covers all of
it, and what was seen on the way is in the details also where the way ended early.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED
from pulsebase.probes.support.faults import OWN_ERRNOS, fault, kind_of
from pulsebase.probes.support.fields import host_problem, port_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.certificates import why_refused
from pulsebase.probes.support.network.name_lookup import NameLookup, literal_address
from pulsebase.probes.support.network.wire import ServiceError, Wire
from pulsebase.probes.support.outcome import Outcome, Status, UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from pulsebase.probes.support.network.name_lookup import Address
    from pulsebase.probes.support.outcome import Look

__all__ = ["IpVersion", "Journey", "NetworkTarget", "Verdict", "server_name_problem", "travel"]

IpVersion: TypeAlias = Literal[4, 6]
Verdict: TypeAlias = "tuple[Status, dict[str, Any]]"
Phase: TypeAlias = Literal["dns", "connect", "tls", "first_byte"]

# How long one address may keep the next waiting: what browsers do for a host whose IPv6 is broken.
_NEXT_ADDRESS_SECONDS: Final = 0.25
_MOST_ADDRESSES: Final = 8
_LONGEST_LABEL: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkTarget(LatencyLimits):
    """The keys of a kind that connects to a host and a port."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    host: str
    port: int
    ip_version: IpVersion | None = None

    def target_problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with these keys and the limits of latency."""
        yield from host_problem(self.host)
        yield from port_problem(self.port)
        yield from ip_version_problem(self.host, self.ip_version)
        yield from self.latency_problems()

    @property
    def tls_name(self) -> str:
        """The host as a certificate would name it."""
        return self.host.partition("%")[0].rstrip(".")


def ip_version_problem(host: str, ip_version: IpVersion | None) -> Iterator[InvalidValueError]:
    """What is wrong with an address that is not of the wanted version."""
    literal = literal_address(host, port=0)
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6, None: None}[ip_version]
    if literal and wanted and literal[0] != wanted:
        yield InvalidValueError(
            "ip_version", ip_version, "that of the address in host, or left out"
        )


def server_name_problem(name: str | None) -> Iterator[InvalidValueError]:
    """What is wrong with the key `server_name`."""
    if name is None:
        return
    labels = name.split(".")
    if any(host_problem(name)) or not all(0 < len(one) <= _LONGEST_LABEL for one in labels):
        bound = "a host name in ASCII (xn--… for other letters) or an IP address"
        yield InvalidValueError("server_name", name, bound)


class Journey:
    """One way to a service and back, with its deadline and what was seen so far."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self.checked_at = datetime.now(UTC)
        self.details: dict[str, Any] = {}
        self.phase_now: Phase | None = None
        # What is to be said if time runs out from here on, where that is more than "timeout".
        self.when_late: Callable[[], Verdict | None] | None = None
        self._started = time.monotonic()
        self._phases_seconds: dict[str, float] = {}
        self._latency_seconds: float | None = None
        self._total_seconds: float | None = None

    @property
    def seconds_left(self) -> float:
        """How much of the timeout is left."""
        return self.look.timeout_seconds - (time.monotonic() - self._started)

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Time a part of the way that was gone to its end."""
        began = time.monotonic()
        self.phase_now = name
        yield
        self._phases_seconds.setdefault(name, time.monotonic() - began)
        self.phase_now = None

    async def connect(self, target: NetworkTarget) -> Wire:
        """Connect to the first address of the target that answers."""
        return Wire(await self.connect_socket(target))

    async def connect_socket(self, target: NetworkTarget) -> socket.socket:
        """The same for a library that takes a connected socket."""
        with self.phase("dns"):
            addresses = await self.addresses(
                target.host, port=target.port, ip_version=target.ip_version
            )
        with self.phase("connect"):
            endpoint = await connect_any(addresses)
        try:
            self.details["remote_ip"] = endpoint.getpeername()[0]
        except OSError as error:
            endpoint.close()
            message = "the connection was broken as soon as it was there"
            raise ConnectionResetError(message) from error
        return endpoint

    async def addresses(
        self, host: str, *, port: int, ip_version: IpVersion | None
    ) -> Sequence[Address]:
        """Where the host is."""
        lookup = self.look.tools.use(NameLookup)
        return await lookup.addresses(host, port=port, ip_version=ip_version)

    def answered(self, *, latency_seconds: float | None = None) -> float:
        """Note that the whole answer is here, and say how many seconds that took.

        A kind that times something else says what it measured.
        """
        self._total_seconds = time.monotonic() - self._started
        self._latency_seconds = latency_seconds or self._total_seconds
        return self._latency_seconds

    def outcome(self, verdict: Verdict) -> Outcome:
        """What is recorded: the verdict, and what was seen on the way."""
        status, details = verdict
        answered = None if "error" in details else self._latency_seconds
        total = self._total_seconds or time.monotonic() - self._started
        phases = {**self._phases_seconds, "total": total}
        phases_ms = {name: took for name, seconds in phases.items() if (took := _ms(seconds))}
        return Outcome(
            status=status,
            latency_ms=None if answered is None else round(answered * 1000),
            checked_at=self.checked_at,
            details={"phases_ms": phases_ms, **self.details, **details},
        )


async def travel(
    look: Look, way: Callable[[Journey], Awaitable[Verdict]], *, secrets: Iterable[str] = ()
) -> Outcome:
    """Go the way within the timeout; whatever the service or the network does is an outcome.

    Raises UnknownHealthError where this machine had the trouble.
    """
    journey = Journey(look)
    try:
        async with asyncio.timeout(look.timeout_seconds):
            verdict = await way(journey)
    except ServiceError as error:
        verdict = "down", fault(error, kind=error.kind, secrets=secrets)
    except ssl.SSLCertVerificationError as error:
        told = why_refused(error, None, name="this name")
        verdict = "down", fault(ServiceError(told), kind="tls", secrets=secrets)
    except ssl.SSLError as error:
        told = _without_line_of_c(error)
        verdict = "down", fault(ServiceError(told), kind="tls", secrets=secrets)
    except TimeoutError as error:
        if journey.phase_now == "dns":
            _complain_of_overload(look.tools.use(NameLookup))
        late = journey.when_late() if journey.when_late else None
        verdict = late or ("down", fault(error, secrets=secrets))
    except (OSError, EOFError) as error:
        verdict = "down", fault(error, secrets=secrets)
    return journey.outcome(verdict)


async def connect_any(addresses: Sequence[Address]) -> socket.socket:
    """Connect to whichever address answers first, giving each a head start over the next.

    Raises the most telling error when none does.
    """
    waiting = deque(_by_turns(addresses)[:_MOST_ADDRESSES])
    if len(waiting) == 1:
        return await _connect(waiting[0])
    attempts: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.popleft())))
            patience = _NEXT_ADDRESS_SECONDS if waiting else None
            done, _ = await asyncio.wait(
                attempts, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                attempts.discard(attempt)
                if error := attempt.exception():
                    errors.append(_os_error(error))
                else:
                    return attempt.result()
    finally:
        for attempt in attempts:
            _give_up(attempt)
    raise min(errors, key=_says_little)


async def _connect(address: Address) -> socket.socket:
    family, place = address
    endpoint = socket.socket(family, socket.SOCK_STREAM)
    try:
        endpoint.settimeout(0)
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(endpoint, place)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def _by_turns(addresses: Sequence[Address]) -> list[Address]:
    # The preferred family first, then one of each: a broken IPv6 costs one head start, not five.
    first = [one for one in addresses if one[0] == addresses[0][0]]
    other = [one for one in addresses if one[0] != addresses[0][0]]
    mixed = [one for pair in zip(first, other, strict=False) for one in pair]
    return mixed + first[len(other) :] + other[len(first) :]


def _give_up(attempt: asyncio.Task[socket.socket]) -> None:
    attempt.cancel()
    attempt.add_done_callback(_close_if_connected)


def _close_if_connected(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


def _os_error(error: BaseException) -> OSError:
    if not isinstance(error, OSError):
        raise error
    return error


def _says_little(error: OSError) -> bool:
    # A machine without IPv6 has no way to half of a host's addresses; the other half decides.
    return kind_of(error) == "unreachable" or error.errno in OWN_ERRNOS


def _without_line_of_c(error: ssl.SSLError) -> str:
    return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"


def _complain_of_overload(lookup: NameLookup) -> None:
    if lookup.is_overloaded:
        message = "too many name lookups wait for an answer; look after this machine's name servers"
        raise UnknownHealthError(message)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 2)
