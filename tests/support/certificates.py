"""Certificates of a private authority, and some that do not hold."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Authority", "Identity", "self_signed"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path

    def serving(self, *, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """The context of a server that shows it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if newest is not None:
            context.maximum_version = newest
        context.load_cert_chain(self.certificate, self.key)
        return context


class Authority:
    """Signs certificates into a folder; `ca_file` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def issue(self, *names: str, days: float = 90) -> Identity:
        """A certificate for these names that ends in so many days, or has ended long ago."""
        now = datetime.now(UTC)
        issued = self._authority.issue_cert(
            *names, not_before=now - timedelta(days=400), not_after=now + timedelta(days=days)
        )
        number = len(list(self._folder.iterdir()))
        identity = Identity(
            certificate=self._folder / f"certificate-{number}.pem",
            key=self._folder / f"key-{number}.pem",
        )
        identity.certificate.write_bytes(b"".join(p.bytes() for p in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(identity.key))
        return identity


def self_signed(folder: Path, name: str) -> Identity:
    """A certificate that nobody but itself vouches for."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    identity = Identity(certificate=folder / "self.pem", key=folder / "self-key.pem")
    identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    identity.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return identity
