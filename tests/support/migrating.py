"""Bringing a test database to the packaged schema."""

from __future__ import annotations

from importlib.resources import files

import psycopg

__all__ = ["migrate"]


def migrate(url: str) -> None:
    """Apply every packaged migration to the database, each in a transaction of its own."""
    folder = files("pulsebase") / "migrations" / "sql"
    scripts = sorted((path for path in folder.iterdir() if path.name.endswith(".sql")), key=str)
    with psycopg.connect(url, autocommit=True) as connection:
        for script in scripts:
            with connection.transaction():
                connection.execute(script.read_text(encoding="utf-8").encode())
