"""Apply migration files, each exactly once, however many runners there are.

A runner that finds the lock taken does not wait inside the database: a session that waits holds a
snapshot, and CREATE INDEX CONCURRENTLY in the runner that holds the lock would wait for it. It
asks again a moment later.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pulsebase.errors import DatabaseError, LockTimeoutError, MigrationError, SerializationError
from pulsebase.migrations import envelope
from pulsebase.migrations.doors import DirectDoor, DirectTransport, Door
from pulsebase.migrations.journal import Journal, read_journal, record_statement
from pulsebase.migrations.outside import execute_statements, refuse_pooler, session_lock
from pulsebase.migrations.plan import Plan, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pulsebase.connection import Connection
    from pulsebase.migrations.catalog import Catalog, MigrationFile
    from pulsebase.migrations.envelope import Envelope
    from pulsebase.transports.request import Transport

__all__ = ["Applied", "AppliedFile", "Migrator", "Step", "Verdict"]

Outcome = Literal["applied", "present", "recorded"]

_DURATION = "round(extract(epoch from clock_timestamp() - began) * 1000)::bigint"
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.4
_ATTEMPTS = 5
_SHOWN_NAMES = 3
# What CREATE TABLE IF NOT EXISTS answers when two sessions race: duplicate key, duplicate table.
_MADE_MEANWHILE = frozenset({"23505", "42P07", "40001"})


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """A file that is now applied.

    `present` says that another runner was faster, `recorded` that it was not run (a baseline).
    """

    id: str
    outcome: Outcome
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """What a run did, file by file, in order. `advice` is there when something is left to do."""

    files: tuple[AppliedFile, ...] = ()
    advice: str = ""

    @property
    def count(self) -> int:
        """How many files this runner applied itself."""
        return sum(file.outcome != "present" for file in self.files)


@dataclass(frozen=True, slots=True)
class Step:
    """The file that is about to be applied: number `number` of `total`."""

    file: MigrationFile
    number: int
    total: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the database is as the files say; each problem is a sentence."""

    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Everything is applied, nothing was edited."""
        return not self.problems


class Migrator:
    """Brings a database to the state of the files.

    `wait_seconds` bounds the wait for another runner, `lock_timeout_seconds` the wait for a table
    that the application holds: a statement that queues for a table blocks everybody behind it.
    """

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        *,
        wait_seconds: float = 3600.0,
        lock_timeout_seconds: float = 4.0,
    ) -> None:
        self._connection = connection
        self._catalog = catalog
        self._wait_seconds = wait_seconds
        self._lock_timeout_seconds = lock_timeout_seconds

    def plan(self) -> Plan:
        """What `apply` would do, and what it would refuse; changes nothing."""
        with self._door() as door:
            return self._compared(door, read_journal(door.look()))

    def verify(self) -> Verdict:
        """Whether everything is applied and nothing was edited since; changes nothing."""
        plan = self.plan()
        pending = (
            f"{file.source} is not applied; run: pulsebase db migrate" for file in plan.pending
        )
        return Verdict(problems=(*plan.refusals, *pending))

    def apply(self, progress: Callable[[Step], None] | None = None) -> Applied:
        """Apply all pending files in order, each in one transaction.

        Raises MigrationError before anything is applied when the plan has refusals, and when a
        file fails: then the files before it are applied, of it nothing.
        """
        with self._door() as door:
            journal = read_journal(door.look())
            plan = self._compared(door, journal)
            _refuse(plan)
            if not plan.pending:
                return Applied()
            _refuse_pooler(door, plan)
            journal = self._prepared(door, journal)
            files = tuple(self._applied(door, journal, plan.pending, progress))
            return Applied(files=files, advice=self._advice(door, plan.pending))

    def baseline(self, up_to: str) -> Applied:
        """Record the files up to the id (or number) `up_to` as applied without running them."""
        with self._door() as door:
            journal = read_journal(door.look())
            plan = self._compared(door, journal)
            files = _until(self._catalog.files, up_to)
            pending = [file for file in files if file in plan.pending]
            if not pending:
                return Applied()
            journal = self._prepared(door, journal)
            return Applied(tuple(self._recorded(door, journal, file) for file in pending))

    def _compared(self, door: Door, journal: Journal) -> Plan:
        return compare(self._catalog, journal, over_https=door.over_https)

    def _prepared(self, door: Door, journal: Journal) -> Journal:
        if journal.complete:
            return journal
        try:
            self._sent(door, envelope.prepare(door.manner))
        except DatabaseError as error:
            # Somebody who does not take our lock may have made it in between.
            made = read_journal(door.look())
            if error.code in _MADE_MEANWHILE and made.complete:
                return made
            raise
        return read_journal(door.look())

    def _applied(
        self,
        door: Door,
        journal: Journal,
        files: Sequence[MigrationFile],
        progress: Callable[[Step], None] | None,
    ) -> Iterator[AppliedFile]:
        for number, file in enumerate(files, 1):
            if progress:
                progress(Step(file=file, number=number, total=len(files)))
            if file.transaction:
                yield self._file(door, journal, file, durable=number == len(files))
            else:
                yield self._outside(door, journal, file)

    def _file(
        self, door: Door, journal: Journal, file: MigrationFile, *, durable: bool
    ) -> AppliedFile:
        sent = envelope.apply(
            file,
            manner=door.manner,
            record=record_statement(file, journal, duration=_DURATION),
            lock_timeout_seconds=self._lock_timeout_seconds,
            durable=durable,
        )
        try:
            answer = self._sent(door, sent, file)
        except (MigrationError, LockTimeoutError, SerializationError) as error:
            # It may have failed because another runner did it: then it is done.
            if self._is_recorded(door, file):
                return AppliedFile(file.id, "present")
            raise MigrationError(str(error)) from error
        return _applied_file(file, answer)

    def _recorded(
        self, door: Door, journal: Journal, file: MigrationFile, *, duration: str = "null"
    ) -> AppliedFile:
        sent = envelope.apply(
            file,
            manner=door.manner,
            record=record_statement(file, journal, duration=duration),
            lock_timeout_seconds=self._lock_timeout_seconds,
            execute=False,
        )
        return _applied_file(file, self._sent(door, sent, file), outcome="recorded")

    def _outside(self, door: Door, journal: Journal, file: MigrationFile) -> AppliedFile:
        if not isinstance(door, DirectDoor):
            msg = f"{file.source} asks for no transaction; apply it over a direct connection"
            raise MigrationError(msg)
        deadline = time.monotonic() + self._wait_seconds
        for pause in pauses():
            with session_lock(door.connection) as ours:
                if ours and self._is_recorded(door, file):
                    return AppliedFile(file.id, "present")
                if ours:
                    began = time.monotonic()
                    execute_statements(door.connection, file)
                    duration_ms = round((time.monotonic() - began) * 1000)
                    self._recorded(door, journal, file, duration=str(duration_ms))
                    return AppliedFile(file.id, "applied", duration_ms)
            _pause(pause, deadline, self._wait_seconds)
        raise AssertionError

    def _sent(
        self, door: Door, sent: Envelope, file: MigrationFile | None = None
    ) -> Mapping[str, Any]:
        """Send until the lock was ours; a file that met a lock of the application tries again."""
        deadline = time.monotonic() + self._wait_seconds
        attempt = 0
        for pause in pauses():
            try:
                answer = door.send(sent, file)
            except (LockTimeoutError, SerializationError):
                attempt += 1
                if attempt >= _ATTEMPTS:
                    raise
            else:
                if answer.get("outcome") != "busy":
                    return answer
            _pause(pause, deadline, self._wait_seconds)
        raise AssertionError

    def _is_recorded(self, door: Door, file: MigrationFile) -> bool:
        records = read_journal(door.look()).records
        return any(record.id == file.id and record.checksum == file.checksum for record in records)

    def _advice(self, door: Door, files: Sequence[MigrationFile]) -> str:
        """What is left to do when PostgREST does not see what was made."""
        unserved = door.unserved(files)
        return _stale_advice(unserved) if unserved else ""

    @contextmanager
    def _door(self) -> Iterator[Door]:
        transport = self._connection.transport
        if isinstance(transport, DirectTransport):
            with transport.connection() as connection:
                yield DirectDoor(connection, transport)
        else:
            yield _https_door(transport)


def _https_door(transport: Transport) -> Door:
    from pulsebase.transports.postgrest import PostgrestTransport

    if not isinstance(transport, PostgrestTransport):
        msg = (
            "migrations need a connection of their own, not one that an application has open; "
            "give a URL to pulsebase.connect()"
        )
        raise MigrationError(msg)
    from pulsebase.migrations.https import HttpsDoor

    return HttpsDoor(transport)


def pauses() -> Iterator[float]:
    """Seconds between two looks at a lock: short at first, and never the same for two runners."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 -- not a secret
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def busy_message(wait_seconds: float) -> str:
    """What to say when another runner does not come to an end."""
    return (
        f"another migration has been running for more than {wait_seconds:g} s; wait for it, or "
        "look for its session in pg_stat_activity, where application_name is pulsebase"
    )


