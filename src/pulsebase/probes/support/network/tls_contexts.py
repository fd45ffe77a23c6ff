"""Whom a probe trusts and as whom it comes: TLS contexts, read from their files once.

Reading the system's authorities takes some twenty milliseconds, so contexts are shared. A file that
changed (a renewed client certificate, say) is read again at the next probe.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import certifi

from pulsebase.errors import InvalidValueError
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TlsContexts", "TlsFiles", "Verification"]

# What of a certificate must hold besides its dates: the chain of authorities, and the name.
Verification: TypeAlias = Literal["full", "chain", "none"]
_Stamp: TypeAlias = tuple[tuple[int, int], ...]

_PEM_RULE: Final = "a readable file with certificates in PEM"
_KEY_RULE: Final = "a readable file with the certificate's private key in PEM, without a passphrase"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files behind a context: authorities to trust instead of the system's, and who we are."""

    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None

    def problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with the keys `ca_file`, `certificate_file` and `key_file`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.ca_file is not None and not _loads_authorities(context, self.ca_file):
            yield InvalidValueError("ca_file", self.ca_file, _PEM_RULE)
        if self.certificate_file is None:
            if self.key_file is not None:
                yield InvalidValueError("key_file", self.key_file, "beside a certificate_file")
        elif not _loads_authorities(context, self.certificate_file):
            yield InvalidValueError("certificate_file", self.certificate_file, _PEM_RULE)
        elif not _loads_key(context, self.certificate_file, self.key_file):
            got = self.key_file or self.certificate_file
            yield InvalidValueError("key_file", got, _KEY_RULE)

    def context(self, verification: Verification) -> ssl.SSLContext:
        """Read the files; raises OSError, of which ssl.SSLError is one, where that fails."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verification != "full":
            context.check_hostname = False
        if verification == "none":
            context.verify_mode = ssl.CERT_NONE
        elif self.ca_file is not None:
            context.load_verify_locations(self.ca_file)
        else:
            _trust_the_systems(context)
        if self.certificate_file is not None:
            context.load_cert_chain(self.certificate_file, self.key_file, _no_passphrase)
        return context

    def stamp(self) -> _Stamp:
        """What changes when one of the files does."""
        files = (self.ca_file, self.certificate_file, self.key_file)
        found = [Path(file).stat() for file in files if file is not None]
        return tuple((one.st_mtime_ns, one.st_ino) for one in found)


class TlsContexts:
    """One context for all probes with the same files."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[TlsFiles, Verification], tuple[_Stamp, ssl.SSLContext]] = {}

    def use(self, files: TlsFiles, verification: Verification = "full") -> ssl.SSLContext:
        """The context for these files as they are now.

        Raises UnknownHealthError where they cannot be read: nothing is known of the service then.
        """
        try:
            stamp = files.stamp()
            kept = self._contexts.get((files, verification))
            if kept is None or kept[0] != stamp:
                kept = self._contexts[files, verification] = stamp, files.context(verification)
        except OSError as error:
            message = f"a file for TLS cannot be read ({error}); put it back or change its key"
            raise UnknownHealthError(message) from error
        return kept[1]

    async def aclose(self) -> None:
        """Forget them."""
        self._contexts.clear()


def _trust_the_systems(context: ssl.SSLContext) -> None:
    context.load_default_certs()
    if ssl.get_default_verify_paths().cafile is None:
        # A folder of certificates may be there and empty, as in small container images.
        context.load_verify_locations(certifi.where())


def _loads_authorities(context: ssl.SSLContext, file: str) -> bool:
    try:
        context.load_verify_locations(file)
    except (OSError, ValueError):
        return False
    return True


def _loads_key(context: ssl.SSLContext, certificate_file: str, key_file: str | None) -> bool:
    try:
        context.load_cert_chain(certificate_file, key_file, _no_passphrase)
    except (OSError, ValueError):
        return False
    return True


def _no_passphrase() -> str:
    # Without this, OpenSSL would ask at the terminal and wait there.
    return ""
