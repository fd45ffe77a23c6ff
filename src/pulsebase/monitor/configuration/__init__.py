"""The file that `pulsebase run` and `pulsebase check` read.

values        what it says, frozen
reader        from file to values, or every problem at once
services      groups and services, and what these have from those
pace          intervals, timeouts and labels: the nearest counts
dependencies  which services a service needs
alerts        when alerts open and close
channels      whom to tell, by which rules and how
routes        which alerts go to which channels
maintenance   when nobody is told
matching      for which services a policy, a route or a window is
written       what people write of checks, messages and clocks
lists         lists of tables, and names within them
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
    Channel,
    Configuration,
    DatabaseKeys,
    MonitorKeys,
    Service,
)

__all__ = [
    "Channel",
    "Configuration",
    "DatabaseKeys",
    "MonitorKeys",
    "Problem",
    "Service",
    "UnusableFileError",
    "load_configuration",
]
