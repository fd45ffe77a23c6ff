"""The kinds of probe: by file name here, by entry point elsewhere; imported when used, not before.

A package of its own adds a kind by an entry point of the group `pulsebase.probes`, whose name is
the kind and whose object is its class. It cannot replace one of ours.
"""

from __future__ import annotations

import difflib
import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, entry_points, metadata
from typing import TYPE_CHECKING, Final, cast

import pulsebase.probes
from pulsebase.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from pulsebase.probes.support.outcome import Probe

__all__ = ["load_probe_kind", "probe_kinds"]

ENTRY_POINTS: Final = "pulsebase.probes"


def probe_kinds() -> tuple[str, ...]:
    """The names of all kinds, in order; nothing is imported to find them."""
    return tuple(sorted({*_packaged(), *_installed()}))


def load_probe_kind(kind: str) -> type[Probe]:
    """The dataclass of a kind.

    Raises ConfigurationError with the nearest name for an unknown kind, and MissingExtraError
    when what the kind needs is not installed.
    """
    if kind in _packaged():
        return _load(kind)
    if (found := _installed().get(kind)) is None:
        kinds = probe_kinds()
        near = difflib.get_close_matches(kind, kinds, n=1)
        advice = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(kinds)}"
        message = f'unknown kind "{kind}"; {advice}'
        raise ConfigurationError(message)
    try:
        return cast("type[Probe]", found.load())
    except Exception as error:
        package = found.dist.name if found.dist else "a package"
        reason = f"{type(error).__name__}: {error}"
        message = f'the kind "{kind}" of {package} cannot be loaded ({reason}); install it again'
        raise ConfigurationError(message) from error


def _load(kind: str) -> type[Probe]:
    try:
        module = import_module(f"pulsebase.probes.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pulsebase"):
            raise
        purpose = f'The probe kind "{kind}"'
        raise MissingExtraError(purpose, _extra_of(kind)) from error
    return cast("type[Probe]", getattr(module, f"{kind.title().replace('_', '')}Probe"))


@cache
def _packaged() -> frozenset[str]:
    return frozenset(
        module.name
        for module in pkgutil.iter_modules(pulsebase.probes.__path__)
        if not module.ispkg
    )


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _extra_of(kind: str) -> str:
    """A kind that needs a library of its own has an extra of its own name."""
    try:
        extras = metadata("pulsebase").get_all("Provides-Extra") or []
    except PackageNotFoundError:
        extras = []
    return kind if kind in extras else "monitor"
