"""Django's own migrations; the tables of pulsebase are created by `pulsebase db migrate`."""

from __future__ import annotations
