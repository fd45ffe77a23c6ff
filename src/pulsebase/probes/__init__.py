"""Looking at services: one file per kind of probe.

To add a kind, add its file: a frozen dataclass named after it (`tcp.py`, `TcpProbe`) with a method
`probe`. It is then known to the configuration file, to the contract tests and to the reference.
"""

from __future__ import annotations

from pulsebase.probes.outcome import Outcome, Probe, Status
from pulsebase.probes.registry import load_probe_kind, probe_kinds
from pulsebase.probes.tools import ProbeTools, Tool

__all__ = ["Outcome", "Probe", "ProbeTools", "Status", "Tool", "load_probe_kind", "probe_kinds"]
