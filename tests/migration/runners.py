"""Migrators in processes of their own, which start their work at the same moment.

A runner imports everything first and then waits for a line with its task: that way eight of them
meet at the lock, and not one after another at the end of Python's start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Runners"]


class Runners:
    """Some runners, which take one task after another together."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._resources = ExitStack()
        self.processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            for _ in range(self._count):
                process = resources.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-m", "tests.migration.runners"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
                resources.callback(process.kill)
                self.processes.append(process)
            for process in self.processes:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def begin(self, folder: Path, url: str, key: str | None = None) -> None:
        """Tell everybody to apply the folder's files, and do not wait."""
        task = json.dumps({"folder": str(folder), "url": url, "key": key})
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(f"{task}\n")
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.flush()

    def answers(self) -> list[dict[str, Any]]:
        """What each of them reports."""
        lines = []
        for process in self.processes:
            assert process.stdout is not None
            lines.append(process.stdout.readline())
        return [json.loads(line) for line in lines]

    def migrate(self, folder: Path, url: str, key: str | None = None) -> list[dict[str, Any]]:
        """Let everybody apply the folder's files at once; what each of them reports."""
        self.begin(folder, url, key)
        return self.answers()


def _serve() -> None:
    from pulsebase.connection import connect
    from pulsebase.errors import PulsebaseError
    from pulsebase.migrations import Migrator, read_folder

    import_module("pulsebase.migrations.https")  # it is imported when it is needed; that takes time
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        task = json.loads(line)
        try:
            with connect(task["url"], key=task["key"]) as connection:
                applied = Migrator(connection, read_folder(task["folder"])).apply()
            answer: dict[str, Any] = {"outcomes": {file.id: file.outcome for file in applied.files}}
        except PulsebaseError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(f"{json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
