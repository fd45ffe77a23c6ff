"""Which of several monitors probes a service: each answers alike, and without asking the others.

Rendezvous hashing (highest random weight): every pair of a service and a monitor has a weight, and
the service belongs to the monitor with the highest one among those that have it. When a monitor
joins, only what it wins moves; when one leaves, only what it had. Names and ids alone decide, so
the answer is the same in every process and in every version: what is here must never change.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

__all__ = ["Candidate", "ServiceSet", "owner_of", "service_hash", "share_sizes"]

_HASH_BYTES = 8
_DIGEST_BYTES = 16


def service_hash(service_name: str) -> bytes:
    """Eight bytes that stand for a name; two of 100,000 names are equal once in a billion sets."""
    return blake2b(service_name.encode(), digest_size=_HASH_BYTES).digest()


def _weight(hashed: bytes, monitor: bytes) -> bytes:
    return blake2b(hashed, digest_size=_HASH_BYTES, key=monitor).digest()


@dataclass(frozen=True, slots=True)
class ServiceSet:
    """The hashes of the names that a monitor watches, sorted and packed; equal sets, equal digests.

    A hundred thousand services take 800 kB.
    """

    hashes: bytes
    digest: str = field(init=False)
    _sorted: array[int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Digest the hashes, and lay them out for searching."""
        digest = blake2b(self.hashes, digest_size=_DIGEST_BYTES).hexdigest()
        numbers = array("Q", self.hashes)
        if sys.byteorder == "little":
            numbers.byteswap()  # packed with the most significant byte first: sorted as bytes
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "_sorted", numbers)

    @classmethod
    def of(cls, service_names: Iterable[str]) -> ServiceSet:
        """The set of these names, in whatever order they come."""
        return cls(b"".join(sorted({service_hash(name) for name in service_names})))

    def __contains__(self, hashed: bytes) -> bool:
        """Whether a service is in the set, given its hash."""
        number = int.from_bytes(hashed, "big")
        index = bisect_left(self._sorted, number)
        return index < len(self._sorted) and self._sorted[index] == number

    def __len__(self) -> int:
        """How many services there are."""
        return len(self._sorted)

    def __iter__(self) -> Iterator[bytes]:
        """The hash of each service."""
        for start in range(0, len(self.hashes), _HASH_BYTES):
            yield self.hashes[start : start + _HASH_BYTES]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A monitor that may probe; `services` is None where it is not known and taken to be all."""

    id: UUID
    services: ServiceSet | None = None

    def has(self, hashed: bytes) -> bool:
        """Whether it watches the service of this hash, as far as we know."""
        return self.services is None or hashed in self.services


def owner_of(hashed: bytes, candidates: Iterable[Candidate]) -> UUID | None:
    """The monitor that probes the service of this hash; None when none of them has it."""
    return max(
        (candidate.id for candidate in candidates if candidate.has(hashed)),
        key=lambda identifier: (_weight(hashed, identifier.bytes), identifier.bytes),
        default=None,
    )


def share_sizes(candidates: Sequence[Candidate]) -> Counter[UUID]:
    """How many services each monitor probes, of all that any of them is known to have.

    Takes a microsecond for each service and monitor.
    """
    known = {hashed for each in candidates if each.services for hashed in each.services}
    owners = (owner_of(hashed, candidates) for hashed in known)
    return Counter(owner for owner in owners if owner)
