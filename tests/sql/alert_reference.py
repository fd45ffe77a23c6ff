"""What alerting has to decide, in plain Python; the SQL is held against it.

Written from the rules alone and to be read beside them: it remembers every check and counts anew
each time, where the SQL keeps streaks and windows. Times are seconds.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["BUILT_IN", "Check", "Event", "Reference", "State"]

BUILT_IN: Final[dict[str, Any]] = {
    "enabled": True,
    "degraded_enabled": True,
    **dict.fromkeys(("down_open_checks", "degraded_open_checks"), 3),
    **dict.fromkeys(("down_open_of", "degraded_open_of")),
    **dict.fromkeys(("down_open_seconds", "degraded_open_seconds")),
    **dict.fromkeys(("down_close_checks", "degraded_close_checks"), 2),
    "locations_agree": 0,
    "location_fresh_seconds": 300,
    "flapping_changes": 6,
    "flapping_within_seconds": 3600,
}
_BAD: Final = {"down": ("down",), "degraded": ("down", "degraded")}


@dataclass(frozen=True, slots=True, order=True)
class Check:
    """One observation; their order is the one in which they count."""

    checked_at: int
    id: int
    service: str
    status: str
    location: str


@dataclass(slots=True)
class Event:
    """One alert event; `resolved_by` says how it ended."""

    service: str
    alert_type: str
    started_at: int | None = None  # unknown where somebody made it by hand
    resolved_at: int | None = None
    resolved_by: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Of which there is at most one that is active."""
        return self.service, self.alert_type

    @property
    def is_active(self) -> bool:
        """Whether it has not ended; a recovery is born ended."""
        return self.resolved_at is None


@dataclass(slots=True)
class Track:
    """What one location has seen, and says."""

    seen: list[tuple[int, str]] = field(default_factory=list)
    # The newest of them, as many as the policy of the time counts one by one.
    window: list[tuple[int, str]] = field(default_factory=list)
    verdict: str = "healthy"
    began_at: int = 0

    def streak(self, *statuses: str) -> list[int]:
        """When the newest checks in a row were that had one of these."""
        return [at for at, _ in takewhile(lambda one: one[1] in statuses, self.seen[::-1])][::-1]

    def trouble_since(self, policy: Mapping[str, Any], level: str) -> int | None:
        """When that began which is now enough to open, if it is."""
        streak, needed = self.streak(*_BAD[level]), policy[f"{level}_open_checks"]
        if not policy["enabled"] or not streak:
            return None
        if seconds := policy[f"{level}_open_seconds"]:
            return streak[0] if self.seen[-1][0] - streak[0] >= seconds else None
        if (of := policy[f"{level}_open_of"] or 0) > needed:
            counted = [at for at, status in self.window[-of:] if status in _BAD[level]]
            if len(counted) >= needed:
                return counted[0]
        return streak[0] if len(streak) >= needed else None

    def look(self, at: int, status: str, policy: Mapping[str, Any]) -> None:
        """Take one more check into account."""
        self.seen.append((at, status))
        width = _width(policy)
        self.window = [*self.window, (at, status)][-width:] if width else []
        before = self.verdict
        healthy, not_down = self.streak("healthy"), self.streak("healthy", "degraded")
        down, degraded = (self.trouble_since(policy, level) for level in ("down", "degraded"))
        if before != "down" and down is not None:
            self.verdict, self.began_at = "down", down
        elif before == "healthy" and degraded is not None and policy["degraded_enabled"]:
            self.verdict, self.began_at = "degraded", degraded
        elif before != "healthy" and len(healthy) >= policy[f"{before}_close_checks"]:
            self.verdict, self.began_at, self.window = "healthy", healthy[0], []
        elif before == "down" and len(not_down) >= policy["down_close_checks"]:
            self.verdict, self.began_at, self.window = "degraded", not_down[0], []

    @property
    def is_calm(self) -> bool:
        """Whether nothing bad is remembered that could still count."""
        remembered = {self.verdict, self.seen[-1][1], *(status for _, status in self.window)}
        return remembered == {"healthy"}


def _width(policy: Mapping[str, Any]) -> int:
    """How many checks are counted one by one; N in a row, or of N, needs none."""
    widths = [0]
    for level in _BAD:
        of, checks = policy[f"{level}_open_of"] or 0, policy[f"{level}_open_checks"]
        if of > checks and not policy[f"{level}_open_seconds"]:
            widths.append(of)
    return max(widths)


@dataclass(slots=True)
class State:
    """What is known of one service."""

    status: str = "healthy"
    is_steady: bool = True
    last: Check | None = None
    evaluated: set[int] = field(default_factory=set)
    tracks: dict[str, Track] = field(default_factory=dict)
    event: Event | None = None
    since: int = 0
    incident_at: int = 0
    changes: list[int] = field(default_factory=list)
    flapping_since: int | None = None


