"""Forward-only migrations for PostgreSQL and Supabase, over a direct connection or HTTPS.

    from pulsebase.connection import connect
    from pulsebase.migrations import Migrator, packaged, read_folder

    with connect("postgresql://…") as connection:
        applied = Migrator(connection, packaged()).apply()
"""

from __future__ import annotations

from pulsebase.migrations.catalog import Catalog, MigrationFile, packaged, read_folder
from pulsebase.migrations.migrator import Applied, AppliedFile, Migrator, Verdict
from pulsebase.migrations.plan import Entry, Plan

__all__ = [
    "Applied",
    "AppliedFile",
    "Catalog",
    "Entry",
    "MigrationFile",
    "Migrator",
    "Plan",
    "Verdict",
    "packaged",
    "read_folder",
]
