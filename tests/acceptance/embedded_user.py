"""Processes that use the embedded server, and what is true of the server from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, cast

import psutil
import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = [
    "User",
    "import_path",
    "keep_a_row",
    "postmaster",
    "private_parent",
    "query",
    "server_processes",
    "wait_gone",
]

_GONE_SECONDS = 20

# Commands come in and answers go out, one JSON value on a line.
_PROGRAM = """
import json, os, sys
from pathlib import Path
import psycopg
from pulsebase.errors import PulsebaseError
from pulsebase.transports.embedded import EmbeddedServer

def say(value):
    print(json.dumps(value), flush=True)

server = EmbeddedServer(Path(sys.argv[1]))
connections = []
while True:
    try:
        command, *arguments = json.loads(sys.stdin.readline() or '["exit"]')
        if command == "start":
            say({"url": server.start()})
        elif command == "stop":
            server.stop()
            say({})
        elif command == "exit":
            break
        elif command == "fork":
            ours, theirs = os.pipe()
            if not (pid := os.fork()):
                os.close(theirs)
                server.stop()
                os.read(ours, 1)  # until the parent dies
                os._exit(0)
            say({"pid": pid})
        elif command == "query":
            with psycopg.connect(server.start()) as connection:
                say({"value": connection.execute(*arguments).fetchone()[0]})
        elif command == "begin":
            connections.append(psycopg.connect(server.start()))
            say({"value": connections[-1].execute("select pg_backend_pid()").fetchone()[0]})
            connections[-1].pgconn.send_query(arguments[0].encode())
    except KeyboardInterrupt:
        say({"interrupted": True})
    except PulsebaseError as error:
        say({"error": type(error).__name__, "message": str(error)})
"""


class User:
    """A process of its own, in a process group of its own, that uses the server in a folder."""

    def __init__(
        self,
        folder: Path,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            [python, "-c", _PROGRAM, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": import_path(), **(environment or {})},
            start_new_session=True,
            **(identity or {}),
        )

    def ask(self, *command: str) -> dict[str, Any]:
        """Send a command and wait for its answer."""
        self.send(*command)
        return self.answer()

    def send(self, *command: str) -> None:
        """Send a command."""
        pipe = cast("IO[str]", self._process.stdin)
        pipe.write(json.dumps(command) + "\n")
        pipe.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer."""
        line = cast("IO[str]", self._process.stdout).readline()
        assert line, "the process ended without an answer"
        return cast("dict[str, Any]", json.loads(line))

    def url(self) -> str:
        """Start the server; its URL."""
        return str(self.ask("start")["url"])

    def interrupt(self) -> None:
        """Press Ctrl-C: SIGINT for the whole process group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def kill(self) -> None:
        """End the process as a crash does."""
        self._process.kill()
        self._process.wait()

    def exit(self) -> int:
        """End the process without leaving the server in so many words; its exit code."""
        cast("IO[str]", self._process.stdin).close()
        return self._process.wait(_GONE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                cast("IO[str]", pipe).close()


def import_path() -> str:
    """What a child needs to import what we can."""
    source = Path(__file__).parents[2] / "src"
    return os.pathsep.join([str(source), *(place for place in sys.path if "-packages" in place)])


def query(url: str, statement: str) -> Any:
    """The first value that a statement gives."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return row[0]


def keep_a_row(url: str) -> None:
    """Write what `select n from kept` shall find later: 7."""
    with psycopg.connect(url) as connection:
        connection.execute("create table kept as select 7 as n")


def server_processes(parent: Path) -> list[psutil.Process]:
    """Every process of PostgreSQL, `initdb` included, that works below a folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(parent):
                found.append(process)
    return found


def postmaster(parent: Path) -> psutil.Process:
    """The server's first process."""
    processes = server_processes(parent)
    pids = {process.pid for process in processes}
    return next(process for process in processes if process.ppid() not in pids)


def wait_gone(parent: Path) -> None:
    """Wait until no server process works below a folder."""
    _, alive = psutil.wait_procs(server_processes(parent), timeout=_GONE_SECONDS)
    assert not alive, f"still alive: {alive}"


@contextmanager
def private_parent() -> Iterator[Path]:
    """A new folder to put embedded servers in. It checks that none runs there at the end.

    Every account can pass through it, because root's servers run as another one.
    """
    parent = Path(tempfile.mkdtemp(prefix="pulsebase-test-", dir="/tmp")).resolve()
    parent.chmod(0o755)
    try:
        yield parent
        assert not server_processes(parent), "a server was left behind"
    finally:
        left = server_processes(parent)
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=_GONE_SECONDS)
        shutil.rmtree(parent)
