"""Parts that a machine may lack: a test without them is skipped, but on CI it fails."""

from __future__ import annotations

import os

import pytest

__all__ = ["require"]


def require(reason: str, condition: object) -> None:
    """Skip the running test with the reason unless the condition holds; with CI=true, fail it."""
    if condition:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"required on CI: {reason}", pytrace=False)
    pytest.skip(reason)
