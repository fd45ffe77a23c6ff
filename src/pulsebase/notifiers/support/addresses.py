"""Which addresses are anybody's, and which belong to this machine or the networks around it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["is_public_address"]

# What Python's registry calls global or does not know in every version that we run on: IETF
# protocol assignments, relays of 6to4, translation inside a site, and what once was site-local.
_NOT_PUBLIC: Final = tuple(
    map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "64:ff9b:1::/48", "fec0::/10", "5f00::/16"))
)
_TRANSLATED: Final = ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ip_network("::/96")


def is_public_address(text: str) -> bool:
    """Whether an address may be asked by everybody: not private, loopback, link-local and so on.

    An IPv6 address that stands for an IPv4 one (mapped, translated, tunnelled) is judged by both.
    What is no address is not public.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return all(map(_is_public, (address, *_embedded(address))))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address in _TRANSLATED):
        return True  # as much as the IPv4 address in it, which is judged for itself
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
    )


def _embedded(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address]:
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _TRANSLATED or address in _COMPATIBLE:
        yield IPv4Address(int(address) & 0xFFFF_FFFF)