def _refuse(plan: Plan) -> None:
    if plan.refusals:
        raise MigrationError("\n".join(plan.refusals))


def _refuse_pooler(door: Door, plan: Plan) -> None:
    outside = [file for file in plan.pending if not file.transaction]
    if outside and isinstance(door, DirectDoor):
        refuse_pooler(door, outside[0])


def _applied_file(
    file: MigrationFile, answer: Mapping[str, Any], *, outcome: Outcome = "applied"
) -> AppliedFile:
    if answer.get("outcome") == "present":
        return AppliedFile(file.id, "present")
    return AppliedFile(file.id, outcome, answer.get("duration_ms"))


def _pause(seconds: float, deadline: float, wait_seconds: float) -> None:
    if time.monotonic() > deadline:
        raise MigrationError(busy_message(wait_seconds))
    time.sleep(seconds)


def _stale_advice(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_NAMES]) + (" …" if len(names) > _SHOWN_NAMES else "")
    return (
        f"everything is applied, but the API does not know it yet ({shown}); "
        "execute NOTIFY pgrst, 'reload schema' in the SQL editor, or restart the API server"
    )


def _until(files: Sequence[MigrationFile], up_to: str) -> list[MigrationFile]:
    wanted = up_to.removesuffix(".sql")
    for index, file in enumerate(files):
        if wanted in {file.id, f"{file.number:03d}"}:
            return list(files[: index + 1])
    msg = f"there is no migration {up_to}; give its number or its name, like 012"
    raise MigrationError(msg)
