"""The file that `pulsebase run` and `pulsebase check` read.

values        what it says, frozen
reader        from file to values, or every problem at once
services      groups and services, and what these have from those
pace          intervals, timeouts and labels: the nearest counts
toml_source   the text, and on which line each key stands
sources       the files that it was read from, to see later whether they have changed
substitution  `${NAME}` and `${file:…}`
validation    tables to dataclasses
origin        where each entry of a joined table stands
interning     equal values of many services as one object
complaints    what is wrong, in people's words
problems      the same as values, and the error that has them
schema        the JSON Schema of the file, for editors
sizes         `256MiB`
"""

from __future__ import annotations

from pulsebase.monitor.configuration.problems import Problem, UnusableFileError
from pulsebase.monitor.configuration.reader import load_configuration
from pulsebase.monitor.configuration.values import (
    Configuration,
    DatabaseKeys,
    MonitorKeys,
    Service,
)

__all__ = [
    "Configuration",
    "DatabaseKeys",
    "MonitorKeys",
    "Problem",
    "Service",
    "UnusableFileError",
    "load_configuration",
]
