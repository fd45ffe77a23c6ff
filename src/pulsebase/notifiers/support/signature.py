"""Who sent a message, and when: signatures as in Standard Webhooks.

HMAC-SHA256 over `id.timestamp.body`, in the headers `webhook-id`, `webhook-timestamp` and
`webhook-signature`, so that receivers can use the libraries that there are for it
(https://github.com/standard-webhooks/standard-webhooks).
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import TYPE_CHECKING, Final

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.redaction import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["secret_problem", "signature_headers"]

PREFIX: Final = "whsec_"

_FEWEST_BYTES: Final = 16
_RULE: Final = (
    f'"{PREFIX}" and at least {_FEWEST_BYTES} bytes in base64, or any other text of at least '
    f"{_FEWEST_BYTES} characters"
)


def signature_headers(message_id: str, timestamp: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers by which a receiver knows the sender."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = hmac.digest(_key_of(secret), signed, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{b64encode(digest).decode()}",
    }


def secret_problem(secret: str | None, field: str = "secret") -> Iterable[InvalidValueError]:
    """What is wrong with a secret that is to sign."""
    if secret is None:
        return
    try:
        is_long = len(_key_of(secret)) >= _FEWEST_BYTES
    except (Base64Error, UnicodeEncodeError):
        is_long = False
    if not is_long:
        yield InvalidValueError(field, HIDDEN, _RULE)


def _key_of(secret: str) -> bytes:
    if secret.startswith(PREFIX):
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    return secret.encode()
