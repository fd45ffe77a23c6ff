"""Looking at services: one file per kind of probe.

To add a kind, add its file: a frozen dataclass named after it (`tcp.py`, `TcpProbe`) with a method
`probe`. It is then known to the configuration file, to the contract tests and to the reference.
What kinds are built from is in `support`.
"""

from __future__ import annotations

from pulsebase.probes.support.outcome import (
    Look,
    NothingYetError,
    Outcome,
    Probe,
    Status,
    UnknownHealthError,
)
from pulsebase.probes.support.registry import load_probe_kind, probe_kinds
from pulsebase.probes.support.tools import ProbeTools, Tool

__all__ = [
    "Look",
    "NothingYetError",
    "Outcome",
    "Probe",
    "ProbeTools",
    "Status",
    "Tool",
    "UnknownHealthError",
    "load_probe_kind",
    "probe_kinds",
]
