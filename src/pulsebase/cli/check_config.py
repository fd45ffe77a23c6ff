"""`pulsebase check-config`: whether the configuration file is right, without watching anything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import click

from pulsebase.cli.options import Command, current_options
from pulsebase.cli.output import (
    Column,
    Styled,
    print_json,
    print_line,
    print_styled,
    print_table,
    tell,
)
from pulsebase.cli.watching import config_option, read_configuration

if TYPE_CHECKING:
    from pathlib import Path

    from pulsebase.monitor.configuration import Problem

_FAILED = 1


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said about a file."""

    file: str
    services: int = 0
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    policies: int = 0
    channels: int = 0
    routes: int = 0
    maintenance_windows: int = 0
    problems: tuple[Problem, ...] = ()


@click.command("check-config", cls=Command)
@config_option
@click.option(
    "--schema",
    "wants_schema",
    is_flag=True,
    help="Print the JSON Schema of the file instead, for editors.",
)
def check_config(path: Path, wants_schema: bool) -> None:  # noqa: FBT001 -- click passes options by name
    """Say what is wrong with the configuration file; nothing is probed and nothing is recorded.

    \b
    Exit codes: 0 nothing is wrong, 1 something is, 2 wrong usage.
    """  # noqa: D301 -- click's mark for a paragraph that it must not wrap
    if wants_schema:
        _print_schema()
        return
    verdict = _judged(path)
    if current_options().json:
        print_json({"ok": not verdict.problems, **_document(verdict)})
    else:
        _show(verdict)
    if verdict.problems:
        raise SystemExit(_FAILED)


def _judged(path: Path) -> Verdict:
    from pulsebase.monitor.configuration import UnusableFileError

    try:
        configuration = read_configuration(path)
    except UnusableFileError as error:
        return Verdict(str(path), problems=error.problems)
    kinds = Counter(service.kind for service in configuration.services)
    return Verdict(
        str(path),
        services=len(configuration.services),
        kinds=dict(sorted(kinds.items())),
        policies=len(configuration.policies),
        channels=len(configuration.channels),
        routes=len(configuration.routes),
        maintenance_windows=len(configuration.maintenance),
    )


def _document(verdict: Verdict) -> dict[str, object]:
    return {
        "file": verdict.file,
        "services": verdict.services,
        "kinds": verdict.kinds,
        "policies": verdict.policies,
        "channels": verdict.channels,
        "routes": verdict.routes,
        "maintenance_windows": verdict.maintenance_windows,
        "problems": verdict.problems,
    }


def _show(verdict: Verdict) -> None:
    if verdict.problems:
        for problem in verdict.problems:
            print_line(str(problem))
        return
    print_styled(f"{verdict.file}: {_counts(verdict)}, ", Styled("no problems", "green"))
    rows = [[kind, f"{count:,}"] for kind, count in verdict.kinds.items()]
    print_table(("kind", Column("services", right=True)), rows)


def _counts(verdict: Verdict) -> str:
    """How many services there are, and of alerting whatever there is."""
    from pulsebase.monitor.counted import counted

    alerting = (
        (verdict.channels, "channel"),
        (verdict.routes, "route"),
        (verdict.maintenance_windows, "maintenance window"),
    )
    said = [counted(verdict.services, "service")]
    said += [counted(count, what) for count, what in alerting if count]
    if verdict.policies:
        # The one word of them that does not take an s.
        said.append("1 policy" if verdict.policies == 1 else f"{verdict.policies:,} policies")
    return ", ".join(said)


def _print_schema() -> None:
    from pulsebase.monitor.configuration.schema import configuration_schema

    schema, remarks = configuration_schema()
    for remark in remarks:
        tell(remark)
    print_json(schema)
