"""`pulsebase db`: apply, inspect and write migrations, ours or an application's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.cli.options import Command, DatabaseGroup, current_options
from pulsebase.cli.output import (
    Column,
    Progress,
    Styled,
    print_json,
    print_line,
    print_table,
    progress,
    tell,
)
from pulsebase.cli.text import time_text
from pulsebase.errors import MigrationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.cli.output import Cell
    from pulsebase.migrations import Applied, Catalog, Entry, Plan
    from pulsebase.migrations.migrator import Step

__all__ = ["db"]

_STYLES: Final = {
    "applied": "green",
    "pending": "yellow",
    "changed": "bold red",
    "missing": "bold red",
}
_DIRECT: Final = ("postgresql://", "postgres://", "embedded://")
_MANY_FILES: Final = 3
_SECOND_MS: Final = 1000


def _dir_option(*, required: bool = False) -> Callable[[Any], Any]:
    text = "The folder of your migrations" + ("." if required else " (the files of pulsebase).")
    return click.option(
        "--dir",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        required=required,
        metavar="DIR",
        help=text,
    )


@click.group(cls=DatabaseGroup)
def db() -> None:
    """Apply, inspect and write migrations."""


@db.command()
@_dir_option()
def migrate(folder: Path | None) -> None:
    """Apply what is pending, each file once, in one transaction.

    Any number may run at once. Nothing is applied when an applied file was edited or is missing.
    """
    from pulsebase.migrations import Migrator

    options = current_options()
    catalog = _catalog(folder)
    with options.connect() as connection:
        applied = _run(Migrator(connection, catalog))
    if options.json:
        print_json({"files": applied.files, "advice": applied.advice or None})
        return
    _tell_applied(applied)
    if applied.advice:
        tell(f"note: {applied.advice}")


@db.command()
@_dir_option()
def status(folder: Path | None) -> None:
    """Show what is applied, pending, changed and missing, with times and durations."""
    from pulsebase.migrations import Migrator

    options = current_options()
    catalog = _catalog(folder)
    with options.connect() as connection:
        plan = Migrator(connection, catalog).plan()
    if options.json:
        print_json(_document(plan))
        return
    columns = [
        Column("MIGRATION"),
        Column("STATE"),
        Column("APPLIED AT", rank=1),
        Column("DURATION", right=True, rank=2),
    ]
    print_table(columns, [_row(entry) for entry in plan.entries])
    for refusal in plan.refusals:
        tell(f"problem: {refusal}")


@db.command(cls=Command)
@_dir_option(required=True)
@click.argument("words", nargs=-1, required=True)
def new(folder: Path, words: tuple[str, ...]) -> None:
    """Create the next empty migration, named after WORDS."""
    from pulsebase.migrations.writing import new as write_new

    path = write_new(folder, " ".join(words))
    if current_options().json:
        print_json({"path": path})
    else:
        print_line(str(path))


@db.command(cls=Command)
@_dir_option()
@click.pass_context
def lint(context: click.Context, folder: Path | None) -> None:
    """Find what goes wrong on Supabase or halfway, before it is applied."""
    from pulsebase.migrations.lint import lint as find

    findings = find(_catalog(folder))
    if current_options().json:
        print_json({"findings": findings})
    else:
        for finding in findings:
            print_line(str(finding))
        if not findings:
            tell("nothing found")
    context.exit(1 if findings else 0)


@db.command(cls=Command)
@_dir_option(required=True)
def export(folder: Path) -> None:
    """Copy the files of pulsebase into your folder, numbered after its highest."""
    from pulsebase.migrations.writing import export as copy

    files = copy(folder)
    if current_options().json:
        print_json({"files": files})
        return
    for file in files:
        print_line(f"{file.path}{'' if file.written else ' (there already)'}")


@db.command()
@click.option("--drop", is_flag=True, help="Remove it again.")
def bootstrap(*, drop: bool) -> None:
    """Print the SQL that migrations over HTTPS need once, for the SQL editor.

    With --url postgresql://… it is carried out there instead.
    """
    from pulsebase.migrations import bootstrap as scripts

    options = current_options()
    if options.url and options.url.startswith(_DIRECT):
        with options.connect() as connection:
            (scripts.uninstall if drop else scripts.install)(connection)
        done = (
            "exec_sql is removed" if drop else "exec_sql is installed; only service_role may use it"
        )
        if options.json:
            print_json({"installed": not drop})
        else:
            print_line(done)
        return
    text = scripts.drop_text() if drop else scripts.install_text()
    if options.json:
        print_json({"sql": text})
    else:
        for line in text.rstrip().split("\n"):
            print_line(line)


@db.command()
@_dir_option()
@click.option("--up-to", required=True, metavar="ID", help="The last one, as a number or a name.")
def baseline(folder: Path | None, up_to: str) -> None:
    """Record migrations as applied without running them.

    For a database that has their tables already.
    """
    from pulsebase.migrations import Migrator

    options = current_options()
    catalog = _catalog(folder)
    with options.connect() as connection:
        applied = Migrator(connection, catalog).baseline(up_to)
    if options.json:
        print_json({"files": applied.files})
    else:
        _tell_applied(applied)


def _catalog(folder: Path | None) -> Catalog:
    from pulsebase.migrations import packaged, read_folder

    return packaged() if folder is None else read_folder(folder)


def _run(migrator: Any) -> Applied:
    """Apply, with a bar when there are many files; an error's excerpt goes before its line."""
    begun: list[Step] = []
    with ExitStack() as bars:
        bar = Progress()

        def show(step: Step) -> None:
            nonlocal bar
            if not begun and step.total >= _MANY_FILES:
                bar = bars.enter_context(progress("migrating", total=step.total))
            bar.advance(1 if begun else 0)
            begun.append(step)

        try:
            applied: Applied = migrator.apply(show)
        except MigrationError as error:
            bars.close()
            raise MigrationError(_first_line(error, done=len(begun) - 1)) from error
    return applied


def _first_line(error: MigrationError, *, done: int) -> str:
    """The error's first line; the others, the excerpt with its mark, are told before."""
    first, *others = str(error).split("\n")
    for line in others:
        tell(line.expandtabs())
    if done > 0:
        tell(f"{done} file{'' if done == 1 else 's'} before it applied")
    return first


def _tell_applied(applied: Applied) -> None:
    if not applied.files:
        print_line("nothing to do")
    for file in applied.files:
        match file.outcome:
            case "applied":
                print_line(f"applied {file.id} in {_duration(file.duration_ms)}")
            case "recorded":
                print_line(f"recorded {file.id}")
            case "present":
                print_line(f"{file.id} was applied by another runner")


def _duration(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    if milliseconds < _SECOND_MS:
        return f"{milliseconds} ms"
    return f"{milliseconds / _SECOND_MS:.1f} s"


def _row(entry: Entry) -> list[Cell]:
    record = entry.record
    return [
        entry.id,
        Styled(entry.state, _STYLES.get(entry.state, "")),
        time_text(record.executed_at) if record else "",
        _duration(record.duration_ms) if record else "",
    ]


def _document(plan: Plan) -> dict[str, Any]:
    return {
        "migrations": [
            {
                "id": entry.id,
                "state": entry.state,
                "recorded_as": entry.record.id if entry.record else None,
                "executed_at": entry.record.executed_at if entry.record else None,
                "duration_ms": entry.record.duration_ms if entry.record else None,
            }
            for entry in plan.entries
        ],
        "problems": plan.refusals,
    }
