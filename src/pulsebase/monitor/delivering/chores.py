"""What alerting needs once an hour: recurring silences planned ahead, and old messages gone."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pulsebase.errors import PulsebaseError
from pulsebase.models.alert_message import AlertMessageModel
from pulsebase.models.alert_silence import AlertSilenceModel
from pulsebase.monitor.clocks import steady_seconds
from pulsebase.monitor.rarely import Rarely, often

if TYPE_CHECKING:
    from pulsebase.connection import AsyncConnection

__all__ = ["Chores", "plan_silences"]

log = logging.getLogger("pulsebase.monitor")

_PAUSE_SECONDS: Final = 3600.0
_PAUSE_AFTER_FAILURE_SECONDS: Final = 300.0
_KEPT: Final = timedelta(days=30)


class Chores:
    """Does them at once, and then whenever an hour has passed."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._due_at_seconds = steady_seconds()
        self._rarely = Rarely()

    @property
    def are_due(self) -> bool:
        """Whether it is time."""
        return steady_seconds() >= self._due_at_seconds

    async def do(self) -> None:
        """Plan silences ahead and delete old messages; what fails is told, and done later."""
        self._due_at_seconds = steady_seconds() + _PAUSE_AFTER_FAILURE_SECONDS
        try:
            await plan_silences(self._connection)
            deleted = await AlertMessageModel.delete_older_than(self._connection, _KEPT)
        except PulsebaseError as error:
            if times := self._rarely.times(type(error).__name__):
                log.warning(
                    "silences are not planned ahead, and old messages stay%s: %s",
                    often(times),
                    error,
                )
            return
        self._due_at_seconds = steady_seconds() + _PAUSE_SECONDS
        log.debug("deleted %d old rows of messages and what belongs to them", deleted)


async def plan_silences(connection: AsyncConnection) -> None:
    """Write down when recurring silences hold next; what cannot be planned is told."""
    planned = await AlertSilenceModel.plan_all(connection)
    for problem in planned.problems:
        log.warning("%s", problem)
