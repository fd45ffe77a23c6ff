"""The command line: `pulsebase`, one module per group of commands."""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDED = frozenset({"click", "rich", "structlog"})


def main() -> None:
    """Run the command line and end the process with its exit code."""
    try:
        from pulsebase.cli.app import run
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as missing:
        if missing.name not in _NEEDED:
            raise
        sys.stderr.write(
            'error: the command line needs an extra; run: pip install "pulsebase[cli]"\n'
        )
        sys.exit(1)
    sys.exit(run(sys.argv[1:]))
