"""Tells somebody outside that this monitor works; when it falls silent, they know.

A monitor cannot report its own end. So a URL is fetched again and again, and only while everything
is well here; whoever is behind it (a service for scheduled jobs, another monitor's `heartbeat`)
speaks up when the calls stay away.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import urlsplit

from pulsebase.monitor.background import in_background
from pulsebase.probes import Look, ProbeTools, UnknownHealthError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from pulsebase.monitor.configuration import MonitorKeys

__all__ = ["DeadMan"]

log = logging.getLogger("pulsebase.monitor")

_TIMEOUT_SECONDS: Final = 10.0
# How often to see whether a URL was configured meanwhile.
_IDLE_SECONDS: Final = 5.0


class DeadMan:
    """Fetches the URL at the end of every interval at which `trouble` has nothing to say.

    The URL is a secret: who knows it can hide that this monitor is gone. It is never logged.
    """

    def __init__(
        self, keys: MonitorKeys, tools: ProbeTools, trouble: Callable[[], str | None]
    ) -> None:
        self._keys = keys
        self._tools = tools
        self._trouble = trouble
        self._resources = AsyncExitStack()
        self._told: str | None = None
        self.calls = 0

    def update(self, keys: MonitorKeys) -> None:
        """Another URL or interval, from the next call on."""
        self._keys = keys

    async def _run(self) -> None:
        while True:
            keys = self._keys
            is_set = keys.dead_man_url is not None
            await asyncio.sleep(keys.dead_man_interval.total_seconds() if is_set else _IDLE_SECONDS)
            if url := self._keys.dead_man_url:
                await self._turn(url)

    async def _turn(self, url: str) -> None:
        if reason := self._trouble():
            self._tell(f"no call to the dead man's switch: {reason}")
            return
        if refusal := await self._refusal(url):
            host = urlsplit(url).hostname
            self._tell(f"the dead man's switch at {host} did not take the call: {refusal}")
            return
        self.calls += 1
        if self._told is not None:
            log.warning("the dead man's switch is called again")
            self._told = None

    async def _refusal(self, url: str) -> str | None:
        """Fetch the URL; why that did not succeed, if it did not, without a word of the URL."""
        from pulsebase.probes.http import HttpProbe

        look = Look(service_name="dead man", timeout_seconds=_TIMEOUT_SECONDS, tools=self._tools)
        try:
            outcome = await HttpProbe(url=url).probe(look)
        except UnknownHealthError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 -- a mistake of ours must not end the calls
            # No traceback: it could show the URL.
            return f"the call broke with {type(error).__name__}"
        return None if outcome.status == "healthy" else _reason(outcome.details)

    def _tell(self, sentence: str) -> None:
        """Say it once, until it is another trouble or all is well again."""
        if sentence != self._told:
            log.warning("%s", sentence)
            self._told = sentence

    async def __aenter__(self) -> Self:
        await self._resources.enter_async_context(in_background(self._run(), name="dead man"))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()


def _reason(details: Mapping[str, Any]) -> str:
    # The kind alone: a message could repeat what was asked.
    match details:
        case {"error": {"kind": kind}}:
            return str(kind)
        case {"http_status": status}:
            return f"status {status}"
    return "no answer"
