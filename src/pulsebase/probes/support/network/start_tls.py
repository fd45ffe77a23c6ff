"""The words by which a conversation in the clear turns into one in TLS, and what was agreed on."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, assert_never

from pulsebase.probes.support.faults import excerpt, fault
from pulsebase.probes.support.network.certificates import read_certificate, why_refused
from pulsebase.probes.support.network.tls_contexts import TlsContexts
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    import ssl

    from pulsebase.probes.support.network.certificates import PresentedCertificate
    from pulsebase.probes.support.network.connecting import Journey, NetworkTarget
    from pulsebase.probes.support.network.tls_contexts import TlsFiles
    from pulsebase.probes.support.network.wire import Wire

__all__ = ["Starttls", "ask_for_tls", "explain_refusal", "note_tls"]

Starttls: TypeAlias = Literal["smtp", "postgres"]

_LONGEST_LINE: Final = 2048
_MOST_LINES: Final = 100
# The length of the message, and a number of its own in the place of the protocol's version.
_SSL_REQUEST: Final = (8).to_bytes(4) + (80877103).to_bytes(4)


def note_tls(journey: Journey, tls: ssl.SSLObject) -> PresentedCertificate | None:
    """Keep for the details what was agreed on and what the certificate says."""
    cipher = tls.cipher()
    journey.details["tls"] = {"version": tls.version(), "cipher": cipher[0] if cipher else None}
    certificate = read_certificate(tls.getpeercert(binary_form=True) or b"")
    if certificate is not None:
        journey.details["tls"] |= certificate.details(journey.checked_at)
    return certificate


async def explain_refusal(
    journey: Journey,
    error: ssl.SSLCertVerificationError,
    target: NetworkTarget,
    files: TlsFiles,
    *,
    server_name: str,
    starttls: Starttls | None = None,
) -> ServiceError:
    """Why a certificate does not hold; what it says is kept for the details.

    OpenSSL does not hand out what it refused, so hands are shaken again without judging.
    """
    refusal = ServiceError(why_refused(error, None, name=server_name), kind="tls")
    journey.when_late = lambda: ("down", fault(refusal, kind="tls"))
    context = journey.look.tools.use(TlsContexts).use(files, "none")
    # What goes wrong here is not what is wrong with the service.
    with suppress(OSError, EOFError, ServiceError):
        async with await journey.connect(target) as wire:
            if starttls is not None:
                await ask_for_tls(wire, starttls)
            tls = await wire.start_tls(context, server_name=server_name)
            shown = note_tls(journey, tls)
            return ServiceError(why_refused(error, shown, name=server_name), kind="tls")
    return refusal


async def ask_for_tls(wire: Wire, protocol: Starttls) -> None:
    """Bring the service to where the TLS handshake begins.

    Raises ServiceError where it does not want to, or speaks something else.
    """
    match protocol:
        case "smtp":
            await _ask_smtp(wire)
        case "postgres":
            await _ask_postgres(wire)
        case _:
            assert_never(protocol)


async def _ask_smtp(wire: Wire) -> None:
    await _expect_smtp(wire, "220")
    await wire.send(b"EHLO [127.0.0.1]\r\n")
    await _expect_smtp(wire, "250")
    await wire.send(b"STARTTLS\r\n")
    await _expect_smtp(wire, "220")


async def _expect_smtp(wire: Wire, code: str) -> None:
    """Read an answer of one or more lines, of which the last has no hyphen behind its code."""
    for _ in range(_MOST_LINES):
        line = (await wire.receive_line(longest=_LONGEST_LINE)).decode("utf-8", "replace")
        if not line.startswith(code):
            message = f"{code} was to come before TLS; got {excerpt(line)!r}"
            raise ServiceError(message, kind="tls" if line[:3].isdigit() else "protocol")
        if line[3:4] != "-":
            return
    message = f"an answer has more than {_MOST_LINES} lines"
    raise ServiceError(message)


async def _ask_postgres(wire: Wire) -> None:
    await wire.send(_SSL_REQUEST)
    match await wire.receive_exactly(1):
        case b"S":
            return
        case b"N":
            message = "the server does not offer TLS"
            raise ServiceError(message, kind="tls")
        case other:
            message = f"S or N was to come before TLS; got {other!r}"
            raise ServiceError(message)
