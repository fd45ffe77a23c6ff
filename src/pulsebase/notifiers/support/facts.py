"""What can be said of one notice, read from an event whose details anybody may have written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pulsebase.notifiers.support.cleaning import one_line
from pulsebase.notifiers.support.links import link_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from pulsebase.notifiers.support.message import AlertType, Notice, NoticeKind

__all__ = ["Facts", "LenientMapping", "Topic", "facts_of", "spoken_duration", "spoken_time"]

# What a notice is about, in the order of a digest.
Topic = Literal[
    "down",
    "degraded",
    "was_down",
    "was_degraded",
    "flapping",
    "still_down",
    "still_degraded",
    "settled",
    "healthy_again",
    "closed_by_hand",
    "changed",
]

LONGEST_NAME: Final = 100
LONGEST_REASON: Final = 500
_LONGEST_LOCATIONS: Final = 200
_MOST_LABELS: Final = 50
_MOST_DETAILS: Final = 100
_LONGEST_DETAIL: Final = 1_000
_LONGEST_SECONDS: Final = 100 * 366 * 86_400

_HELD_BY: Final[Mapping[str, str]] = {
    "maintenance": "maintenance",
    "silence": "a silence",
    "parent": "the failure of a service that it depends on",
    "acknowledged": "an acknowledgement",
}

_ENDINGS: Final[Mapping[str, Topic]] = {"person": "closed_by_hand", "superseded": "changed"}


class LenientMapping(dict[str, Any]):
    """A mapping in which what is not there is empty text, as labels of some services are."""

    def __missing__(self, key: str) -> str:
        """Nothing to say."""
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One notice in words. All texts are of one line, and not yet escaped for any format.

    `level` is "down" or "degraded". `actor` and `note` are of whoever resolved it by hand. `lasted`
    is how long it had lasted when it ended, or has lasted by now. What is not known is None, or
    empty for a text.
    """

    topic: Topic
    kind: NoticeKind
    service: str
    level: str
    alert_type: AlertType
    status: str
    labels: Mapping[str, str]
    since: datetime
    until: datetime | None
    lasted: timedelta
    reason: str
    location: str
    link: str
    resolved_by: str
    actor: str
    note: str
    held_by: str
    held_since: datetime | None
    flapping_since: datetime | None
    sequence: int
    event_id: UUID
    incident_id: UUID
    details: Mapping[str, Any]

    @property
    def since_text(self) -> str:
        """When it began, as people read it."""
        return spoken_time(self.since)

    @property
    def until_text(self) -> str:
        """When it ended; empty while it has not."""
        return spoken_time(self.until) if self.until else ""

    @property
    def lasted_text(self) -> str:
        """How long, roughly, as people say it."""
        return spoken_duration(self.lasted)


def facts_of(notice: Notice, *, link: str | None, now: datetime) -> Facts:
    """What can be said of a notice now; details of any shape are read as far as they go."""
    details = notice.details if isinstance(notice.details, dict) else {}
    since = _moment(details.get("started_at")) or notice.event_created_at
    until = notice.resolved_at if _has_ended(notice) else None
    resolved_by = _text(details.get("resolved_by"), LONGEST_NAME)
    return Facts(
        topic=_topic(notice, resolved_by),
        kind=notice.kind,
        service=one_line(notice.service_name, longest=LONGEST_NAME) or "(no name)",
        level=_level(notice),
        alert_type=notice.alert_type,
        status=notice.service_status or "",
        labels=_labels(notice.labels),
        since=since,
        until=until,
        lasted=_lasted(details, since, until, now),
        reason=_reason(details),
        location=_location(details),
        link=link_of(link, notice) if link else "",
        resolved_by=resolved_by,
        actor=_text(details.get("actor"), LONGEST_NAME) if resolved_by == "person" else "",
        note=_text(details.get("note"), LONGEST_REASON) if resolved_by == "person" else "",
        held_by=_HELD_BY.get(notice.held_by or "", ""),
        held_since=notice.held_since,
        flapping_since=notice.flapping_since,
        sequence=notice.sequence,
        event_id=notice.event_id,
        incident_id=notice.incident_id,
        details=_entries(details),
    )


