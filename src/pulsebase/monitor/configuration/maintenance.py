"""`[[maintenance]]`: when nobody is told of what does not work, since it is meant not to."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 -- pydantic resolves the fields at run time
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from pydantic import Field

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError, MissingExtraError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.models.alert_silence import MaintenanceWindow
from pulsebase.models.schedules import CronSchedule, WeeklySchedule
from pulsebase.models.schedules.wall_clock import begins_at, ends_at, zone_of
from pulsebase.monitor.configuration.lists import NameRegister, tables_at
from pulsebase.monitor.configuration.matching import matcher_of, matcher_problems
from pulsebase.monitor.configuration.origin import Origin
from pulsebase.monitor.configuration.routes import begin_problem, days_problem, zone_problem
from pulsebase.monitor.configuration.values import NAME_RULE, readable
from pulsebase.monitor.configuration.written import LONGEST_RULE, Moment, TimeOfDay, Weekday

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo

    from pulsebase.models.schedules import Schedule
    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath
    from pulsebase.monitor.configuration.validation import Validation

__all__ = ["MaintenanceKeys", "MaintenanceReader"]

_EVERY_DAY: Final = (1, 2, 3, 4, 5, 6, 7)
# The forms in which a time can be given: which keys each must have.
_FORMS: Final = (("cron", "duration"), ("from", "until"), ("starts_at", "ends_at"))
_FORMS_RULE: Final = "cron and duration, from and until, or starts_at and ends_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceKeys:
    """`[[maintenance]]`: once, on days of the week, or whenever a cron expression says so."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    name: str
    services: tuple[str, ...] | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    cron: str | None = None
    duration: Duration | None = None
    days: tuple[Weekday, ...] | None = None
    begin: Annotated[TimeOfDay | None, Field(alias="from")] = None
    until: TimeOfDay | None = None
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    zone: str = "UTC"
    note: str | None = None

    def __post_init__(self) -> None:
        """Refuse what never comes."""
        refuse([*self._problems(), *matcher_problems(self)])

    def _problems(self) -> Iterator[InvalidValueError]:
        if not readable(self.name):
            yield InvalidValueError("name", self.name, NAME_RULE)
        if self.duration is not None and not timedelta(0) < self.duration <= LONGEST_RULE:
            got = format_duration(self.duration)
            yield InvalidValueError("duration", got, "more than 0s and at most 30d")
        yield from begin_problem(self.begin)
        yield from days_problem(self.days)
        yield from zone_problem(self.zone)

    def given(self) -> set[str]:
        """Which of the keys that say when are there."""
        said = {
            "cron": self.cron,
            "duration": self.duration,
            "days": self.days,
            "from": self.begin,
            "until": self.until,
            "starts_at": self.starts_at,
            "ends_at": self.ends_at,
        }
        return {key for key, value in said.items() if value is not None}

    def window(self) -> MaintenanceWindow:
        """As the database is told of it; raises InvalidValueError for a time that never comes."""
        return MaintenanceWindow(
            name=self.name,
            matcher=matcher_of(self) or {},
            schedule=self._schedule(),
            starts_at=self._moment("starts_at", begins_at),
            ends_at=self._moment("ends_at", ends_at),
            note=self.note,
        )

    def _schedule(self) -> Schedule | None:
        if self.cron is not None and self.duration is not None:
            return CronSchedule(cron=self.cron, duration=self.duration, zone=self.zone)
        if self.begin is not None and self.until is not None:
            return WeeklySchedule(
                days=self.days or _EVERY_DAY,
                from_time=_time(self.begin),
                until_time=_time(self.until),
                zone=self.zone,
            )
        return None

    def _moment(
        self, key: str, shown_first: Callable[[datetime, tzinfo], datetime]
    ) -> datetime | None:
        """A time without an offset is one on the clocks of the zone."""
        given: datetime | None = getattr(self, key)
        if given is None or given.tzinfo is not None:
            return given
        try:
            return shown_first(given, zone_of(self.zone))
        except OverflowError:
            bound = "a time of the years 1 to 9999 in UTC"
            raise InvalidValueError(key, given.isoformat(), bound) from None


class MaintenanceReader:
    """Reads maintenance windows; what cannot be read becomes a complaint and is left out."""

    def __init__(self, complaints: Complaints, validation: Validation) -> None:
        self._complaints = complaints
        self._validation = validation

    def read(self, tables: Any) -> Iterator[MaintenanceWindow]:
        """The windows of a file in its order."""
        names = NameRegister("maintenance window", self._complaints)
        for index, table in enumerate(tables_at(tables, ("maintenance",), self._complaints)):
            place = ("maintenance", index)
            names.add(table, place)
            written = {key: _as_text(value) for key, value in table.items()}
            keys = self._validation.read(MaintenanceKeys, written, Origin(place))
            if keys is not None and self._has_one_form(keys, place):
                yield from self._window(keys, place)

    def _has_one_form(self, keys: MaintenanceKeys, place: KeyPath) -> bool:
        """Whether it says in exactly one way when it is; complains where it does not."""
        given = keys.given()
        begun = [form for form in _FORMS if given & {*form, *_beside(form)}]
        if not begun:
            self._complaints.about(place, f"does not say when it is; add {_FORMS_RULE}")
            return False
        form, *others = begun
        if others:
            other = next(key for key in _in_order(others[0]) if key in given)
            said = next(key for key in _in_order(form) if key in given)
            self._complaints.about(
                (*place, other), f"does not go together with {said}; say once when it is"
            )
            return False
        missing = [key for key in form if key not in given]
        for key in missing:
            self._complaints.missing_key((*place, key))
        return not missing

    def _window(self, keys: MaintenanceKeys, place: KeyPath) -> Iterator[MaintenanceWindow]:
        try:
            yield keys.window()
        except InvalidValueError as error:
            self._complaints.invalid((*place, error.field), error.bound, error.value)
        except MissingExtraError as error:
            self._complaints.about((*place, "cron"), f"cannot be read: {error}")


def _beside(form: tuple[str, ...]) -> tuple[str, ...]:
    return ("days",) if "from" in form else ()


def _in_order(form: tuple[str, ...]) -> tuple[str, ...]:
    return (*form, *_beside(form))


def _as_text(value: Any) -> Any:
    """TOML's dates with a time as the texts that they are written as."""
    return value.isoformat() if isinstance(value, datetime) else value


def _time(text: str) -> time:
    """A time of day; 24:00 is the midnight after it, which comes after every other time."""
    return time(0) if text == "24:00" else time.fromisoformat(text)
