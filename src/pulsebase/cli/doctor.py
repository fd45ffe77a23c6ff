"""`pulsebase doctor`: what is wrong with this installation, and the command that mends it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.findings import (
    Finding,
    address_findings,
    installation_findings,
    key_findings,
)
from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import print_json, print_line, print_styled, status_cell
from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pulsebase.cli.options import Options
    from pulsebase.settings import Target

__all__ = ["doctor"]

_LEVEL_WIDTH: Final = len("warning")
_TOPIC_WIDTH: Final = len("extra embedded")


@click.command(cls=DatabaseCommand)
def doctor() -> int:
    """Find what is wrong with this installation and what mends it.

    Looks at the installed parts, the address, the key, the server, the clocks, the migrations, who
    may read the tables, whether alerts open, and whether channels are told. Changes nothing.

    \b
    Exit codes:
      0  no problems (there may be warnings)
      1  at least one problem
    """  # noqa: D301 -- click's mark for a paragraph that is not to be filled
    options = current_options()
    findings = []
    for finding in _findings(options):
        findings.append(finding)
        if not options.json:
            _show(finding)  # at once: the next one may take a while
    problems = sum(finding.level == "problem" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if options.json:
        print_json({"ok": not problems, "findings": findings})
    else:
        print_line(f"{_counted(problems, 'problem')}, {_counted(warnings, 'warning')}")
    return 1 if problems else 0


def _findings(options: Options) -> Iterator[Finding]:
    from pulsebase.cli.alerting_findings import alerting_findings
    from pulsebase.cli.examination import database_findings, failure

    yield from installation_findings()
    try:
        target = options.target()
    except PulsebaseError as error:
        yield failure("address", error)
        return
    yield from address_findings(options, target)
    yield from key_findings(options, target)
    try:
        if target.scheme == "embedded":
            folder = _embedded_folder(target)
            yield _folder_finding(folder)
            if not _exists(folder):
                return  # asking would create it, and a doctor changes nothing
        with options.connect() as connection:
            answers = False
            for finding in database_findings(connection, target):
                answers |= (finding.topic, finding.level) == ("reachable", "ok")
                yield finding
            if answers:
                yield from alerting_findings(connection)
    except PulsebaseError as error:
        yield failure("database", error)


def _embedded_folder(target: Target) -> Path:
    from pulsebase.transports.embedded import default_folder, programs
    from pulsebase.transports.embedded_door import folder_of

    programs()
    return (folder_of(target) or default_folder()).expanduser()


def _exists(folder: Path) -> bool:
    try:
        return folder.is_dir() and any(folder.iterdir())
    except OSError:
        return True  # it is there, and asking the database tells what is wrong with it


def _folder_finding(folder: Path) -> Finding:
    if _exists(folder):
        return Finding("embedded", "ok", f"data in {folder}")
    text = f"there is no embedded database in {folder} yet"
    return Finding("embedded", "problem", text, "run: pulsebase db migrate (or set DATABASE_URL)")


def _show(finding: Finding) -> None:
    level = f"{finding.level:<{_LEVEL_WIDTH}}"
    print_styled(
        status_cell(finding.level, level), f"  {finding.topic:<{_TOPIC_WIDTH}}  {finding.text}"
    )
    if finding.remedy:
        print_line(f"{'':{_LEVEL_WIDTH}}  {'':{_TOPIC_WIDTH}}  → {finding.remedy}")
    sys.stdout.flush()


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count or 'no'} {thing}s"