def spoken_time(moment: datetime) -> str:
    """A time as people read it, in UTC and to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def spoken_duration(duration: timedelta) -> str:
    """A duration in its two largest units: "12 min", "4 h", "2 d 3 h"."""
    seconds = max(0, round(duration.total_seconds()))
    if seconds < 60:  # noqa: PLR2004 -- a minute
        return f"{seconds} s"
    minutes = seconds // 60
    days, hours, rest = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} d" if days else "", f"{hours} h" if hours else ""]
    parts.append(f"{rest} min" if rest and not days else "")
    return " ".join(filter(None, parts))


def _has_ended(notice: Notice) -> bool:
    return notice.event_status == "resolved" or notice.kind == "resolved"


def _level(notice: Notice) -> str:
    return notice.alert_type.removeprefix("service_")


def _topic(notice: Notice, resolved_by: str) -> Topic:
    match notice.kind:
        case "flapping_started":
            return "flapping"
        case "flapping_ended":
            return "settled"
        case "resolved":
            return _ENDINGS.get(resolved_by, "healthy_again")
        case "reminder":
            topics: tuple[Topic, Topic] = ("still_down", "still_degraded")
        case _ if notice.event_status == "resolved":
            topics = ("was_down", "was_degraded")
        case _:
            topics = ("down", "degraded")
    return topics[notice.alert_type == "service_degraded"]


def _lasted(
    details: Mapping[str, Any], since: datetime, until: datetime | None, now: datetime
) -> timedelta:
    told = details.get("downtime_seconds")
    if until and isinstance(told, int | float) and 0 <= told < _LONGEST_SECONDS:
        return timedelta(seconds=told)
    return max(timedelta(), (until or now) - since)


def _reason(details: Mapping[str, Any]) -> str:
    places = (details, details.get("last_failed"), details.get("first_failed"))
    found = (_text(one.get("reason"), LONGEST_REASON) for one in places if isinstance(one, dict))
    return next(filter(None, found), "")


def _location(details: Mapping[str, Any]) -> str:
    places = details.get("locations") or details.get("location")
    if isinstance(places, list):
        names = (_text(one, LONGEST_NAME) for one in places[:_MOST_LABELS])
        return one_line(", ".join(filter(None, names)), longest=_LONGEST_LOCATIONS)
    return _text(places, LONGEST_NAME)


def _labels(labels: Mapping[str, str]) -> LenientMapping:
    if not isinstance(labels, dict):
        return LenientMapping()
    return LenientMapping(
        {
            _text(key, LONGEST_NAME): _text(value, LONGEST_NAME)
            for key, value in list(labels.items())[:_MOST_LABELS]
        }
    )


def _entries(details: Mapping[str, Any]) -> LenientMapping:
    """The details for a template: texts of one line, numbers, and one level more of the same."""

    def plain(value: Any, depth: int) -> Any:
        match value:
            case str():
                return one_line(value, longest=_LONGEST_DETAIL)
            case None | bool() | int() | float():
                return value
            case dict() if depth:
                entries = list(value.items())[:_MOST_DETAILS]
                return LenientMapping(
                    {_text(key, LONGEST_NAME): plain(one, depth - 1) for key, one in entries}
                )
            case list() if depth:
                return [plain(one, depth - 1) for one in value[:_MOST_DETAILS]]
            case _:
                return ""

    cleaned = plain(dict(details), 2)
    return cleaned if isinstance(cleaned, LenientMapping) else LenientMapping()


def _text(value: Any, longest: int) -> str:
    match value:
        case str():
            return one_line(value, longest=longest)
        case bool() | None | dict() | list():
            return ""
        case _:
            return one_line(str(value), longest=longest)


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
