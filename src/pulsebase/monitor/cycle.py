"""The correlation id: every turn of a service and every batch has its own on all its log lines."""

from __future__ import annotations

from secrets import token_hex


def new_cycle_id() -> str:
    """A short random id."""
    return token_hex(4)
