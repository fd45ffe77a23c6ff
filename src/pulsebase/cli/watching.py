"""What `run`, `check` and `demo` share: the configuration, the door and the signals."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import click

from pulsebase.connection import AsyncConnection
from pulsebase.errors import (
    LockTimeoutError,
    NotMigratedError,
    StatementTimeoutError,
    UnavailableError,
)
from pulsebase.models.health_check import HealthCheckModel
from pulsebase.transports import open_async_transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pulsebase.cli.options import Options
    from pulsebase.monitor.configuration import Configuration
    from pulsebase.settings import Target

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("pulsebase.toml"),
    show_default=True,
    help="The configuration file.",
)

_NOBODY = UUID(int=0)
_PATIENCE_SECONDS = 1.0
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def read_configuration(path: Path) -> Configuration:
    """The configuration file, with `${…}` from this process's environment."""
    from pulsebase.monitor.configuration import load_configuration

    return load_configuration(path, environ=os.environ)


def open_door(target: Target) -> AsyncConnection:
    """The connection to a target; nothing is opened before the first call."""
    return AsyncConnection(open_async_transport(target))


async def make_ready(connection: AsyncConnection, target: Target) -> str | None:
    """Make sure that the tables are there before anything is watched.

    The embedded database is ours alone and is migrated without asking; any other one is not
    touched: NotMigratedError says what to run. A database that is unreachable or hangs is no reason
    not to watch: its message comes back, and the monitor keeps what it cannot record.
    """
    is_embedded = target.scheme == "embedded"  # its first call may have to make and start it
    patience_seconds = None if is_embedded else target.connect_timeout_seconds + _PATIENCE_SECONDS
    try:
        async with asyncio.timeout(patience_seconds):
            await HealthCheckModel.find_by_id(connection, _NOBODY)
    except TimeoutError:
        return f"{target.address} did not answer within {patience_seconds:g} s"
    except (UnavailableError, StatementTimeoutError, LockTimeoutError) as error:
        return str(error)
    except NotMigratedError:
        if target.scheme != "embedded":
            raise
        await asyncio.to_thread(migrate, target)
    return None


def migrate(target: Target) -> None:
    """Apply the packaged migrations."""
    from pulsebase.connection import Connection
    from pulsebase.migrations import Migrator, packaged
    from pulsebase.transports import open_transport

    with Connection(open_transport(target)) as connection:
        Migrator(connection, packaged()).apply()


def target_of(configuration: Configuration, options: Options) -> Target:
    """The database: the command line, then the file, then the environment."""
    database = configuration.database
    if options.url or not database.url:
        return options.target()
    return replace(options, url=database.url, key=options.key or database.key).target()


@contextmanager
def stop_on_signals(
    stop: Callable[[], None], *, at_hangup: Callable[[], None] | None = None
) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C or SIGTERM; a second one ends the process at once.

    SIGHUP stops, too, unless something else is to be done `at_hangup`, whenever it comes.
    """
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        stop()

    for number in _ENDING_SIGNALS:
        if number == signal.SIGHUP and at_hangup:
            loop.add_signal_handler(number, at_hangup)
        else:
            loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number in _ENDING_SIGNALS:
            loop.remove_signal_handler(number)
