"""The options that commands share, and the classes of commands that bring them along.

    Command           --json, --no-color, -v
    DatabaseCommand   those, and --url, --key, --connect-timeout
    MonitorCommand    those; logs from INFO on
    HealthCommand     those; a failure exits with 3, since the health could not be learned
    DatabaseGroup     a group whose commands are DatabaseCommands

The options are accepted before and after the command's name, the later one wins. A command reads
them with `current_options()`; nothing of what they hold is shown in a help text or an error.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

import click

from pulsebase.errors import InvalidValueError, PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.connection import Connection
    from pulsebase.settings import Target

__all__ = [
    "DURATION",
    "INSTANT",
    "Command",
    "DatabaseCommand",
    "DatabaseGroup",
    "Failure",
    "HealthCommand",
    "MonitorCommand",
    "Options",
    "current_options",
    "database_options",
    "output_options",
    "unexpected",
]

_META: Final = "pulsebase.options"
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_LONGEST_CONNECT_TIMEOUT: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Options:
    """The shared options of the command that runs."""

    url: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    connect_timeout: timedelta = _CONNECT_TIMEOUT
    json: bool = False
    verbose: bool = False
    no_color: bool = False

    def target(self) -> Target:
        """The database that the options or the environment name."""
        from pulsebase.settings import resolve

        timeout = self.connect_timeout.total_seconds()
        return resolve(self.url, self.key, connect_timeout_seconds=timeout)

    def connect(self) -> Connection:
        """A connection to that database, not yet opened; a context manager."""
        from pulsebase.connection import connect

        timeout = self.connect_timeout.total_seconds()
        return connect(self.url, key=self.key, connect_timeout_seconds=timeout)


class Failure(click.ClickException):
    """A command failed; its message is one line that says what to do next."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        # click reads it from the error at hand.
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it for the class


def unexpected(error: BaseException) -> str:
    """The line for an error that nobody foresaw: its name, since its words may hold anything."""
    return (
        f"{type(error).__name__}: this is a bug in pulsebase; run the command again with --verbose "
        "to see where, and report it"
    )


def current_options() -> Options:
    """The shared options of the command that runs."""
    given: dict[str, Any] = click.get_current_context().meta.get(_META, {})
    return Options(**given)


class _Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        from pulsebase.durations import parse_duration

        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


class _Instant(click.ParamType[datetime]):
    """A duration before now, or ISO 8601 with a time zone: no time zone is ever guessed."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        from pulsebase.durations import parse_duration

        try:
            return datetime.now(UTC) - parse_duration(str(value))
        except ValueError:
            pass
        except OverflowError:
            self.fail(f"{value!r} is before the year 1", param, ctx)
        return self._moment(str(value), param, ctx)

    def _moment(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(value)
            aware = moment.astimezone(UTC) if moment.utcoffset() is not None else None
        except (ValueError, OverflowError):
            forms = '"24h" (ago) or "2026-11-24T10:00:00Z"'
            self.fail(f"{value!r} is neither a duration nor a time: write {forms}", param, ctx)
        if aware is None:
            zoned = f"{moment.isoformat()}Z"
            self.fail(f"{value!r} has no time zone: write {zoned} or another offset", param, ctx)
        return aware


DURATION: Final = _Duration()
INSTANT: Final = _Instant()


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep the value for `current_options`; the innermost command that was given one wins."""
    if value is not None and value is not False and param.name:
        ctx.meta.setdefault(_META, {})[param.name] = value


def _remember_timeout(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and not timedelta(0) < value <= _LONGEST_CONNECT_TIMEOUT:
        message = "must be above zero and at most 10m"
        raise click.BadParameter(message, ctx=ctx, param=param)
    _remember(ctx, param, value)


def _remember_no_color(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    _remember(ctx, param, value)
    if value:
        os.environ["NO_COLOR"] = "1"  # rich, structlog and our children read it there


def output_options() -> list[click.Option]:
    """--json, --no-color and -v."""
    return [
        _option("--json", "json", is_flag=True, help="Print one JSON document."),
        _option(
            "--no-color", "no_color", is_flag=True, callback=_remember_no_color, help="No colours."
        ),
        _option("-v", "--verbose", "verbose", is_flag=True, help="Log what happens, to stderr."),
    ]


def database_options() -> list[click.Option]:
    """--url, --key and --connect-timeout."""
    return [
        _option(
            "--url",
            "url",
            metavar="URL",
            help="postgresql://…, https://… or embedded://[FOLDER]; else PULSEBASE_URL, "
            "DATABASE_URL or SUPABASE_URL decides.",
        ),
        _option(
            "--key",
            "key",
            metavar="KEY",
            help="The service key of an https:// address; better in SUPABASE_SECRET_KEY, "
            "where other users of the machine cannot read it.",
        ),
        _option(
            "--connect-timeout",
            "connect_timeout",
            metavar="DURATION",
            type=DURATION,
            callback=_remember_timeout,
            help="How long to wait for a connection (5s).",
        ),
    ]


def _option(*names: str, callback: Callable[..., Any] = _remember, **settings: Any) -> click.Option:
    return click.Option(names, expose_value=False, callback=callback, **settings)


class Command(click.Command):
    """A command with the output options; a help text with a paragraph for the shared ones."""

    failure_exit_code: ClassVar[int] = 1
    uses_database: ClassVar[bool] = False
    log_level: ClassVar[int] = logging.WARNING

    def __init__(self, name: str | None, **settings: Any) -> None:
        shared = [*(database_options() if self.uses_database else []), *output_options()]
        self.shared = frozenset(option.name for option in shared)
        settings["params"] = [*(settings.get("params") or []), *shared]
        super().__init__(name, **settings)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected error becomes one line and the command's exit code."""
        from pulsebase.cli.logs import command_logged

        try:
            options = current_options()
            with command_logged(
                ctx.command_path,
                level=self.log_level,
                verbose=options.verbose,
                url=options.url,
                key=options.key,
            ):
                return super().invoke(ctx)
        except InvalidValueError as error:
            raise click.UsageError(str(error), ctx) from error
        except PulsebaseError as error:
            raise Failure(str(error), exit_code=self.failure_exit_code) from error
        except (OSError, click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except Exception as error:
            raise Failure(unexpected(error), exit_code=self.failure_exit_code) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options first, then the shared ones."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record:
                (shared if option.name in self.shared else own).append(record)
        for title, records in (("Options", own), ("Common options", shared)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class DatabaseCommand(Command):
    """A command that talks to a database."""

    uses_database = True


class HealthCommand(DatabaseCommand):
    """A command whose exit code is a health: 3, unknown, when it cannot be learned."""

    failure_exit_code = 3


class MonitorCommand(DatabaseCommand):
    """A command that stays: what it logs at INFO is worth a line."""

    log_level = logging.INFO


class DatabaseGroup(click.Group):
    """A group of database commands; the shared options may stand before the command, too."""

    command_class = DatabaseCommand

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        shared = [*database_options(), *output_options()]
        for option in shared:
            option.hidden = True  # every command's own help explains them
        settings["params"] = [*(settings.get("params") or []), *shared]
        super().__init__(*arguments, **settings)
