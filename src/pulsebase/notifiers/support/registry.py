"""The kinds of channel by the scheme of their URL; imported when used, not before."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from pulsebase.errors import MissingExtraError

if TYPE_CHECKING:
    from pulsebase.notifiers.support.outcome import Notifier

__all__ = ["load_notifier_kind", "notifier_kinds"]

_WEBHOOK: Final = "webhook"
_APPRISE: Final = "apprise"


def notifier_kinds() -> tuple[str, ...]:
    """The names of all kinds, in order."""
    return (_APPRISE, _WEBHOOK)


def load_notifier_kind(url_scheme: str) -> type[Notifier]:
    """The dataclass for URLs of a scheme: the webhook for "http" and "https", else Apprise.

    Raises MissingExtraError when what the kind needs is not installed.
    """
    kind = _WEBHOOK if url_scheme.lower() in {"http", "https"} else _APPRISE
    try:
        module = import_module(f"pulsebase.notifiers.{kind}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pulsebase"):
            raise
        extra = _APPRISE if error.name == _APPRISE else "monitor"
        raise MissingExtraError(_purpose(kind, url_scheme), extra) from error
    return cast("type[Notifier]", getattr(module, f"{kind.title()}Notifier"))


def _purpose(kind: str, url_scheme: str) -> str:
    # All that stands before the first colon of something that is no URL may be a secret.
    shown = f"{url_scheme}://…" if url_scheme.isalnum() and len(url_scheme) <= 20 else "this URL"  # noqa: PLR2004 -- longer than any scheme
    return f"A channel at {shown} ({kind})"
