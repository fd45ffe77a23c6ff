"""An SSH key exchange up to the proof of the host's key, and no further.

Every client begins with it before it logs in, and all of it is in the clear. It is done here and
not by asyncssh, whose client can be held within our bounds, but takes a banner of other letters
than ASCII for a fault, needs an account with a name on this machine, and knows the Diffie-Hellman
groups of older equipment by an interface of its library that is on its way out: a healthy server
would be down. Keys and their signatures are asyncssh's matter.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import asyncssh
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pulsebase.probes.support.faults import excerpt
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.ssh.packets import (
    Fields,
    as_integer,
    as_string,
    read_message,
    send_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pulsebase.probes.support.network.wire import Wire

__all__ = ["OUR_BANNER", "exchange_keys"]

OUR_BANNER: Final = b"SSH-2.0-pulsebase"

_DISCONNECT: Final = b"\x01" + (11).to_bytes(4) + as_string(b"only looking") + as_string(b"")
_KEXINIT: Final = 20
_BEGIN: Final = 30
_PROOF: Final = 31
_COOKIE_BYTES: Final = 16
# What would come after the exchange: it must be agreed on, and is never used.
_CIPHERS: Final = (
    "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,"
    "aes256-ctr,aes192-ctr,aes128-ctr,aes256-cbc,aes128-cbc,3des-cbc"
)
_CODES: Final = (
    "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,"
    "hmac-sha2-256,hmac-sha2-512,hmac-sha1"
)
_COMPRESSIONS: Final = "none,zlib@openssh.com"
# RFC 3526's group of 2048 bits: what equipment speaks that knows no elliptic curves.
_GROUP_14: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05"
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB"
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    16,
)


class _Share(Protocol):
    """Our half of a secret: what is sent of it, and what the other half makes of it."""

    @property
    def public(self) -> bytes: ...
    def agree(self, theirs: bytes) -> int: ...


class _Curve25519:
    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        self.public = as_string(self._private.public_key().public_bytes_raw())

    def agree(self, theirs: bytes) -> int:
        other = X25519PublicKey.from_public_bytes(Fields(theirs).string())
        return int.from_bytes(self._private.exchange(other))


class _NistCurve:
    def __init__(self, curve: ec.EllipticCurve) -> None:
        self._curve = curve
        self._private = ec.generate_private_key(curve)
        form = (Encoding.X962, PublicFormat.UncompressedPoint)
        self.public = as_string(self._private.public_key().public_bytes(*form))

    def agree(self, theirs: bytes) -> int:
        point = Fields(theirs).string()
        other = ec.EllipticCurvePublicKey.from_encoded_point(self._curve, point)
        return int.from_bytes(self._private.exchange(ec.ECDH(), other))


class _Group14:
    def __init__(self) -> None:
        self._private = secrets.randbits(512)
        self.public = as_integer(pow(2, self._private, _GROUP_14))

    def agree(self, theirs: bytes) -> int:
        other = Fields(theirs).integer()
        if not 1 < other < _GROUP_14 - 1:
            message = "the server's half of the secret is out of range"
            raise ServiceError(message)
        return pow(other, self._private, _GROUP_14)


# By name: how our half is made, and the hash of the exchange.
_METHODS: Final[Mapping[str, tuple[Callable[[], _Share], str]]] = {
    "curve25519-sha256": (_Curve25519, "sha256"),
    "curve25519-sha256@libssh.org": (_Curve25519, "sha256"),
    "ecdh-sha2-nistp256": (lambda: _NistCurve(ec.SECP256R1()), "sha256"),
    "ecdh-sha2-nistp384": (lambda: _NistCurve(ec.SECP384R1()), "sha384"),
    "ecdh-sha2-nistp521": (lambda: _NistCurve(ec.SECP521R1()), "sha512"),
    "diffie-hellman-group14-sha256": (_Group14, "sha256"),
    "diffie-hellman-group14-sha1": (_Group14, "sha1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beginnings:
    """What both sides said before the exchange; its hash covers all of it."""

    ours: bytes
    their_banner: bytes
    theirs: bytes


async def exchange_keys(
    wire: Wire, their_banner: bytes, host_key_algorithms: Sequence[str]
) -> asyncssh.SSHKey:
    """The host's key, with the proof that the server has the private half; then it leaves.

    Raises ServiceError where the two agree on nothing, or the proof does not hold.
    """
    ours = _offer(host_key_algorithms)
    await send_message(wire, bytes([_KEXINIT]) + ours)
    theirs = await read_message(wire, _KEXINIT)
    method = _agreed(theirs, host_key_algorithms)
    make_share, hash_name = _METHODS[method]
    share = make_share()
    await send_message(wire, bytes([_BEGIN]) + share.public)
    proof = await read_message(wire, _PROOF)
    beginnings = _Beginnings(ours=ours, their_banner=their_banner, theirs=theirs)
    try:
        key = _proved(proof, beginnings, share, hash_name)
    except (asyncssh.KeyImportError, ValueError) as error:
        message = f"the server's proof of its key cannot be read: {error}"
        raise ServiceError(message) from error
    await send_message(wire, _DISCONNECT)
    return key


def _offer(host_key_algorithms: Sequence[str]) -> bytes:
    lists = (
        ",".join(_METHODS),
        ",".join(host_key_algorithms),
        *(_CIPHERS, _CIPHERS, _CODES, _CODES, _COMPRESSIONS, _COMPRESSIONS, "", ""),
    )
    encoded = b"".join(as_string(one.encode()) for one in lists)
    # No guess follows, and four bytes are kept for later versions of SSH.
    return os.urandom(_COOKIE_BYTES) + encoded + bytes(5)


def _agreed(theirs: bytes, host_key_algorithms: Sequence[str]) -> str:
    fields = Fields(theirs)
    fields.take(_COOKIE_BYTES)
    method = _first_common("way to exchange keys", list(_METHODS), fields.names())
    _first_common("type of host key", host_key_algorithms, fields.names())
    return method


def _first_common(what: str, ours: Sequence[str], theirs: Sequence[str]) -> str:
    if common := [one for one in ours if one in theirs]:
        return common[0]
    message = f"no {what} is known to both; the server offers {excerpt(', '.join(theirs))}"
    raise ServiceError(message)


def _proved(
    proof: bytes, beginnings: _Beginnings, share: _Share, hash_name: str
) -> asyncssh.SSHKey:
    fields = Fields(proof)
    host_key = fields.string()
    their_public = as_string(fields.string())
    signature = fields.string()
    hashed = b"".join(
        (
            as_string(OUR_BANNER),
            as_string(beginnings.their_banner),
            as_string(bytes([_KEXINIT]) + beginnings.ours),
            as_string(bytes([_KEXINIT]) + beginnings.theirs),
            as_string(host_key),
            share.public,
            their_public,
            as_integer(share.agree(their_public)),
        )
    )
    key = _key(host_key)
    if not key.verify(hashlib.new(hash_name, hashed).digest(), signature):
        message = "the server could not prove that the host key is its own"
        raise ServiceError(message)
    return key


def _key(encoded: bytes) -> asyncssh.SSHKey:
    name = Fields(encoded).string()
    return asyncssh.import_public_key(name + b" " + base64.b64encode(encoded))
