"""A shop whose orders, and the checks that describe them, are stored together or not at all."""

from __future__ import annotations
