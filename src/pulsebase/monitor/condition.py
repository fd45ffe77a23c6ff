"""Whether this monitor does its work: what the dead man's switch asks before each call."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from pulsebase.monitor.clocks import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pulsebase.monitor.connectivity import Connectivity
    from pulsebase.monitor.delivering.dispatcher import Dispatcher
    from pulsebase.monitor.looking.turns import Turns
    from pulsebase.monitor.reachability import Reachability
    from pulsebase.monitor.recording.recorder import Recorder
    from pulsebase.monitor.sighting import Sighting

__all__ = ["Condition"]

_LATEST_TURN_SECONDS: Final = 10.0
_OLDEST_CHECK_SECONDS: Final = 60.0
_LONGEST_SILENCE_SECONDS: Final = 60.0


class Condition:
    """Watches the parts of a monitor; `trouble` names the first thing that is not well."""

    def __init__(
        self,
        *,
        turns: Turns,
        connectivity: Connectivity,
        recorder: Recorder,
        reachability: Reachability,
        dispatcher: Dispatcher | None = None,
        clock: Callable[[], float] = steady_seconds,
    ) -> None:
        self._turns = turns
        self._connectivity = connectivity
        self._recorder = recorder
        self._reachability = reachability
        self._dispatcher = dispatcher
        self._clock = clock
        self._put = 0
        self._put_before: deque[tuple[float, int]] = deque([(clock(), 0)])
        self._told_something = 0
        self._told_nothing = 0

    def saw(self, sighting: Sighting) -> None:
        """A look ended; that a first report is awaited is as good an answer as any."""
        if sighting.status == "unknown" and not sighting.is_awaited:
            self._told_nothing += 1
        else:
            self._told_something += 1

    def put(self) -> None:
        """A check was handed to the recorder."""
        self._put += 1

    def note(self) -> None:
        """Remember how many checks there were by now; called every second or so."""
        now = self._clock()
        self._put_before.append((now, self._put))
        while self._put_before[1][0] <= now - _OLDEST_CHECK_SECONDS:
            self._put_before.popleft()

    def trouble(self) -> str | None:
        """What is wrong since it was asked last or now, as half a sentence; None when all is well.

        All is well when no turn of ours is more than ten seconds late, the database answered the
        last call, no check has waited for it longer than a minute, in memory or on disk, the
        network is there as far as it is asked, not every look came back without an answer, and
        messages could be claimed within the last minute.
        """
        told_something, told_nothing = self._told_something, self._told_nothing
        self._told_something = self._told_nothing = 0
        if (late := self._turns.behind_seconds) > _LATEST_TURN_SECONDS:
            return f"turns begin {late:.0f} s late"
        if self._connectivity.is_away:
            return "this monitor's own network is away"
        if self._reachability.since is None:
            return "the database does not answer"
        if self._waits_too_long():
            return f"checks wait for more than {_OLDEST_CHECK_SECONDS:.0f} s to be stored"
        if told_nothing and not told_something:
            return "no probe could look at its service"
        return self._undelivered()

    def _undelivered(self) -> str | None:
        dispatcher = self._dispatcher
        if dispatcher and dispatcher.failing_seconds > _LONGEST_SILENCE_SECONDS:
            return f"no messages are delivered: {dispatcher.trouble}"
        return None

    def _waits_too_long(self) -> bool:
        # They are stored in order: when more wait than were handed over in the last minute, the
        # first of them is older than that.
        _, put_before = self._put_before[0]
        waiting = self._recorder.waiting + self._recorder.spooled
        return waiting > self._put - put_before
