"""Health checks: the rows of `service_health_checks`, and what can be done with them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args
from uuid import UUID

from uuid_utils.compat import uuid7

from pulsebase.connection import Call, Many, Pages, Steps
from pulsebase.errors import InvalidValueError
from pulsebase.models import fields
from pulsebase.models.batches import delete_in_batches
from pulsebase.transports.request import JsonText, Request
from pulsebase.verbs import operation, procedure, stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = [
    "CreatedMany",
    "HealthCheck",
    "HealthCheckModel",
    "LatestHealthCheck",
    "NewHealthCheck",
    "Status",
    "StatusCounts",
]

Status: TypeAlias = Literal["healthy", "degraded", "down"]
STATUSES: tuple[str, ...] = get_args(Status)

_BATCH_ROWS = 1000
_BATCH_CHARACTERS = 1_000_000
_BATCHES_IN_FLIGHT = 20
_PAGE = fields.LARGEST_PAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthCheck:
    """One observation of a service, as it is stored. Times are in UTC."""

    id: UUID
    service_name: str
    status: Status
    latency_ms: int | None
    checked_at: datetime
    probe_details: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestHealthCheck(HealthCheck):
    """The newest check of a service; `is_stale` when it is older than the caller's bound."""

    age_seconds: float
    is_stale: bool


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """How many checks had each status."""

    healthy: int
    degraded: int
    down: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.healthy + self.degraded + self.down


@dataclass(frozen=True, slots=True)
class CreatedMany:
    """What `create_many` did: rows that were new, and rows that had been stored before."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHealthCheck:
    """A check that is to be stored, valid by construction.

    Its `id` is made here (UUIDv7), so storing the same object twice stores one row. `checked_at`
    is now unless it is given. Raises InvalidValueError naming the field, the value and the bound.
    """

    service_name: str
    status: Status
    latency_ms: int | None = None
    checked_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    probe_details: dict[str, Any] | None = None
    id: UUID = field(default_factory=uuid7)
    _json: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check every field, and keep the row's JSON: what was checked is what is sent."""
        members = _arguments(
            service_name=self.service_name,
            status=self.status,
            latency_ms=self.latency_ms,
            checked_at=self.checked_at,
            probe_details=self.probe_details,
            id=self.id,
        )
        object.__setattr__(self, "_json", _row_json(members))

    def json(self) -> str:
        """The row as JSON text."""
        return self._json


def _arguments(
    *,
    service_name: str,
    status: Status,
    latency_ms: int | None,
    checked_at: datetime | None,
    probe_details: dict[str, Any] | None,
    id: UUID | None,  # noqa: A002 -- the column's name
) -> dict[str, str | int | JsonText | None]:
    return {
        "id": str(uuid7()) if id is None else fields.identifier(id),
        "service_name": fields.service_name(service_name),
        "status": fields.one_of("status", status, STATUSES),
        "latency_ms": None
        if latency_ms is None
        else fields.whole_number("latency_ms", latency_ms, 0, fields.LARGEST_INTEGER),
        "checked_at": fields.optional(fields.past_instant, "checked_at", checked_at),
        "probe_details": fields.optional(fields.json_object, "probe_details", probe_details),
    }


def _row_json(members: Mapping[str, str | int | JsonText | None]) -> str:
    # By hand, since the details are JSON already; encoding them once more would double the cost.
    latency_ms, details = members["latency_ms"], members["probe_details"]
    return (
        f'{{"id":"{members["id"]}","service_name":{fields.quoted(str(members["service_name"]))},'
        f'"status":"{members["status"]}",'
        f'"latency_ms":{"null" if latency_ms is None else latency_ms},'
        f'"checked_at":"{members["checked_at"]}",'
        f'"probe_details":{"null" if details is None else details}}}'
    )


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": UUID(row["id"]),
        "service_name": row["service_name"],
        "status": row["status"],
        "latency_ms": row["latency_ms"],
        "checked_at": fields.parsed_instant(row["checked_at"]),
        "probe_details": row["probe_details"],
        "created_at": fields.parsed_instant(row["created_at"]),
    }


_row = fields.decoder(lambda row: HealthCheck(**_columns(row)))
_latest_row = fields.decoder(
    lambda row: LatestHealthCheck(
        **_columns(row), age_seconds=float(row["age_seconds"]), is_stale=bool(row["is_stale"])
    )
)
_counts = fields.decoder(
    lambda row: StatusCounts(healthy=row["healthy"], degraded=row["degraded"], down=row["down"])
)
_inserted = fields.decoder(lambda row: int(row["inserted"]))


