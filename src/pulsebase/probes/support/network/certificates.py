"""What a server's certificate says, also when it does not hold.

Every kind that meets a certificate shows it alike, under `probe_details.tls`: `version`, `cipher`,
`subject`, `issuer`, `names`, `not_after` (ISO 8601, UTC) and `days_left` (whole days, negative once
it has expired).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pulsebase.probes.support.faults import excerpt

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from cryptography.x509 import Certificate, Name

__all__ = ["PresentedCertificate", "read_certificate", "why_refused"]

MOST_NAMES: Final = 20

_PEM: Final = b"-----BEGIN"
# OpenSSL's numbers (X509_V_ERR_…), which Python hands on without names.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_SIGNED: Final = 18
_WRONG_NAME: Final = frozenset({62, 64})
_UNTRUSTED: Final = frozenset({2, 19, 20, 21})


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedCertificate:
    """What a certificate says about itself; whether it may be believed is decided elsewhere."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends, rounded down; negative once it has ended."""
        return (self.not_after - now) // timedelta(days=1)

    def details(self, now: datetime) -> dict[str, Any]:
        """The keys of `probe_details.tls` that come from the certificate."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "names": list(self.names),
            "not_after": self.not_after.isoformat(),
            "days_left": self.days_left(now),
        }


def read_certificate(encoded: bytes) -> PresentedCertificate | None:
    """Read a certificate in DER or PEM; None where it cannot be read, whatever the bytes are."""
    # Imported here: only who meets a certificate waits for it.
    from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

    load = load_pem_x509_certificate if encoded.startswith(_PEM) else load_der_x509_certificate
    try:
        found = load(encoded)
        return PresentedCertificate(
            subject=_written(found.subject),
            issuer=_written(found.issuer),
            names=tuple(_names(found)),
            not_before=found.not_valid_before_utc,
            not_after=found.not_valid_after_utc,
        )
    except (ValueError, TypeError, OverflowError):  # what TLS passes need not be what X.509 says
        return None


def why_refused(
    error: ssl.SSLCertVerificationError, certificate: PresentedCertificate | None, *, name: str
) -> str:
    """A sentence that says why a certificate does not hold for a name."""
    code = error.verify_code
    if code == _EXPIRED:
        # Otherwise it is an authority's certificate that has ended.
        ended = certificate is not None and certificate.not_after < datetime.now(UTC)
        since = f" on {certificate.not_after.isoformat()}" if certificate and ended else ""
        return f"the certificate, or one that it rests on, has expired{since}"
    if code == _NOT_YET_VALID:
        return "the certificate, or one that it rests on, is not valid yet"
    if code in _WRONG_NAME:
        names = ", ".join(certificate.names) if certificate else ""
        return f"the certificate is not for {name}" + (f" but for {names}" if names else "")
    if code == _SELF_SIGNED:
        return "the certificate is self-signed, and is not among those trusted here"
    if code in _UNTRUSTED:
        return f"the certificate is from no authority that is trusted here ({error.verify_message})"
    return f"the certificate does not hold: {error.verify_message}"


def _written(name: Name) -> str:
    return excerpt(name.rfc4514_string())


def _names(certificate: Certificate) -> Iterator[str]:
    from cryptography.x509 import (
        DNSName,
        ExtensionNotFound,
        IPAddress,
        SubjectAlternativeName,
    )

    try:
        extension = certificate.extensions.get_extension_for_class(SubjectAlternativeName)
    except (ExtensionNotFound, ValueError):
        return
    found = [one for one in extension.value if isinstance(one, DNSName | IPAddress)]
    for one in found[:MOST_NAMES]:
        yield excerpt(str(one.value))
