"""The kind `tls`: shake hands, and judge the certificate and how long it still holds."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import failed
from pulsebase.probes.support.network.connecting import (
    Journey,
    NetworkTarget,
    Verdict,
    server_name_problem,
    travel,
)
from pulsebase.probes.support.network.start_tls import (
    Starttls,
    ask_for_tls,
    explain_refusal,
    note_tls,
)
from pulsebase.probes.support.network.tls_contexts import TlsContexts, TlsFiles, Verification
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.network.certificates import PresentedCertificate
    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["TlsProbe"]

_DEGRADED_DAYS_LEFT: Final = 7
# A refused client certificate is said after the handshake; most servers say goodbye at once.
_GOODBYE_SECONDS: Final = 1
_SHARE_FOR_GOODBYE: Final = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsProbe(NetworkTarget):
    """Shake hands; the certificate must hold for the name, today, and a while longer.

    `degraded_above` and `down_above` are compared with the time until the handshake was done.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    port: int = 443
    server_name: str | None = None
    starttls: Starttls | None = None
    verify: Verification = "full"
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    min_version: Literal["1.2", "1.3"] | None = None
    degraded_days_left: int | None = None
    down_days_left: int = 0

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Connect and shake hands once; the timeout covers both handshakes."""
        context = look.tools.use(TlsContexts).use(self._files(), self.verify)
        return await travel(look, lambda journey: self._way(journey, context))

    async def _way(self, journey: Journey, context: ssl.SSLContext) -> Verdict:
        try:
            async with await journey.connect(self) as wire:
                if self.starttls is not None:
                    await ask_for_tls(wire, self.starttls)
                with journey.phase("tls"):
                    tls = await wire.start_tls(context, server_name=self._name)
                elapsed_seconds = journey.answered()
                certificate = note_tls(journey, tls)
                patience_seconds = min(_GOODBYE_SECONDS, journey.seconds_left * _SHARE_FOR_GOODBYE)
                await wire.say_goodbye(within_seconds=patience_seconds)
        except ssl.SSLCertVerificationError as error:
            raise await explain_refusal(
                journey,
                error,
                self,
                self._files(),
                server_name=self._name,
                starttls=self.starttls,
            ) from error
        return self._judge(certificate, tls.version() or "", elapsed_seconds)

    def _judge(
        self, certificate: PresentedCertificate | None, version: str, elapsed_seconds: float
    ) -> Verdict:
        if certificate is None:
            message = "the certificate cannot be read"
            raise ServiceError(message, kind="tls")
        now = datetime.now(UTC)
        if certificate.not_after < now:
            message = f"the certificate has expired on {certificate.not_after.isoformat()}"
            raise ServiceError(message, kind="tls")
        latency = self.judge_latency(elapsed_seconds)
        days_left = certificate.days_left(now)
        if days_left < self.down_days_left:
            return "down", _too_few_days("down_days_left", self.down_days_left, days_left)
        if self.min_version is not None and version < (least := f"TLSv{self.min_version}"):
            return "down", failed("min_version", f"at least {least}", version)
        if latency[0] != "down" and days_left < (least_days := self._degraded_days):
            return "degraded", _too_few_days("degraded_days_left", least_days, days_left)
        return latency

    @property
    def _degraded_days(self) -> int:
        if self.degraded_days_left is not None:
            return self.degraded_days_left
        return _DEGRADED_DAYS_LEFT

    @property
    def _name(self) -> str:
        return self.server_name or self.tls_name

    def _files(self) -> TlsFiles:
        return TlsFiles(
            ca_file=self.ca_file, certificate_file=self.certificate_file, key_file=self.key_file
        )

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        yield from server_name_problem(self.server_name)
        yield from self._files().problems()
        if self.verify == "none" and self.ca_file is not None:
            yield InvalidValueError("ca_file", self.ca_file, 'left out where verify is "none"')
        yield from self._days_problems()

    def _days_problems(self) -> Iterator[InvalidValueError]:
        degraded, down = self.degraded_days_left, self.down_days_left
        for name, days in (("degraded_days_left", degraded), ("down_days_left", down)):
            if days is not None and days < 0:
                yield InvalidValueError(name, days, "0 or more")
        if degraded is not None and 0 < degraded <= down:
            bound = "more than down_days_left, or 0"
            yield InvalidValueError("degraded_days_left", degraded, bound)


def _too_few_days(expectation: str, least: int, got: int) -> dict[str, Any]:
    return failed(expectation, f"at least {least} days left", f"{got} days left")
