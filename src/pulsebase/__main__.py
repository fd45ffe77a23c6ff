"""`python -m pulsebase` is the same as `pulsebase`."""

from __future__ import annotations

from pulsebase.cli import main

if __name__ == "__main__":
    main()
