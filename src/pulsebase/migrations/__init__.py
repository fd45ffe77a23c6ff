"""Forward-only migrations for PostgreSQL and Supabase, over a direct connection or HTTPS.

With `pulsebase.connection.connect("postgresql://…")` as the connection,
`Migrator(connection, packaged()).apply()` brings a database to the schema that pulsebase needs, and
`Migrator(connection, read_folder("migrations")).apply()` to that of an application.
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
