"""When a request is sent again, and how long to wait before.

Only what the server has surely or harmlessly not done is repeated: the request is repeatable (it
carries its own ids, or only reads) and the error says that a later attempt may succeed. Waits grow
with jitter; a server's `Retry-After` wins over ours.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import tenacity

from pulsebase.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger("pulsebase.transports")

_ATTEMPTS = 3  # after the first
_LONGEST_WAIT_SECONDS = 10.0
_own_wait = tenacity.wait_exponential(multiplier=0.1) + tenacity.wait_random(0, 0.1)


def repeat(send: Callable[[], Any], first: DatabaseError) -> Any:
    """Send again until it succeeds or the attempts are used up; raises the last error."""
    for attempt in tenacity.Retrying(**_POLICY):
        with attempt:
            _replay(first, attempt.retry_state)
            return send()
    raise first


async def repeat_async(send: Callable[[], Awaitable[Any]], first: DatabaseError) -> Any:
    """The same for asyncio."""
    async for attempt in tenacity.AsyncRetrying(**_POLICY):
        with attempt:
            _replay(first, attempt.retry_state)
            return await send()
    raise first


def _replay(first: DatabaseError, state: tenacity.RetryCallState) -> None:
    """The first attempt has been made already; its error takes its place, so it is waited for."""
    if state.attempt_number == 1:
        raise first


def _is_retryable(error: BaseException) -> bool:
    asked = getattr(error, "retry_after_seconds", None) or 0.0
    return isinstance(error, DatabaseError) and error.retryable and asked <= _LONGEST_WAIT_SECONDS


def _wait_seconds(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after_seconds", None)
    # PostgREST says `Retry-After: 0` when its database is away; at once would be too soon.
    return float(asked) if asked else _own_wait(state)


def _tell(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("attempt %d failed, trying again: %s", state.attempt_number, error)


_POLICY: dict[str, Any] = {
    "stop": tenacity.stop_after_attempt(_ATTEMPTS + 1),
    "wait": _wait_seconds,
    "retry": tenacity.retry_if_exception(_is_retryable),
    "before_sleep": _tell,
    "reraise": True,
}
