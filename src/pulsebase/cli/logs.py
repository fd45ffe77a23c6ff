"""Logs of the command line: one renderer for ours, httpx's and psycopg's records.

The library logs through the standard `logging` names and configures nothing; here, and only here,
the records get their form: JSON lines where stderr is no terminal, readable lines where it is one.
Every line carries the correlation id of its command (or of the monitor's cycle), and the last
thing that happens to a line is that keys and passwords are taken out. structlog draws the lines;
it is imported when there is a first one, which most commands never have.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from pulsebase.correlation import bind_correlation_id, current_correlation_id
from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.typing import EventDict, Processor

    from pulsebase.cli.redaction import Redactor

__all__ = ["command_logged", "configure_logs"]

# These tell of every request at INFO, with its URL; psycopg's pool warns of what we raise anyway.
_THIRD_PARTIES: Final = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "psycopg": logging.ERROR,
    "asyncio": logging.ERROR,
}

# A repeated call is told at INFO, three lines for each that fails: through an outage that would be
# thousands a day, and whoever called says what came of it.
_REPEATED_CALLS: Final = "pulsebase.transports"

_log = logging.getLogger("pulsebase.cli")


def configure_logs(
    level: int, redactor: Redactor, *, verbose: bool = False, json_lines: bool | None = None
) -> None:
    """Send every record of `level` and above to stderr; tracebacks only when `verbose`.

    `json_lines` is decided by stderr unless it is given. A second call replaces the first.
    """
    as_json = not sys.stderr.isatty() if json_lines is None else json_lines
    handler = _Handler()
    handler.setFormatter(_LazyFormatter(redactor, as_json=as_json, verbose=verbose))
    root = logging.getLogger()
    for former in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("pulsebase").setLevel(level)
    logging.getLogger(_REPEATED_CALLS).setLevel(level if verbose else max(level, logging.WARNING))
    for name, quietest in _THIRD_PARTIES.items():
        logging.getLogger(name).setLevel(min(quietest, logging.WARNING) if verbose else quietest)
    logging.captureWarnings(capture=True)


@contextmanager
def command_logged(
    command: str, *, level: int, verbose: bool, url: str | None, key: str | None
) -> Iterator[None]:
    """Configure the logs for one command and tell at DEBUG when it began and ended.

    `url` and `key` are what the command line gave: no line may show what is secret in them.
    """
    from pulsebase.cli.redaction import Redactor

    redactor = Redactor.for_process(urls=[url], keys=[key])
    configure_logs(logging.DEBUG if verbose else level, redactor, verbose=verbose)
    bind_correlation_id()
    began = time.monotonic()
    _log.debug("%s begins", command)
    try:
        yield
    except Exception as error:
        # The user gets one line; where that cannot say enough, this has the traceback.
        foreseen = isinstance(
            error, (PulsebaseError, OSError, click.ClickException, click.exceptions.Exit)
        )
        _log.debug("%s: %s", command, type(error).__name__, exc_info=not foreseen)
        raise
    finally:
        _log.debug("%s ends after %d ms", command, round((time.monotonic() - began) * 1000))


class _Handler(logging.StreamHandler[Any]):
    """Writes to the stderr of the moment; a closed pipe there is nobody's error."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The stderr of the moment: a progress bar puts itself there and stays below the lines."""
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's name
        """Lose the line rather than print a traceback about logging."""


class _LazyFormatter(logging.Formatter):
    """Hands every record to structlog, which is imported for the first one."""

    def __init__(self, redactor: Redactor, *, as_json: bool, verbose: bool) -> None:
        super().__init__()
        self._redactor = redactor
        self._as_json = as_json
        self._verbose = verbose
        self._formatter: logging.Formatter | None = None

    def format(self, record: logging.LogRecord) -> str:
        """One line, or with a traceback several."""
        if self._formatter is None:
            self._formatter = self._made()
        return self._formatter.format(record)

    def _made(self) -> logging.Formatter:
        import structlog

        from pulsebase.cli.output import use_color

        renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=True)
        if not self._as_json:
            renderer = structlog.dev.ConsoleRenderer(colors=use_color())
        shared: list[Processor] = [
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_correlation_id,
            structlog.processors.format_exc_info if self._verbose else _without_traceback,
            self._redact,
        ]
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )

    def _redact(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        """The last line of defence: whatever is in the record, no key or password leaves."""
        from pulsebase.cli.text import clean_lines

        shown = {key: value for key, value in event.items() if not key.startswith("_")}
        hidden: dict[str, Any] = self._redactor.value(shown)
        kept = {key: value for key, value in event.items() if key.startswith("_")}
        if not self._as_json:
            hidden = {
                key: clean_lines(value) if isinstance(value, str) else value
                for key, value in hidden.items()
            }
        return {**hidden, **kept}


def _add_correlation_id(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event["correlation_id"] = current_correlation_id() or "none"
    return event


def _without_traceback(_logger: Any, _method: str, event: EventDict) -> EventDict:
    failure = event.pop("exc_info", None)
    if isinstance(failure, tuple) and failure[0] is not None:
        event["error"] = failure[0].__name__
    event.pop("stack_info", None)
    return event
