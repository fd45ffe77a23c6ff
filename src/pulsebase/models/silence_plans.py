"""Planning ahead: the periods of silences by schedule, which the database cannot work out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from pulsebase.connection import Call
from pulsebase.errors import InvalidValueError
from pulsebase.models import fields
from pulsebase.models.schedules import MOST_PERIODS, Plan, plan, schedule_of
from pulsebase.transports.request import Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from pulsebase.connection import Steps

__all__ = ["PlannedSilences", "plan_silences"]

_PAGE = fields.LARGEST_PAGE
# What is planned for nearly as long, or has many periods ahead, is left for a later round: else
# each round would write a little for each schedule.
_SOON_ENOUGH: Final = 0.8
_ENOUGH_AHEAD: Final = MOST_PERIODS // 2


@dataclass(frozen=True, slots=True)
class PlannedSilences:
    """How many silences were planned further, and what hindered it with others, as sentences."""

    extended: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unplanned:
    id: UUID
    name: str | None
    schedule: dict[str, Any]
    planned_until: datetime | None
    asked_at: datetime
    periods_ahead: int


def _unplanned(row: Mapping[str, Any]) -> _Unplanned:
    until = row["planned_until"]
    return _Unplanned(
        id=UUID(row["id"]),
        name=row["name"],
        schedule=row["schedule"],
        planned_until=None if until is None else fields.parsed_instant(until),
        asked_at=fields.parsed_instant(row["asked_at"]),
        periods_ahead=int(row["periods_ahead"]),
    )


_row = fields.decoder(_unplanned)


def plan_silences(horizon: timedelta) -> Steps[PlannedSilences]:
    """Plan every silence by schedule that is not planned for so long, by the database's clock."""
    extended = 0
    problems: list[str] = []
    after: UUID | None = None
    while True:
        page: list[_Unplanned] = yield _page_call(horizon * _SOON_ENOUGH, after)
        for silence in page:
            if silence.periods_ahead > _ENOUGH_AHEAD:
                continue
            try:
                planned = _plan_of(silence, horizon)
            except InvalidValueError as error:
                problems.append(f"the schedule of the silence {_called(silence)}: {error}")
                continue
            yield _extension(silence, planned)
            extended += 1
        if len(page) < _PAGE:
            return PlannedSilences(extended, tuple(problems))
        after = page[-1].id


def _plan_of(silence: _Unplanned, horizon: timedelta) -> Plan:
    schedule = schedule_of(silence.schedule)
    # Where nobody planned for a while, from what may still hold now.
    since = silence.asked_at - schedule.longest
    if silence.planned_until is not None:
        since = max(since, silence.planned_until)
    room = MOST_PERIODS - silence.periods_ahead
    return plan(schedule, since=since, until=silence.asked_at + horizon, most_periods=room)


def _extension(silence: _Unplanned, planned: Plan) -> Call[Any]:
    arguments = {
        "id": str(silence.id),
        "periods": planned.periods_json(after=silence.asked_at),
        "planned_until": fields.instant("planned_until", planned.planned_until),
    }
    return Call(Request("plan_alert_silence", arguments), lambda answer: answer)


def _page_call(threshold: timedelta, after: UUID | None) -> Call[list[_Unplanned]]:
    arguments = {
        "horizon_seconds": str(threshold.total_seconds()),
        "after_id": None if after is None else str(after),
        "max_rows": _PAGE,
    }
    return Call(Request("find_alert_silences_to_plan", arguments), fields.rows(_row))


def _called(silence: _Unplanned) -> str:
    return str(silence.id) if silence.name is None else f'"{silence.name}"'
