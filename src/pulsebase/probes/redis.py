"""The kind `redis`: connect to a Redis or Valkey, and judge its answers to PING and about a key."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal
from urllib.parse import unquote, urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.expected_value import LONGEST_VALUE, ExpectedValue
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import host_problem, port_problem, text_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.connecting import NetworkTarget, travel
from pulsebase.probes.support.network.tls_contexts import TlsContexts, TlsFiles
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.redaction import redact_url
from pulsebase.probes.support.redis_connection import BoundedConnection, Credentials

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from pulsebase.probes.support.network.connecting import Journey, Verdict
    from pulsebase.probes.support.network.tls_contexts import Verification
    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["RedisProbe", "Role"]

Role = Literal["primary", "replica"]

_DEFAULT_PORT: Final = 6379
_URL_RULE: Final = "redis://, rediss:// or unix://, such as redis://cache.example:6379/0"
_ROLES: Final = {"master": "primary", "slave": "replica"}


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RedisProbe(LatencyLimits):
    """Connect as a client would, say PING, and read a key if there is one.

    `degraded_above` and `down_above` are compared with the time from the look to the last answer.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    key: str | None = None
    expect: ExpectedValue = field(default_factory=ExpectedValue)
    role: Role | None = None
    verify_tls: bool = True
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the target without what is secret about it."""
        return f"RedisProbe({redact_url(self.url)})"

    @property
    def host(self) -> str | None:
        """The host of the URL; None for a socket in the file system."""
        return urlsplit(self.url).hostname

    async def probe(self, look: Look) -> Outcome:
        """Connect, ask and let go; the timeout covers everything."""
        return await travel(look, self._ask, secrets=self._secrets())

    async def _ask(self, journey: Journey) -> Verdict:
        connection = BoundedConnection(await self._endpoint(journey), _credentials(self.url))
        try:
            await self._open(connection, journey)
            return await self._judge(connection, journey)
        finally:
            connection.abort()

    async def _endpoint(self, journey: Journey) -> socket.socket:
        parts = urlsplit(self.url)
        if parts.scheme == "unix":
            with journey.phase("connect"):
                return await _connect_in_file_system(unquote(parts.path))
        return await journey.connect_socket(self._target)

    async def _open(self, connection: BoundedConnection, journey: Journey) -> None:
        context: ssl.SSLContext | None = None
        if not self.url.startswith("rediss:"):
            await connection.open_streams()
            return
        files = TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )
        verification: Verification = "full" if self.verify_tls else "none"
        context = journey.look.tools.use(TlsContexts).use(files, verification)
        with journey.phase("tls"):
            await connection.open_streams(context, server_name=self._target.tls_name)

    async def _judge(self, connection: BoundedConnection, journey: Journey) -> Verdict:
        await connection.greet()
        if (pong := await connection.ask("PING")) != b"PONG":
            message = f"the server answered PING with {_text(pong)}"
            raise ServiceError(message)
        unfit = await self._unfit_value(connection) or await self._unfit_role(connection, journey)
        seconds = journey.answered()
        return ("down", unfit) if unfit else self.judge_latency(seconds)

    async def _unfit_value(self, connection: BoundedConnection) -> dict[str, Any] | None:
        """What speaks against the value of the key."""
        if self.key is None:
            return None
        # A range, so that the server sends no more than is looked at: four bytes a character.
        got = _text(await connection.ask("GETRANGE", self.key, 0, LONGEST_VALUE * 4))
        if unmet := self.expect.failed(got):
            expectation, expected = unmet
            return failed(expectation, expected, excerpt(got, self._secrets()))
        return None

    async def _unfit_role(
        self, connection: BoundedConnection, journey: Journey
    ) -> dict[str, Any] | None:
        """What speaks against the server's role, or against a replica's link to its primary."""
        if self.role is None:
            return None
        said = _text(await connection.ask("INFO", "replication"))
        lines = (line.partition(":") for line in said.splitlines())
        facts = {name: value for name, _, value in lines}
        told = facts.get("role", "none")
        got = journey.details["role"] = excerpt(_ROLES.get(told, told))
        if got != self.role:
            return failed("role", self.role, got)
        link = facts.get("master_link_status", "up")
        return None if link == "up" else failed("primary_link", "up", excerpt(link))

    @property
    def _target(self) -> NetworkTarget:
        parts = urlsplit(self.url)
        return NetworkTarget(host=parts.hostname or "", port=parts.port or _DEFAULT_PORT)

    def _secrets(self) -> tuple[str, ...]:
        password = urlsplit(self.url).password or ""
        return password, unquote(password)

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from _url_problems(self.url)
        yield from text_problem(self.url, "url")
        yield from text_problem(self.key, "key")
        if not self.expect.is_anything and self.key is None:
            yield InvalidValueError("key", None, "given, since something is expected of its value")
        tls_keys = (self.ca_file, self.certificate_file, self.key_file)
        if any(tls_keys) and not self.url.startswith("rediss:"):
            yield InvalidValueError(
                "url", redact_url(self.url), "rediss://, since files for TLS are given"
            )
        yield from TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        ).problems()
        yield from self.latency_problems()


def _url_problems(url: str) -> Iterator[InvalidValueError]:
    shown = redact_url(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    is_local = parts.scheme == "unix"
    known = parts.scheme in {"redis", "rediss"} and host
    if not (known or (is_local and parts.path not in {"", "/"})) or parts.query or parts.fragment:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    if is_local:
        if "\x00" in unquote(parts.path):
            yield InvalidValueError("url", shown, _URL_RULE)
        return
    yield from host_problem(host, "url")
    yield from port_problem(_DEFAULT_PORT if port is None else port, "url")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdecimal()):
        yield InvalidValueError("url", shown, f"{_URL_RULE}, where 0 is the number of a database")


def _credentials(url: str) -> Credentials:
    parts = urlsplit(url)
    database = "" if parts.scheme == "unix" else parts.path.strip("/")
    return {
        "username": unquote(parts.username or "") or None,
        "password": unquote(parts.password or "") or None,
        "db": int(database or 0),
    }


async def _connect_in_file_system(path: str) -> socket.socket:
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        endpoint.setblocking(False)  # noqa: FBT003 -- the standard library takes it so
        await asyncio.get_running_loop().sock_connect(endpoint, path)
    except BaseException:
        endpoint.close()
        raise
    return endpoint


def _text(answer: Any) -> str:
    return answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