class HealthCheckModel:
    """Records and reads health checks.

    Every verb takes a connection first (ours, an application's own, or an async one, which makes
    the result awaitable); without one it uses the connection that the environment names.
    """

    @operation
    @staticmethod
    def create(
        *,
        service_name: str,
        status: Status,
        latency_ms: int | None = None,
        checked_at: datetime | None = None,
        probe_details: dict[str, Any] | None = None,
        id: UUID | None = None,  # noqa: A002 -- the column's name
    ) -> Call[HealthCheck]:
        """Store one check and return its row; with an `id` that is there already, that row.

        `latency_ms` is in whole milliseconds; `checked_at` is aware and at most five minutes in
        the future, the database's clock if not given; `probe_details` is JSON up to 64 KiB.
        """
        arguments = _arguments(
            service_name=service_name,
            status=status,
            latency_ms=latency_ms,
            checked_at=checked_at,
            probe_details=probe_details,
            id=id,
        )
        return Call(Request("create_health_check", arguments), _row)

    @procedure
    @staticmethod
    def create_many(*, checks: Iterable[NewHealthCheck]) -> Steps[CreatedMany]:
        """Store any number of checks; a check that is stored already counts as a duplicate.

        Requests are bounded (1000 rows or 1 MB). A direct connection stores up to 20 of them in
        one transaction, HTTPS each in its own; after an error, repeat the call with the same
        objects: nothing is stored twice.
        """
        batches = _batches(checks)
        total = inserted = 0
        while answers := (yield Many(map(_batch_call, islice(batches, _BATCHES_IN_FLIGHT)))):
            total += sum(rows for rows, _ in answers)
            inserted += sum(new for _, new in answers)
        return CreatedMany(inserted=inserted, duplicates=total - inserted)

    @operation
    @staticmethod
    def find_by_id(id: UUID | str) -> Call[HealthCheck | None]:  # noqa: A002 -- the column's name
        """The check with this id, or None."""
        request = Request("find_health_check", {"id": fields.identifier(id)})
        return Call(request, fields.optional_row(_row))

    @operation
    @staticmethod
    def find_by_service(
        service_name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: HealthCheck | None = None,
    ) -> Call[list[HealthCheck]]:
        """At most `limit` (1 to 1000) checks of a service, newest `checked_at` first.

        `since` is included, `until` is not. For the next page give the last row as `before`.
        """
        return _page_call(
            service_name,
            since=since,
            until=until,
            status=status,
            size=fields.limit(limit),
            before=before,
        )

    @stream
    @staticmethod
    def iterate_by_service(
        service_name: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        status: Status | None = None,
    ) -> Pages[HealthCheck]:
        """All checks of a service, newest first, however many; fetched 1000 at a time."""
        return Pages(
            lambda last: _page_call(
                service_name, since=since, until=until, status=status, size=_PAGE, before=last
            ),
            _PAGE,
        )

    @procedure
    @staticmethod
    def find_latest(
        *, service_name: str | None = None, stale_after: timedelta = timedelta(minutes=5)
    ) -> Steps[list[LatestHealthCheck]]:
        """The newest check of every service (or of one), by name, however long ago it was.

        `age_seconds` is by the database's clock; `is_stale` when it is above `stale_after`.
        """
        arguments: dict[str, str | int | JsonText | None] = {
            "service_name": fields.optional(_name, "service_name", service_name),
            "stale_after_seconds": str(fields.duration("stale_after", stale_after).total_seconds()),
            "max_rows": _PAGE,
        }
        found: list[LatestHealthCheck] = []
        while True:
            request = Request("find_latest_health_checks", dict(arguments))
            page: list[LatestHealthCheck] = yield Call(request, fields.rows(_latest_row))
            found += page
            if len(page) < _PAGE:
                return found
            arguments["after_service_name"] = page[-1].service_name

    @operation
    @staticmethod
    def count_by_status(
        *,
        service_name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Call[StatusCounts]:
        """How many checks had each status, of one service or of all, in [since, until)."""
        arguments: dict[str, str | int | JsonText | None] = {
            "service_name": fields.optional(_name, "service_name", service_name),
            "since": fields.optional(fields.instant, "since", since),
            "until": fields.optional(fields.instant, "until", until),
        }
        return Call(Request("count_health_checks_by_status", arguments), _counts)

    @procedure
    @staticmethod
    def delete_older_than(age: timedelta) -> Steps[int]:
        """Delete the checks that arrived longer than `age` ago, in batches; says how many."""
        return delete_in_batches("delete_health_checks_older_than", age)


def _name(field_name: str, value: object) -> str:
    return fields.service_name(value, field_name)


def _page_call(
    service_name: str,
    *,
    since: datetime | None,
    until: datetime | None,
    status: Status | None,
    size: int,
    before: HealthCheck | None,
) -> Call[list[HealthCheck]]:
    arguments: dict[str, str | int | JsonText | None] = {
        "service_name": fields.service_name(service_name),
        "since": fields.optional(fields.instant, "since", since),
        "until": fields.optional(fields.instant, "until", until),
        "status": None if status is None else fields.one_of("status", status, STATUSES),
        "max_rows": size,
    }
    if before is not None:
        arguments["before_checked_at"] = fields.instant("before", before.checked_at)
        arguments["before_id"] = str(before.id)
    return Call(Request("find_health_checks", arguments), fields.rows(_row))


def _batches(checks: Iterable[NewHealthCheck]) -> Iterator[list[str]]:
    """The rows' JSON in batches bounded by rows and by characters."""
    batch: list[str] = []
    characters = 0
    for check in checks:
        try:
            row = check.json()
        except AttributeError:
            field = "checks"
            raise InvalidValueError(field, check, "NewHealthCheck objects") from None
        if batch and (len(batch) == _BATCH_ROWS or characters + len(row) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(row)
        characters += len(row)
    if batch:
        yield batch


def _batch_call(batch: Sequence[str]) -> Call[tuple[int, int]]:
    rows = len(batch)
    request = Request("create_health_checks", {"checks": JsonText(f"[{','.join(batch)}]")})
    return Call(request, lambda answer: (rows, _inserted(answer)))
