"""Unpack a body that was sent packed, within bounds that the server cannot move.

libcurl could do it on the way, but then the server chooses the way: a window of brotli takes 16 MiB
for each transfer, asked for or not. gzip and deflate, which every server knows, take 32 KiB.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ACCEPTED", "PackedTooLargeError", "UnpackingError", "encodings_of", "unpack"]

ACCEPTED: Final = b"Accept-Encoding: gzip, deflate"

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_MOST_LAYERS: Final = 5
_GZIP_WINDOW: Final = 31
_DEFLATE_WINDOW: Final = 15


class UnpackingError(ValueError):
    """The body is not packed as its headers say, or not as it was asked for."""


class PackedTooLargeError(UnpackingError):
    """The body is larger than its bound once it is unpacked."""


def encodings_of(head: Sequence[bytes]) -> list[str]:
    """How the headers say that the body is packed, in the order in which that was done."""
    values = [line.partition(b":")[2] for line in head if line[:17].lower() == b"content-encoding:"]
    names = ",".join(value.decode("ascii", "replace") for value in values).lower().split(",")
    return [name for name in map(str.strip, names) if name not in {"", "identity"}]


def unpack(body: bytes, encodings: Sequence[str], *, largest: int) -> bytes:
    """The body as it was before it was packed, at most so large at every step."""
    if len(encodings) > _MOST_LAYERS:
        message = f"the body is packed {len(encodings)} times over"
        raise UnpackingError(message)
    for encoding in reversed(encodings):
        if encoding in _GZIP:
            body = _inflate(body, _GZIP_WINDOW, largest)
        elif encoding == "deflate":
            body = _inflate(body, _window_of(body), largest)
        else:
            message = f"the body is packed in a way that was not asked for ({encoding})"
            raise UnpackingError(message)
    return body


def _window_of(body: bytes) -> int:
    # Some leave out the two bytes of zlib that the standard wants around "deflate".
    with_zlib = (
        len(body) > 1 and body[0] & 15 == zlib.DEFLATED and not (body[0] << 8 | body[1]) % 31
    )
    return _DEFLATE_WINDOW if with_zlib else -_DEFLATE_WINDOW


def _inflate(body: bytes, window: int, largest: int) -> bytes:
    parts: list[bytes] = []
    left = largest + 1
    while body:  # gzip may come in several parts
        inflating = zlib.decompressobj(window)
        try:
            part = inflating.decompress(body, left)
        except zlib.error as error:
            message = f"the body is not packed as its headers say ({error})"
            raise UnpackingError(message) from None
        parts.append(part)
        left -= len(part)
        if left <= 0:
            raise PackedTooLargeError
        if not inflating.eof:
            message = "the packed body ends before its end"
            raise UnpackingError(message)
        body = inflating.unused_data
    return b"".join(parts)
