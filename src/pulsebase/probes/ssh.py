"""The kind `ssh`: read the banner, exchange keys, and look at the host's key. Nobody logs in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.network.connecting import Journey, NetworkTarget, Verdict, travel
from pulsebase.probes.support.ssh.key_exchange import OUR_BANNER, exchange_keys
from pulsebase.probes.support.ssh.packets import read_banner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["HostKeyType", "SshProbe"]

HostKeyType: TypeAlias = Literal["ed25519", "ecdsa", "rsa"]

_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)
_FINGERPRINT_RULE: Final = 'a fingerprint as `ssh-keygen -l` prints it, "SHA256:" and 43 characters'
_ALGORITHMS: Final[Mapping[HostKeyType, list[str]]] = {
    "ed25519": ["ssh-ed25519"],
    "ecdsa": ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"],
    "rsa": ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
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
        async with await journey.connect(self) as wire:
            await wire.send(OUR_BANNER + b"\r\n")
            with journey.phase("first_byte"):
                banner = await read_banner(wire)
            journey.details["banner"] = excerpt(banner.decode("utf-8", "replace"))
            key = await exchange_keys(wire, banner, self._algorithms)
            elapsed_seconds = journey.answered()
        fingerprint = key.get_fingerprint("sha256")
        journey.details["host_key_sha256"] = fingerprint
        journey.details["host_key_type"] = excerpt(key.get_algorithm())
        if self.host_key_sha256 not in {None, fingerprint}:
            return "down", failed("host_key_sha256", str(self.host_key_sha256), fingerprint)
        return self.judge_latency(elapsed_seconds)

    @property
    def _algorithms(self) -> list[str]:
        if self.host_key_type is not None:
            return _ALGORITHMS[self.host_key_type]
        return [name for names in _ALGORITHMS.values() for name in names]

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        if self.host_key_sha256 is not None and not _FINGERPRINT.fullmatch(self.host_key_sha256):
            yield InvalidValueError("host_key_sha256", self.host_key_sha256, _FINGERPRINT_RULE)
