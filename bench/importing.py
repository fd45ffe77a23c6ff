"""The time that `import pulsebase` takes of an application's start, against `import httpx`."""

from __future__ import annotations

import subprocess
import sys

from bench.harness import Comparison, in_turn

_ROUNDS = 15


def importing() -> list[Comparison]:
    """The package alone, and the names that an application uses."""
    return [
        _compared("import pulsebase", "import pulsebase"),
        _compared("… with its models", "from pulsebase import HealthCheckModel, connect"),
    ]


def _compared(name: str, statement: str) -> Comparison:
    ours, theirs = in_turn(
        _ROUNDS, lambda: _milliseconds(statement), lambda: _milliseconds("import httpx")
    )
    return Comparison(
        name=name,
        peer="import httpx",
        unit="ms",
        ours=ours,
        theirs=theirs,
        target=1.0,
        less_is_better=True,
    )


def _milliseconds(statement: str) -> float:
    program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(finished.stdout) * 1000
