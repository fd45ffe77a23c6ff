"""The root of the command line: which commands there are, and how the process ends.

A command's module is imported when the command runs. Whatever happens, the user sees at most one
line, on stderr, and an exit code; a traceback is in the log of `--verbose` only.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

import click

from pulsebase.cli.options import DatabaseGroup, HealthCommand, unexpected
from pulsebase.cli.output import print_error
from pulsebase.cli.redaction import Redactor
from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "LazyCommand", "pulsebase", "run"]

FAILED: Final = 1
UNKNOWN: Final = 3
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141  # as if SIGPIPE had ended the process
_COMPLETION: Final = "_PULSEBASE_COMPLETE"


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """Where a command is, and the first line of its help, shown without importing it."""

    module: str
    summary: str


# In the order of the help page. A new command is a new line here and a module of its own.
COMMANDS: Final[dict[str, LazyCommand]] = {
    "demo": LazyCommand(
        "demo", "Show it all at once: database, migrations, monitor, alerts and history."
    ),
    "run": LazyCommand(
        "run", "Probe the services of the configuration file and record what is seen."
    ),
    "check": LazyCommand(
        "check",
        "Probe every service of the configuration file once, or only those NAMEd, and record it.",
    ),
    "deliver": LazyCommand(
        "deliver", "Send what the channels of the configuration file are owed, once."
    ),
    "check-config": LazyCommand(
        "check_config",
        "Say what is wrong with the configuration file; nothing is probed and nothing is recorded.",
    ),
    "record": LazyCommand("record", "Store one check of SERVICE and print its id."),
    "status": LazyCommand("status", "Show every service's newest check; exit by the worst status."),
    "history": LazyCommand("history", "Show the checks of SERVICE, newest first."),
    "alerts": LazyCommand(
        "alerts", "See alerts, acknowledge, resolve and silence them, and see who was told."
    ),
    "monitors": LazyCommand(
        "monitors", "Show the monitors on this database and what each of them probes."
    ),
    "prune": LazyCommand(
        "prune", "Delete old checks, resolved alert events, and what was told and done about them."
    ),
    "db": LazyCommand("db", "Apply, inspect and write migrations."),
    "doctor": LazyCommand("doctor", "Find what is wrong with this installation and what mends it."),
}


class _Root(DatabaseGroup):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 -- click's signature
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"pulsebase.cli.{entry.module}")
        return cast("click.Command", getattr(module, entry.module))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(COMMANDS)}"
            message = f"there is no command {name!r}; {advice}"
            raise click.UsageError(message, ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 -- click calls it so
    if value:
        from pulsebase import __version__

        click.echo(f"pulsebase {__version__}")
        ctx.exit()


@click.group(
    cls=_Root,
    epilog="Every command has its own help: pulsebase status --help",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)
def pulsebase() -> None:
    """Health checks and alert history in the Postgres you already have."""


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code. Never raises, and prints at most one line of error."""
    _make_streams_tolerant()
    redactor = Redactor.for_process(
        urls=[text for text in arguments if "://" in text], keys=_keys_in(arguments)
    )
    try:
        code = _exit_code(arguments, redactor)
        sys.stdout.flush()
    except BrokenPipeError:
        code = PIPE_CLOSED
    except OSError as error:
        _report(_told_of_system(error), redactor)
        code = FAILED
    _discard_unwritten()
    return code


def _code_of(error: click.ClickException) -> int:
    # Where the answer is a health, 2 says that a service is down; a mistyped name must not.
    context = error.ctx if isinstance(error, click.UsageError) else None
    asked_for_health = context is not None and isinstance(context.command, HealthCommand)
    return UNKNOWN if asked_for_health else error.exit_code


def _exit_code(arguments: Sequence[str], redactor: Redactor) -> int:  # noqa: PLR0911 -- one for each way to end
    """The exit code of the command, after telling of what went wrong."""
    try:
        return _result(arguments)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError:
        raise
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        _report(_told(error), redactor)
        return _code_of(error)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except PulsebaseError as error:
        _report(str(error), redactor)
        return FAILED
    except Exception as error:  # noqa: BLE001 -- nobody above would turn it into one line
        _report(unexpected(error), redactor)
        return FAILED


def _result(arguments: Sequence[str]) -> int:
    if _COMPLETION in os.environ:
        pulsebase.main(args=list(arguments), prog_name="pulsebase")
    # Not `main`, which answers Ctrl-C and a closed pipe with lines and exit codes of its own.
    with pulsebase.make_context("pulsebase", list(arguments)) as context:
        result = pulsebase.invoke(context)
    return result if isinstance(result, int) else 0


def _told(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError):
        return error.format_message()
    command = error.ctx.command_path if error.ctx else "pulsebase"
    return f"{error.format_message().rstrip('.')}; see: {command} --help"


def _told_of_system(error: OSError) -> str:
    reason = error.strerror or type(error).__name__
    return f"{error.filename}: {reason}" if error.filename else f"cannot read or write: {reason}"


def _report(text: str, redactor: Redactor) -> None:
    with suppress(OSError):  # nobody is left to be told
        sys.stdout.flush()  # what came before the error stands before it on a terminal
    with suppress(OSError):
        print_error(redactor.text(text))
        sys.stderr.flush()


def _keys_in(arguments: Sequence[str]) -> list[str]:
    after = [text for option, text in pairwise(arguments) if option == "--key"]
    return [*after, *(text.removeprefix("--key=") for text in arguments if "--key=" in text)]


def _make_streams_tolerant() -> None:
    """Let no character and no closed stream stop a command: what cannot be written is escaped."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started with the stream closed
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 -- for the process's life
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard_unwritten() -> None:
    """Keep the interpreter from complaining at its end about a pipe that is closed."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
