"""Bringing a test database to the packaged schema."""

from __future__ import annotations

from pulsebase.connection import connect
from pulsebase.migrations import Migrator, packaged

__all__ = ["migrate"]


def migrate(url: str) -> None:
    """Apply every packaged migration to the database."""
    with connect(url) as connection:
        Migrator(connection, packaged()).apply()
