"""The kind `ssh`: read the banner, exchange keys, and look at the host's key. Nobody logs in."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import asyncssh

from pulsebase.errors import InvalidValueError
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import CLOSED, refuse
from pulsebase.probes.support.network import Journey, NetworkTarget, Verdict, travel
from pulsebase.probes.support.wire import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["HostKeyType", "SshProbe"]

HostKeyType: TypeAlias = Literal["ed25519", "ecdsa", "rsa"]

_READ_AHEAD: Final = 8 * 1024
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)
_FINGERPRINT_RULE: Final = 'a fingerprint as `ssh-keygen -l` prints it, "SHA256:" and 43 characters'
_ALGORITHMS: Final[Mapping[HostKeyType, list[str]]] = {
    "ed25519": ["ssh-ed25519"],
    "ecdsa": ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"],
    "rsa": ["rsa-sha2-256", "rsa-sha2-512"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshProbe(NetworkTarget):
    """Exchange keys as every client does before it logs in, and judge the host's key and the time.

    `degraded_above` and `down_above` are compared with the time until the keys were exchanged.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    port: int = 22
    host_key_type: HostKeyType | None = None
    host_key_sha256: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Connect once; the timeout covers the key exchange."""
        return await travel(look, self._way)

    async def _way(self, journey: Journey) -> Verdict:
        endpoint = await journey.connect_socket(self)
        # asyncssh copies all that it has read for each packet: thousands of them at once would
        # hold up the whole monitor.
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_AHEAD)
        witness = _Witness()
        try:
            key = await self._exchange_keys(endpoint, witness)
            elapsed_seconds = journey.answered()
        finally:
            endpoint.close()
            if banner := witness.banner():
                journey.details["banner"] = excerpt(banner)
        fingerprint = key.get_fingerprint("sha256")
        journey.details["host_key_sha256"] = fingerprint
        journey.details["host_key_type"] = excerpt(key.get_algorithm())
        if self.host_key_sha256 not in {None, fingerprint}:
            return "down", failed("host_key_sha256", str(self.host_key_sha256), fingerprint)
        return self.judge_latency(elapsed_seconds)

    async def _exchange_keys(self, endpoint: socket.socket, witness: _Witness) -> asyncssh.SSHKey:
        options = asyncssh.SSHClientConnectionOptions(
            config=None, client_factory=lambda: witness, agent_path=None, client_keys=None
        )
        try:
            key = await asyncssh.get_server_host_key(
                # Without a name, asyncssh asks a socket that may be closed already for one.
                self.host,
                sock=endpoint,
                config=None,
                options=options,
                server_host_key_algs=self._algorithms,
            )
        except asyncssh.ConnectionLost as error:
            raise ConnectionResetError(self._parting()) from error
        except OSError:
            raise
        except Exception as error:
            # Not only its own errors: what asyncssh trips over in a packet comes as it is.
            message = str(error) or type(error).__name__
            raise ServiceError(message) from error
        if key is None:
            message = "the server has shown no host key"
            raise ServiceError(message)
        return key

    def _parting(self) -> str:
        said = "the connection was closed before the keys were exchanged"
        if self.host_key_type is None:
            return said
        return f"{said}; the server may have no key of type {self.host_key_type}"

    @property
    def _algorithms(self) -> list[str]:
        if self.host_key_type is not None:
            return _ALGORITHMS[self.host_key_type]
        return [name for names in _ALGORITHMS.values() for name in names]

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        if self.host_key_sha256 is not None and not _FINGERPRINT.fullmatch(self.host_key_sha256):
            yield InvalidValueError("host_key_sha256", self.host_key_sha256, _FINGERPRINT_RULE)


class _Witness(asyncssh.SSHClient):
    """Remembers the connection, which asyncssh keeps to itself, to ask it for the banner."""

    def __init__(self) -> None:
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Remember it."""
        self._connection = conn

    def banner(self) -> str | None:
        """What the server said that it is, if it got that far."""
        if self._connection is None:
            return None
        found = self._connection.get_extra_info("server_version")
        return None if found is None else str(found)
