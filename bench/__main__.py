"""`python -m bench [NAME]...`: run all benchmarks, or those named, and print a table."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench import alerting, importing, migrating, probing, recording, scheduling
from bench.harness import show
from pulsebase.connection import connect
from pulsebase.migrations import Migrator, packaged
from tests.support.node_parts import DBMATE, POSTGREST
from tests.support.postgres_server import PostgresServer, available_servers
from tests.support.postgrest_server import PostgrestServer
from tests.support.supabase_roles import create_roles, set_default_privileges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.harness import Comparison

_NAMES = ("recording", "http", "migrating", "importing", "alerting")
# What takes minutes is run when it is asked for by name.
_LONG = ("probing", "scheduling")


def main(names: list[str]) -> int:
    """Run the benchmarks; 0 whatever their figures are, since a machine's mood is no failure."""
    wanted = names or list(_NAMES)
    if unknown := set(wanted) - {*_NAMES, *_LONG}:
        there = ", ".join((*_NAMES, *_LONG))
        sys.stderr.write(f"no benchmark {', '.join(unknown)}; there are: {there}\n")
        return 2
    lines: list[Comparison] = []
    with ExitStack() as resources:
        programs = available_servers()
        newest = programs[max(programs)]
        # Synced to disk: what is compared must cost what it costs in earnest.
        server = resources.enter_context(PostgresServer(newest, fsync=True))
        if "recording" in wanted:
            url = _migrated(server)
            lines += [recording.bulk(url), recording.single(url)]
        if "http" in wanted and _there(POSTGREST, "http"):
            postgrest = resources.enter_context(PostgrestServer(_migrated(server)))
            os.environ |= {"PULSEBASE_URL": postgrest.url, "PULSEBASE_KEY": postgrest.service_key}
            lines += recording.over_http(postgrest.url, postgrest.service_key)
        if "migrating" in wanted and _there(DBMATE, "migrating"):
            folder = resources.enter_context(tempfile.TemporaryDirectory())
            lines += migrating.migrating(server, Path(folder))
        if "importing" in wanted:
            lines += importing.importing()
        if "alerting" in wanted:
            lines += alerting.alerting(_migrated(server), _migrated(server))
            with PostgresServer(newest, settings=alerting.SETTINGS) as counting:
                alerting.show_costs(_migrated(counting), _migrated(counting))
        if "probing" in wanted and _installed(probing.PROGRAMS, "probing"):
            lines += probing.probing(_migrated(server))
        if "scheduling" in wanted:
            scheduling.scheduling(_migrated(server))
    if lines:
        show(lines)
    return 0


def _migrated(server: PostgresServer) -> str:
    url = server.url(server.create_database())
    create_roles(url)
    set_default_privileges(url, "new")
    with connect(url) as connection:
        Migrator(connection, packaged()).apply()
    return url


def _there(program: Path, name: str) -> bool:
    if not program.exists():
        sys.stderr.write(f"{name}: left out, since Node.js and its parts are not installed\n")
    return program.exists()


def _installed(programs: Sequence[str], name: str) -> bool:
    missing = ", ".join(program for program in programs if shutil.which(program) is None)
    if missing:
        sys.stderr.write(f"{name}: left out, since there is no {missing}\n")
    return not missing


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
