"""Telling people and programs: one file per kind of channel.

`https://…` and `http://…` are our own webhook, every other scheme is Apprise's. What kinds are
built from is in `support`.
"""

from __future__ import annotations

from pulsebase.notifiers.support.message import Message, Notice
from pulsebase.notifiers.support.outcome import (
    DeliveryFailedError,
    DeliveryRefusedError,
    Notifier,
)
from pulsebase.notifiers.support.registry import load_notifier_kind, notifier_kinds

__all__ = [
    "DeliveryFailedError",
    "DeliveryRefusedError",
    "Message",
    "Notice",
    "Notifier",
    "load_notifier_kind",
    "notifier_kinds",
]
