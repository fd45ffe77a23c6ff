"""Tidying away in batches: each is a short transaction of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pulsebase.connection import Call
from pulsebase.models import fields
from pulsebase.transports.request import Request

if TYPE_CHECKING:
    from datetime import timedelta

    from pulsebase.connection import Steps

_BATCH_ROWS = 1000


def delete_in_batches(function: str, age: timedelta) -> Steps[int]:
    """Call a deleting function until it finds no more rows older than `age`; how many went."""
    cutoff = fields.ago("age", age)
    deleted = 0
    while True:
        request = Request(function, {"cutoff": cutoff, "max_rows": _BATCH_ROWS})
        batch: int = yield Call(request, fields.count)
        deleted += batch
        if batch < _BATCH_ROWS:
            return deleted
