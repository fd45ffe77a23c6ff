"""The file that `pulsebase run` and `pulsebase check` read.

values        what it says, frozen
reader        from file to values, or every problem at once
toml_source   the text, and on which line each key stands
substitution  `${NAME}` and `${file:…}`
validation    tables to dataclasses
complaints    what is wrong, in people's words
"""

from __future__ import annotations

from pulsebase.monitor.configuration.reader import load_configuration
from pulsebase.monitor.configuration.values import (
    Configuration,
    DatabaseKeys,
    MonitorKeys,
    Service,
)

__all__ = ["Configuration", "DatabaseKeys", "MonitorKeys", "Service", "load_configuration"]