class Reference:
    """Give it the checks as they are stored, and read `events` and `states`."""

    def __init__(self, policy_of: Callable[[str], Mapping[str, Any]]) -> None:
        self._policy_of = policy_of
        self.stored: defaultdict[str, dict[int, Check]] = defaultdict(dict)
        self.states: defaultdict[str, State] = defaultdict(State)
        self.events: list[Event] = []

    def store(self, checks: Iterable[Check]) -> list[Check]:
        """Keep the checks that are new; nobody looks at them."""
        new = []
        for check in checks:
            if check.id not in self.stored[check.service]:
                self.stored[check.service][check.id] = check
                new.append(check)
        return new

    def insert(self, checks: Iterable[Check]) -> None:
        """One statement that stores checks: those that are new are evaluated."""
        new = self.store(checks)
        for service in sorted({check.service for check in new}):
            self._evaluate(service, [check for check in new if check.service == service])

    def catch_up(self) -> None:
        """Look at what is stored of services that are not steady, and was not looked at."""
        for service in sorted(self.states):
            if not self.states[service].is_steady:
                self._evaluate(service, [])

    def resolve(self, event: Event, at: int) -> None:
        """Somebody says that it is over: from now on all was well in every location."""
        event.resolved_at, event.resolved_by = at, "person"
        state = self.states[event.service]
        if state.event is event:
            state.status, state.event, state.is_steady = "healthy", None, False
            state.since = at
            for location, track in state.tracks.items():
                state.tracks[location] = Track([(track.seen[-1][0], "healthy")])

    def _evaluate(self, service: str, batch: list[Check]) -> None:
        state, policy = self.states[service], self._policy_of(service)
        stored = sorted(self.stored[service].values())
        if state.is_steady:
            # What was healthy and left alone was decided on by that.
            others = [check for check in stored if check not in batch]
            state.last = max([*others[-1:], *filter(None, [state.last])], default=None)
        due = [check for check in stored if _is_due(check, state, batch)]
        if state.is_steady and due:
            state.tracks = {}
            fresh_since = due[0].checked_at - policy["location_fresh_seconds"]
            for check in stored:
                if check not in due and fresh_since <= check.checked_at <= due[0].checked_at:
                    _track(state, check).look(check.checked_at, "healthy", policy)
        if not due:
            return
        for check in due:
            self._decide(state, check, policy)
        calm = state.status == "healthy" and state.flapping_since is None
        state.is_steady = calm and all(track.is_calm for track in state.tracks.values())

    def _decide(self, state: State, check: Check, policy: Mapping[str, Any]) -> None:
        now, state.last = check.checked_at, max(check, state.last or check)
        _heard(state, check, policy).look(now, _counted(check, policy), policy)
        verdict, began_at = _vote(state.tracks.values(), now, policy)
        if state.flapping_since is not None and _kept_still(state.changes, now, policy):
            state.flapping_since = None
        if verdict == state.status:
            return
        before, state.status, state.since = state.status, verdict, began_at
        if "healthy" in (before, verdict):
            state.changes.append(now)
        if before == "healthy":
            state.incident_at = began_at
            if state.flapping_since is None and _flaps(state.changes, now, policy):
                state.flapping_since = now
        if state.event is not None and state.event.started_at is not None:
            # Where locations disagree, what takes its place may have begun before it.
            state.event.resolved_at = max(began_at, state.event.started_at)
            state.event.resolved_by = "recovery" if verdict == "healthy" else "superseded"
            if verdict == "healthy":
                started_at = min(state.incident_at, state.event.started_at)
                self.events.append(Event(check.service, "recovery", started_at, began_at))
        state.event = None
        if verdict != "healthy":
            state.event = self._open(Event(check.service, f"service_{verdict}", began_at))

    def _open(self, new: Event) -> Event:
        same = (event for event in self.events if event.is_active and event.key == new.key)
        if (by_hand := next(same, None)) is not None:  # it is adopted
            by_hand.started_at = new.started_at
            return by_hand
        self.events.append(new)
        return new


def _is_due(check: Check, state: State, batch: list[Check]) -> bool:
    if state.last is None or check > state.last:
        return True
    # The checks of one transaction bear one time, and their ids any order.
    same_time = check.checked_at == state.last.checked_at
    return same_time and check in batch and check.id not in state.evaluated


def _counted(check: Check, policy: Mapping[str, Any]) -> str:
    ignored = check.status == "degraded" and not policy["degraded_enabled"]
    return "healthy" if ignored else check.status


def _track(state: State, check: Check) -> Track:
    return state.tracks.setdefault(check.location, Track())


def _heard(state: State, check: Check, policy: Mapping[str, Any]) -> Track:
    """The track of a check; a location that was silent goes on from what others have seen."""
    known = state.tracks.get(check.location)
    last_silent_at = check.checked_at - policy["location_fresh_seconds"]
    if state.tracks.keys() - {check.location} and (
        known is None or known.seen[-1][0] < last_silent_at
    ):
        state.tracks[check.location] = Track(verdict=state.status, began_at=state.since)
    return _track(state, check)


def _vote(tracks: Iterable[Track], now: int, policy: Mapping[str, Any]) -> tuple[str, int]:
    """What the fresh locations agree on, and when it began."""
    every = list(tracks)
    fresh = [one for one in every if one.seen[-1][0] >= now - policy["location_fresh_seconds"]]
    agree: int = policy["locations_agree"]
    needed = {0: len(fresh) // 2 + 1, -1: len(fresh)}.get(agree, min(agree, len(fresh)))
    for verdict in ("down", "degraded"):
        agreeing = [track.began_at for track in fresh if track.verdict in _BAD[verdict]]
        if len(agreeing) >= needed:
            return verdict, min(agreeing)
    return "healthy", every[0].began_at if len(every) == 1 else now


def _flaps(changes: list[int], now: int, policy: Mapping[str, Any]) -> bool:
    recent = [at for at in changes[-100:] if now - at < policy["flapping_within_seconds"]]
    needed: int = policy["flapping_changes"]
    return 0 < needed <= len(recent)


def _kept_still(changes: list[int], now: int, policy: Mapping[str, Any]) -> bool:
    if policy["flapping_changes"] == 0:
        return True
    within: int = policy["flapping_within_seconds"]
    return now - changes[-1] >= within
