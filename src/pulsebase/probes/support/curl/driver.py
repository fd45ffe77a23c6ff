"""HTTP transfers for probes, driven by asyncio: thousands a second.

One `CurlDriver` serves all probes of a process. What a request and a response are is in
`curl_request`, how libcurl is driven in `curl_transfers`. A driver that has much to do gets a
process to help it (`curl_helper`); one that has little does it all on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from threading import Thread
from typing import TYPE_CHECKING, Final, TypeAlias

from pulsebase.probes.support.curl.helper import CurlHelper
from pulsebase.probes.support.curl.request import LARGEST_BODY, Failure, Request, Response
from pulsebase.probes.support.curl.transfers import Transfers
from pulsebase.probes.support.outcome import UnknownHealthError

if TYPE_CHECKING:
    import pycurl

    Answered: TypeAlias = asyncio.Future[Response]

__all__ = ["LARGEST_BODY", "CurlDriver", "Failure", "Request", "Response"]

log = logging.getLogger("pulsebase.probes")

_LONGEST_CLOSE_SECONDS: Final = 0.2
# From so many requests a second on, a process to help is worth its memory; one that was lost is
# not missed at once, since something may be wrong with it.
_MANY_A_SECOND: Final = 1_000
_PAUSE_AFTER_LOSS_SECONDS: Final = 10.0


class CurlDriver:
    """Performs requests on the running event loop until it is closed.

    The loop must be a selector loop, as it is everywhere but on Windows.
    """

    def __init__(
        self,
        *,
        many_a_second: int = _MANY_A_SECOND,
        pause_after_loss_seconds: float = _PAUSE_AFTER_LOSS_SECONDS,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._many_a_second = many_a_second
        self._pause_after_loss_seconds = pause_after_loss_seconds
        self._counted = 0
        self._counted_since = self._loop.time()
        self._helper: CurlHelper | None = None
        self._no_helper_before = 0.0
        self._transfers: Transfers[Answered] = Transfers()
        self._under_way: dict[Answered, pycurl.Curl] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._about_to_advance = False
        self._loop.add_reader(self._transfers.fileno(), self._advance)

    @property
    def helper_process_id(self) -> int | None:
        """The id of the process that helps, while there is one at work."""
        helper = self._helper
        return helper.process_id if helper and helper.is_ready and not helper.has_ended else None

    async def fetch(self, request: Request, *, timeout_seconds: float) -> Response:
        """Perform one request; whatever the server does becomes a `Response`.

        Raises UnknownHealthError where this machine is to blame.
        """
        if (helper := self._willing_helper()) is not None:
            return await helper.fetch(request, timeout_seconds=timeout_seconds)
        answered: Answered = self._loop.create_future()
        self._under_way[answered] = self._transfers.start(request, timeout_seconds, answered)
        self._advance_in_time()
        try:
            return await answered
        finally:
            if transfer := self._under_way.pop(answered, None):
                self._transfers.cancel(transfer)

    async def aclose(self) -> None:
        """Cancel what is under way and release the handles."""
        if self._helper is not None:
            self._helper.close()
        self._loop.remove_reader(self._transfers.fileno())
        if self._timer is not None:
            self._timer.cancel()
        while self._under_way:
            answered, _ = self._under_way.popitem()
            answered.cancel()
        # libcurl waits for its resolver threads, and those for name servers that may be away for
        # ten seconds: that wait is left behind, where it keeps neither the loop nor the process.
        closing = Thread(target=self._transfers.close, daemon=True)
        closing.start()
        closing.join(timeout=_LONGEST_CLOSE_SECONDS)

    def _willing_helper(self) -> CurlHelper | None:
        """The process that helps, if there is need of one and it is there."""
        if self._helper is not None and not self._helper.has_ended:
            return self._helper if self._helper.is_ready else None
        self._counted += 1
        if self._counted >= self._many_a_second:
            now = self._loop.time()
            is_busy = now - self._counted_since < 1.0
            self._counted, self._counted_since = 0, now
            if is_busy and now >= self._no_helper_before:
                self._no_helper_before = now + self._pause_after_loss_seconds
                self._call_for_help()
        return None

    def _call_for_help(self) -> None:
        try:
            self._helper = CurlHelper(self._loop)
        except OSError as error:
            log.warning("no process to help with transfers (%s); going on without", error)

    def _advance(self) -> None:
        for answered, answer in self._transfers.advance():
            self._under_way.pop(answered, None)
            if answered.done():  # it was cancelled meanwhile
                continue
            if isinstance(answer, UnknownHealthError):
                answered.set_exception(answer)
            else:
                answered.set_result(answer)
        self._advance_in_time()

    def _advance_in_time(self) -> None:
        """See to it that libcurl is asked again when it said so, without a timer for each time."""
        if self._about_to_advance or (wait := self._transfers.wait_seconds()) is None:
            return
        due_at = self._loop.time() + wait
        if not wait:
            self._about_to_advance = True
            self._loop.call_soon(self._advance_soon)
        elif self._timer is None or due_at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(due_at, self._advance_late)

    def _advance_soon(self) -> None:
        self._about_to_advance = False
        if not self._transfers.closed:
            self._advance()

    def _advance_late(self) -> None:
        self._timer = None
        self._advance()
