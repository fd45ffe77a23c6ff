"""The kinds of probe, found by file name; a kind is imported when it is used, not before."""

from __future__ import annotations

import difflib
import pkgutil
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

import pulsebase.probes
from pulsebase.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from pulsebase.probes.outcome import Probe

__all__ = ["load_probe_kind", "probe_kinds"]

# Files of this folder that kinds are built from; every other file is a kind.
_NOT_KINDS: Final = frozenset({"cleaning", "curl", "outcome", "redaction", "registry", "tools"})


def probe_kinds() -> tuple[str, ...]:
    """The names of all kinds, in order; nothing is imported to find them."""
    found = {
        module.name
        for module in pkgutil.iter_modules(pulsebase.probes.__path__)
        if not module.ispkg
    }
    return tuple(sorted(found - _NOT_KINDS))


def load_probe_kind(kind: str) -> type[Probe]:
    """The dataclass of a kind.

    Raises ConfigurationError with the nearest name for an unknown kind, and MissingExtraError
    when what the kind needs is not installed.
    """
    kinds = probe_kinds()
    if kind not in kinds:
        near = difflib.get_close_matches(kind, kinds, n=1)
        advice = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(kinds)}"
        message = f'unknown kind "{kind}"; {advice}'
        raise ConfigurationError(message)
    try:
        module = import_module(f"pulsebase.probes.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pulsebase"):
            raise
        purpose = f'The probe kind "{kind}"'
        raise MissingExtraError(purpose, "monitor") from error
    return cast("type[Probe]", getattr(module, f"{kind.title().replace('_', '')}Probe"))
