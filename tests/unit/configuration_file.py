"""Writes a configuration file into the current folder and reads it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pulsebase.errors import ConfigurationError
from pulsebase.monitor.configuration import load_configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pulsebase.monitor.configuration import Configuration

__all__ = ["CANARY", "MINIMAL", "complaints", "load"]

CANARY = "canary-4f9c2d71b6"
MINIMAL = '[[services]]\nname = "a"\nurl = "http://a.example/"\n'


def load(text: str | bytes, environ: Mapping[str, str] | None = None) -> Configuration:
    """What the file says."""
    path = Path("pulsebase.toml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_configuration(path, environ=environ or {})


def complaints(text: str | bytes, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with it, line by line."""
    with pytest.raises(ConfigurationError) as caught:
        load(text, environ)
    return str(caught.value).split("\n")
