"""What carries bytes: one module per kind of door, chosen by the URL's scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from pulsebase.settings import Target
    from pulsebase.transports.request import AsyncTransport, Transport


def open_transport(target: Target) -> Transport:
    """The transport for a target; its library is imported here, not before."""
    match target.scheme:
        case "postgresql":
            from pulsebase.transports.postgres import PostgresTransport

            return PostgresTransport(target)
        case "http" | "https":
            from pulsebase.transports.postgrest import PostgrestTransport

            return PostgrestTransport(target)
        case "embedded":
            from pulsebase.transports.embedded_door import EmbeddedTransport

            return EmbeddedTransport(target)
        case _:
            assert_never(target.scheme)


def open_async_transport(target: Target) -> AsyncTransport:
    """The same for asyncio."""
    match target.scheme:
        case "postgresql":
            from pulsebase.transports.postgres import AsyncPostgresTransport

            return AsyncPostgresTransport(target)
        case "http" | "https":
            from pulsebase.transports.postgrest import AsyncPostgrestTransport

            return AsyncPostgrestTransport(target)
        case "embedded":
            from pulsebase.transports.embedded_door import AsyncEmbeddedTransport

            return AsyncEmbeddedTransport(target)
        case _:
            assert_never(target.scheme)
