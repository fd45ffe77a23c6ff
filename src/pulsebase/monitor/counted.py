"""Numbers of things, as people write them."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, thing: str) -> str:
    """`1 check`, and `1,000 checks`; for things whose plural has an s."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
