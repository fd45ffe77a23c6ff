"""What is stored of an HTTP answer, whatever was expected of it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pulsebase.probes.support.faults import excerpt
from pulsebase.probes.support.network.certificates import PresentedCertificate, read_certificate

if TYPE_CHECKING:
    from datetime import datetime

    from pulsebase.probes.support.curl.request import Response

__all__ = ["details_seen"]

_PHASES: Final = ("dns", "connect", "tls", "first_byte", "total")


def details_seen(response: Response, now: datetime) -> dict[str, Any]:
    """The details that every answer has, as far as they are known; `tls` is judged at `now`."""
    details: dict[str, Any] = {}
    if response.status:
        details["http_status"] = response.status
    if response.http_version:
        details["http_version"] = response.http_version
    if response.remote_ip:
        details["remote_ip"] = response.remote_ip
    details["phases_ms"] = {
        name: taken
        for name, seconds in zip(_PHASES, response.phases_seconds, strict=True)
        if (taken := round(seconds * 1000, 2))
    }
    if response.certificate or response.session:
        details["tls"] = _tls_seen(response, now)
    return details


def _tls_seen(response: Response, now: datetime) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    if response.session:
        # "TLSv1.3 / TLS_AES_256_GCM_SHA384 / x25519 / id-ecPublicKey"
        version, _, rest = response.session.partition(" / ")
        seen["version"] = excerpt(version)
        if cipher := rest.partition(" / ")[0]:
            seen["cipher"] = excerpt(cipher)
    certificate = _certificate(response.certificate) if response.certificate else None
    return seen | certificate.details(now) if certificate else seen


@lru_cache(maxsize=1024)
def _certificate(encoded: str) -> PresentedCertificate | None:
    # Reading one takes longer than everything else around a probe, and few of them ever change.
    return read_certificate(encoded.encode("ascii", "replace"))
