"""The kind `command`: run a program that judges by its exit code, as monitoring plugins do.

A plugin that says "unknown", breaks or is not there says nothing about the service: that is this
machine's trouble, and nothing is recorded. One that does not end in time is the service's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed, fault
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.outcome import Outcome, Status, UnknownHealthError
from pulsebase.probes.support.perfdata import parse_perfdata, split_output
from pulsebase.probes.support.plugin_process import Finished, run_plugin
from pulsebase.probes.support.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.outcome import Look

__all__ = ["CommandProbe"]

_STATUSES: Final[Mapping[int, Status]] = {0: "healthy", 1: "degraded", 2: "down"}
_UNKNOWN: Final = 3
# What programs need to run at all. The rest of our environment holds the key of the database.
_INHERITED: Final = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TMPDIR",
    "TZ",
    "USER",
)
# NUL, and what is no text: the operating system takes neither.
_UNSENDABLE: Final = re.compile("[\x00\ud800-\udfff]")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class CommandProbe(LatencyLimits):
    """Run a program and take its exit code for the status: 0 healthy, 1 degraded, 2 down.

    `degraded_above` and `down_above` are compared with the time of the whole run.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    working_directory: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the program without its arguments, which may be secret."""
        return f"CommandProbe({self.command[0]})"

    @property
    def host(self) -> str | None:
        """Whom the program asks is its own affair."""
        return None

    async def probe(self, look: Look) -> Outcome:
        """Run it once; when the timeout is over, it ends with all that it has started."""
        checked_at = datetime.now(UTC)
        try:
            finished = await run_plugin(
                self.command,
                environment=self._environment(),
                working_directory=self.working_directory,
                timeout_seconds=look.timeout_seconds,
            )
        except OSError as error:
            fault(error)  # raises where this machine is out of something
            raise self._not_started(error) from error
        status, details = self._judge(finished)
        answered = "error" not in details
        return Outcome(
            status=status,
            latency_ms=round(finished.elapsed_seconds * 1000) if answered else None,
            checked_at=checked_at,
            details=details,
        )

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return {**inherited, **self.environment}

    def _judge(self, finished: Finished) -> tuple[Status, dict[str, Any]]:
        if finished.cut_short == "timeout":
            return "down", fault(TimeoutError()) | self._said(finished)
        if finished.cut_short == "output":
            message = f"{self.command[0]} writes more than 1 MiB; let it say less"
            raise UnknownHealthError(message)
        said = self._said(finished)
        status = _STATUSES.get(finished.exit_code)
        if status is None:
            raise self._undecided(finished.exit_code, said.get("output", ""))
        seen = {"exit_code": finished.exit_code} | said
        if status == "healthy":
            status, too_slow = self.judge_latency(finished.elapsed_seconds)
            return status, seen | too_slow
        got = f"{finished.exit_code}: {said.get('output', 'no output')}"
        return status, seen | failed("exit_code", "0", excerpt(got))

    def _said(self, finished: Finished) -> dict[str, Any]:
        """Its first line and its performance data; where it says nothing, its last complaint."""
        output, data = split_output(self._readable(finished.stdout))
        if not output:
            output = self._readable(finished.stderr).strip().rpartition("\n")[2].strip()
        said = {"output": excerpt(output), "perfdata": parse_perfdata(data)}
        return {key: value for key, value in said.items() if value}

    def _readable(self, written: bytes) -> str:
        # Before anything is cut out of it: half a secret would no longer be found.
        return redact(written.decode("utf-8", "replace"), self.environment.values())

    def _undecided(self, exit_code: int, output: str) -> UnknownHealthError:
        program = self.command[0]
        told = f": {output}" if output else ""
        if exit_code == _UNKNOWN:
            return UnknownHealthError(f"{program} cannot tell{told}")
        if exit_code < 0:
            ended = f"was ended by signal {-exit_code}"
        else:
            ended = f"ended with exit code {exit_code}, which stands for no status"
        return UnknownHealthError(f"{program} {ended}{told}; run it by hand to see why")

    def _not_started(self, error: OSError) -> UnknownHealthError:
        if error.filename is not None and error.filename == self.working_directory:
            reason = f"the folder {error.filename} cannot be entered ({error.strerror})"
            return UnknownHealthError(f"{reason}; mend working_directory")
        program = self.command[0]
        match error:
            case FileNotFoundError():
                problem = "was not found, or what its first line names was not"
                advice = "install it, or give its whole path"
            case PermissionError():
                problem = "may not be run by this user"
                advice = "let the user of the monitor read and execute it"
            case _:
                problem = f"cannot be started ({error.strerror})"
                advice = "run it by hand to see why"
        return UnknownHealthError(f"{program} {problem}; {advice}")

    def _problems(self) -> Iterator[InvalidValueError]:
        if not self.command or not self.command[0].strip():
            rule = 'a list that begins with a program, such as ["/usr/lib/…/check_disk", "-w", "5"]'
            yield InvalidValueError("command", "", rule)
        if any(map(_UNSENDABLE.search, self.command)):
            yield InvalidValueError("command", "…", "text without NUL")
        for name, value in self.environment.items():
            if not _VARIABLE.fullmatch(name):
                rule = "named by letters, digits and _, and by no digit first"
                yield InvalidValueError("environment", name, rule)
            elif _UNSENDABLE.search(value):
                yield InvalidValueError("environment", f"{name} = …", "text without NUL")
        folder = self.working_directory
        if folder is not None and (_UNSENDABLE.search(folder) or not Path(folder).is_absolute()):
            yield InvalidValueError("working_directory", folder, "a whole path, from / on")
        yield from self.latency_problems()
