"""Silences and maintenance windows: the rows of `alert_silences`, and when they hold."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID

from uuid_utils.compat import uuid7

from pulsebase.connection import Call, Pages, Steps
from pulsebase.errors import InvalidValueError, NotFoundError
from pulsebase.models import fields
from pulsebase.models.alert_act import new_act, note_text
from pulsebase.models.schedules import HORIZON, Schedule, plan
from pulsebase.models.silence_plans import PlannedSilences, plan_silences
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure, stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "AlertSilence",
    "AlertSilenceModel",
    "MaintenanceWindow",
    "PlannedSilences",
    "PublishedMaintenance",
    "SilenceKind",
]

SilenceKind: TypeAlias = Literal["silence", "maintenance"]
SILENCE_KINDS: tuple[str, ...] = get_args(SilenceKind)

Arguments: TypeAlias = "dict[str, str | int | JsonText | None]"

_PAGE = fields.LARGEST_PAGE
_LONGEST = timedelta(days=36_500)
_MATCHER_RULE = "services, a list of names, and labels, a dict of texts; * stands for anything"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSilence:
    """A silence or maintenance window, as it is stored. Times are in UTC.

    `starts_at` and `ends_at` are those of the period that holds now, else of the next one, else of
    the last one; without an end it holds until it is lifted. `is_active` when it holds now,
    `is_over` when it was lifted or will not come again. `schedule_of` reads the `schedule`.
    """

    id: UUID
    kind: SilenceKind
    name: str | None
    matcher: dict[str, Any]
    schedule: dict[str, Any] | None
    note: str | None
    created_by: str
    created_at: datetime
    lifted_at: datetime | None
    lifted_by: str | None
    planned_until: datetime | None
    starts_at: datetime | None
    ends_at: datetime | None
    is_active: bool
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWindow:
    """A maintenance window of a configuration: once from `starts_at` to `ends_at`, or a schedule.

    Raises InvalidValueError when it is made of values out of bounds.
    """

    name: str
    matcher: dict[str, Any]
    schedule: Schedule | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    note: str | None = None
    # Two readings of one configuration are equal, whatever ids they got.
    id: UUID = field(default_factory=uuid7, compare=False)

    def __post_init__(self) -> None:
        """Check every field."""
        if self.schedule is None and (self.starts_at is None or self.ends_at is None):
            name = "schedule"
            raise InvalidValueError(name, None, "given, or starts_at and ends_at")
        self.arguments()

    def arguments(self) -> Arguments:
        """What the database is told of it."""
        return {
            "id": fields.identifier(self.id),
            "name": fields.service_name(self.name, "name"),
            "matcher": _matcher(self.matcher, None, None),
            "note": fields.optional(note_text, "note", self.note),
            **_when(self.schedule, self.starts_at, self.ends_at, None),
        }


@dataclass(frozen=True, slots=True)
class PublishedMaintenance:
    """How many maintenance windows are new, and how many of an earlier configuration ended."""

    created: int
    lifted: int


def _silence(row: Mapping[str, Any]) -> AlertSilence:
    return AlertSilence(
        id=UUID(row["id"]),
        kind=row["kind"],
        name=row["name"],
        matcher=row["matcher"],
        schedule=row["schedule"],
        note=row["note"],
        created_by=row["created_by"],
        created_at=fields.parsed_instant(row["created_at"]),
        lifted_at=_instant(row["lifted_at"]),
        lifted_by=row["lifted_by"],
        planned_until=_instant(row["planned_until"]),
        starts_at=_instant(row["starts_at"]),
        ends_at=_instant(row["ends_at"]),
        is_active=bool(row["is_active"]),
        is_over=bool(row["is_over"]),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else fields.parsed_instant(text)


_row = fields.decoder(_silence)
_published = fields.decoder(
    lambda row: PublishedMaintenance(int(row["created"]), int(row["lifted"]))
)


class AlertSilenceModel:
    """Creates, reads and lifts silences and maintenance windows.

    While one holds, the opening messages and reminders of the services that it matches wait; they
    are probed and recorded all the same. Every verb takes a connection first, as those of
    AlertEventModel do.
    """

    @operation
    @staticmethod
    def create(
        *,
        by: str,
        service_name: str | None = None,
        labels: dict[str, str] | None = None,
        matcher: dict[str, Any] | None = None,
        starts_at: datetime | None = None,
        ends_at: datetime | None = None,
        duration: timedelta | None = None,
        schedule: Schedule | None = None,
        kind: SilenceKind = "silence",
        name: str | None = None,
        note: str | None = None,
        id: UUID | None = None,  # noqa: A002 -- the column's name
    ) -> Call[AlertSilence]:
        """Store a silence and return it; with an `id` that is there, that one.

        For the services of a name (in which `*` stands for anything) and with these labels, or of
        a `matcher` of several names; `matcher={}` is everything. From `starts_at`, now by the
        database's clock if not given, to `ends_at` or for a `duration`, or until it is lifted; or
        again and again by a `schedule`. A `name` is one that no other silence has that is not
        over; the same silence under the same name is returned as it is.
        """
        arguments: Arguments = {
            "id": str(uuid7()) if id is None else fields.identifier(id),
            "kind": fields.one_of("kind", kind, SILENCE_KINDS),
            "name": None if name is None else fields.service_name(name, "name"),
            "matcher": _matcher(matcher, service_name, labels),
            "note": fields.optional(note_text, "note", note),
            "actor": fields.service_name(by, "by"),
            **_when(schedule, starts_at, ends_at, duration),
        }
        return Call(Request("create_alert_silence", arguments), _row)

    @operation
    @staticmethod
    def find_by_id(id: UUID | str) -> Call[AlertSilence | None]:  # noqa: A002 -- the column's name
        """The silence with this id, or None."""
        request = Request("find_alert_silence", {"id": fields.identifier(id)})
        return Call(request, fields.optional_row(_row))

    @procedure
    @staticmethod
    def find_active(*, service_name: str | None = None) -> Steps[list[AlertSilence]]:
        """All silences that hold now, for one service or for any, newest first."""
        return _all_pages("active", service_name)

    @procedure
    @staticmethod
    def find_open(*, service_name: str | None = None) -> Steps[list[AlertSilence]]:
        """All silences that hold now or will hold, for one service or for any, newest first."""
        return _all_pages("open", service_name)

    @stream
    @staticmethod
    def iterate(*, service_name: str | None = None) -> Pages[AlertSilence]:
        """All silences that there ever were, newest first; fetched 1000 at a time."""
        return Pages(lambda last: _page_call("all", service_name, last), _PAGE)

    @operation
    @staticmethod
    def lift(
        id: UUID | str | None = None,  # noqa: A002 -- the column's name
        *,
        name: str | None = None,
        by: str,
        note: str | None = None,
    ) -> Call[AlertSilence]:
        """End a silence, by its id or its name, and return it; one that is lifted stays as it is.

        Raises NotFoundError when there is none.
        """
        if (id is None) == (name is None):
            argument = "id"
            raise InvalidValueError(argument, id, "given, or name, and not both")
        arguments: Arguments = {
            "id": None if id is None else fields.identifier(id),
            "name": None if name is None else fields.service_name(name, "name"),
            **new_act(fields.service_name(by, "by"), note),
        }
        sought = f"the id {id}" if name is None else f"the name {name}"
        return Call(Request("lift_alert_silence", arguments), lambda row: _found(row, sought))

    @procedure
    @staticmethod
    def plan_all(*, horizon: timedelta = HORIZON) -> Steps[PlannedSilences]:
        """Write down when the silences by schedule hold up to the horizon; for a monitor to do.

        What cannot be read is told in the result and left as it is. A schedule by a cron
        expression needs the extra `monitor`: MissingExtraError where it is not installed.
        """
        return plan_silences(fields.duration("horizon", horizon))

    @operation
    @staticmethod
    def publish_maintenance(
        *, windows: Sequence[MaintenanceWindow], by: str = "configuration"
    ) -> Call[PublishedMaintenance]:
        """Make the maintenance windows that `by` publishes be these, by their names, and no others.

        What is as it was stays; what is gone or has changed is lifted.
        """
        arguments: Arguments = {
            "windows": JsonText(f"[{','.join(_json(each.arguments()) for each in windows)}]"),
            "actor": fields.service_name(by, "by"),
        }
        return Call(Request("publish_maintenance_windows", arguments), _published)


def _found(row: Any, sought: str) -> AlertSilence:
    if row is None:
        msg = f"there is no silence with {sought}"
        raise NotFoundError(msg)
    return _row(row)


def _all_pages(which: str, service_name: str | None) -> Steps[list[AlertSilence]]:
    found: list[AlertSilence] = []
    while True:
        last = found[-1] if found else None
        page: list[AlertSilence] = yield _page_call(which, service_name, last)
        found += page
        if len(page) < _PAGE:
            return found


def _page_call(
    which: str, service_name: str | None, before: AlertSilence | None
) -> Call[list[AlertSilence]]:
    arguments: Arguments = {
        "which": which,
        "service_name": None if service_name is None else fields.service_name(service_name),
        "max_rows": _PAGE,
    }
    if before is not None:
        arguments["before_created_at"] = fields.instant("before", before.created_at)
        arguments["before_id"] = str(before.id)
    return Call(Request("find_alert_silences", arguments), fields.rows(_row))


def _matcher(matcher: object, service_name: str | None, labels: object) -> JsonText:
    """The matcher that is given, or the one of a name and labels."""
    given = [each is not None for each in (matcher, service_name, labels)]
    if not any(given) or (given[0] and any(given[1:])):
        name = "matcher"
        bound = "given ({} matches everything), or service_name or labels instead"
        raise InvalidValueError(name, matcher, bound)
    if matcher is not None:
        return fields.json_object("matcher", _checked(matcher))
    built: dict[str, Any] = {}
    if service_name is not None:
        built["services"] = [fields.service_name(service_name)]
    if labels is not None:
        built["labels"] = labels
    return fields.json_object("labels", _checked(built))


def _checked(matcher: object) -> dict[str, Any]:
    known = isinstance(matcher, dict) and {"services", "labels"}.issuperset(matcher)
    if not known or not isinstance(matcher, dict):
        raise InvalidValueError("matcher", matcher, _MATCHER_RULE)  # noqa: EM101 -- the field
    if "services" in matcher:
        services = matcher["services"]
        if not isinstance(services, list) or not services:
            raise InvalidValueError("services", services, _MATCHER_RULE)  # noqa: EM101 -- likewise
        for service in services:
            fields.service_name(service, "services")
    labels = matcher.get("labels", {})
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        raise InvalidValueError("labels", labels, _MATCHER_RULE)  # noqa: EM101 -- likewise
    return matcher


def _when(
    schedule: object,
    starts_at: datetime | None,
    ends_at: datetime | None,
    duration: timedelta | None,
) -> Arguments:
    """The schedule and its periods of the next weeks, or the one period."""
    if schedule is not None:
        is_alone = starts_at is None and ends_at is None and duration is None
        if not isinstance(schedule, Schedule) or not is_alone:
            name = "schedule"
            bound = "a CronSchedule or WeeklySchedule, without times or a duration beside it"
            raise InvalidValueError(name, schedule, bound)
        return _planned(schedule)
    if ends_at is not None and duration is not None:
        name = "duration"
        raise InvalidValueError(name, duration, "given, or ends_at, and not both")
    period = {
        "starts_at": fields.optional(fields.instant, "starts_at", starts_at),
        "ends_at": fields.optional(fields.instant, "ends_at", ends_at),
        "duration_seconds": fields.optional(_seconds, "duration", duration),
    }
    if starts_at is not None and ends_at is not None and ends_at <= starts_at:
        name = "ends_at"
        raise InvalidValueError(name, period["ends_at"], "after starts_at")
    return {"periods": JsonText(json.dumps([period]))}


def _seconds(field_name: str, value: object) -> float:
    length = fields.duration(field_name, value)
    if length > _LONGEST:
        raise InvalidValueError(field_name, value, "a timedelta of at most a hundred years")
    return length.total_seconds()


def _planned(schedule: Schedule) -> Arguments:
    now = datetime.now(UTC)
    planned = plan(schedule, since=now - schedule.longest, until=now + HORIZON)
    return {
        "schedule": fields.json_object("schedule", schedule.as_json()),
        "periods": planned.periods_json(after=now),
        "planned_until": fields.instant("planned_until", planned.planned_until),
    }


def _json(arguments: Arguments) -> str:
    """A row of an array; texts that are JSON already go in as they are."""
    members = (
        f"{fields.quoted(key)}:{value if isinstance(value, JsonText) else json.dumps(value)}"
        for key, value in arguments.items()
        if value is not None
    )
    return f"{{{','.join(members)}}}"
