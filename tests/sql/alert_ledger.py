"""Random histories of everything that alerting knows, and the books that are kept of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.sql.alert_ledger_rules import BEGINNINGS, Ledger, Owed, assert_rate
from tests.sql.alert_ledger_world import (
    AGE,
    AHEAD,
    CHANNELS,
    OWED,
    PARENTS,
    REMIND_SECONDS,
    ROUTES,
    RULES,
    TABLES,
    Silence,
    World,
)
from tests.sql.alerting import AT_ONCE, Alerting

if TYPE_CHECKING:
    import psycopg

__all__ = ["Books"]

_GAP = 500  # longer than a service can be flapping without a change

_SERVICE = st.sampled_from(sorted(PARENTS))
_CHANNEL = st.sampled_from(CHANNELS)
_OUTCOMES = st.lists(
    st.sampled_from(["delivered", "delivered", "delivered", "failed", "refused", "never"]),
    min_size=1,
    max_size=4,
)
_STATUS = st.sampled_from(["healthy", "healthy", "down", "down", "degraded"])


class Books(RuleBasedStateMachine):
    """One history, and what must hold at each step of it."""

    database: ClassVar[Alerting]

    def __init__(self) -> None:
        super().__init__()
        self.alerting = self.database.restarted()
        self.world = World()
        self.ledger = Ledger()
        self.channel_rules: dict[str, dict[str, Any]] = {}
        self.under_way: list[dict[str, Any]] = []
        # By how much the deliveries of each new message were made into it too early.
        self.early: dict[str, list[float]] = {}
        self.formed_at: dict[str, dict[str, datetime]] = {name: {} for name in CHANNELS}
        for table in TABLES:
            self.execute(f"delete from {table}")  # noqa: S608 -- our own names

    @initialize(
        rules=st.tuples(RULES, RULES, RULES),
        routes=ROUTES,
        flapping=st.sampled_from([0, 2, 4]),
        opens_after=st.sampled_from([1, 1, 2]),
    )
    def begin(
        self, rules: Any = (), routes: Any = (), flapping: int = 0, opens_after: int = 1
    ) -> None:
        for name, given in zip(CHANNELS, rules, strict=False):
            limit, period = given["rate"]
            columns = {**given, "rate_limit": limit, "rate_period_seconds": period}
            del columns["rate"]
            self.channel_rules[name] = columns
            self.alerting.channel(name, **columns)
        for route in routes:
            self.alerting.route(*route["channels"], **{**route, "channels": route["channels"]})
        for name, parents in PARENTS.items():
            policy = {"flapping_changes": flapping, "flapping_within_seconds": 100}
            opening = {"down_open_checks": opens_after, "degraded_open_checks": opens_after}
            self.alerting.service(name, {**AT_ONCE, **policy, **opening}, depends_on=parents)

    @rule(service=_SERVICE, status=_STATUS, gap=st.sampled_from([1, 1, 1, _GAP]))
    def check(self, service: str, status: str, gap: int = 1) -> None:
        for _ in range(gap - 1):
            self.alerting.moment()
        spoken = self.spoken(service)
        self.alerting.check(service, status)
        troubled = status != "healthy" or self.alerting.status(service) != "healthy"
        (self.world.troubled.add if troubled else self.world.troubled.discard)(service)
        self.keep_promises(service, spoken)

    @rule(
        services=st.lists(_SERVICE, min_size=1, max_size=3),
        status=_STATUS,
        seconds=st.sampled_from([5, 130, 400]),
        outcomes=_OUTCOMES,
    )
    def go_on(self, services: list[str], status: str, seconds: int, outcomes: Any) -> None:
        """What happens most: checks, and a while later somebody delivers."""
        for service in services:
            self.check(service, status)
        self.pass_time(seconds)
        self.claim(outcomes=outcomes)

    @rule(service=_SERVICE, changes=st.integers(2, 5), is_heard=st.booleans())
    def flap(self, service: str, changes: int, *, is_heard: bool) -> None:
        """It comes and goes."""
        for number in range(changes):
            self.check(service, "healthy" if number % 2 else "down")
            if is_heard:
                self.pass_time(30)
                self.claim()

    @rule(service=_SERVICE)
    def resolve(self, service: str) -> None:
        spoken = self.spoken(service)
        done = self.execute(
            "select resolve_alert_event(id, actor => 'somebody') from alert_events"
            " where service_name = %s and status = 'active'",
            [service],
        ).fetchall()
        if done:
            self.world.troubled.discard(service)
        self.keep_promises(service, spoken)

    @rule(
        pattern=st.sampled_from(["*", "db", "a*", "web", "lone"]),
        kind=st.sampled_from(["silence", "maintenance"]),
        seconds=st.sampled_from([None, None, 100]),
    )
    def silence(self, pattern: str, kind: str = "silence", seconds: int | None = None) -> None:
        silence_id = self.alerting.silence(pattern, kind=kind)
        if seconds is not None:
            self.execute(
                "update alert_silence_periods set ends_at = clock_timestamp() + %s"
                " where silence_id = %s",
                [timedelta(seconds=seconds), silence_id],
            )
        ends_at = float("inf") if seconds is None else self.world.now + seconds
        self.world.silences.append(Silence(silence_id, pattern, ends_at))

    @precondition(lambda self: self.world.silences)
    @rule(number=st.integers(0, 5))
    def lift(self, number: int = 0) -> None:
        silences = self.world.silences
        silence = silences.pop(number % len(silences))
        self.execute("select lift_alert_silence(%s)", [silence.id])

    @rule(service=_SERVICE, is_seen=st.sampled_from([True, True, False]))
    def acknowledge(self, service: str, *, is_seen: bool = True) -> None:
        function = "acknowledge_alert_event" if is_seen else "unacknowledge_alert_event"
        rows = self.execute(
            f"select id::text, {function}(id, 'somebody') from alert_events"  # noqa: S608 -- ours
            " where service_name = %s and status = 'active'",
            [service],
        ).fetchall()
        change = (
            self.world.acknowledged.update if is_seen else self.world.acknowledged.difference_update
        )
        change(row[0] for row in rows)

    @rule(channel=_CHANNEL, is_published=st.booleans())
    def publish(self, channel: str, *, is_published: bool) -> None:
        self.execute(
            "update alert_channels set is_published = %s where name = %s", [is_published, channel]
        )
        (self.world.published.add if is_published else self.world.published.discard)(channel)

    @rule(channel=_CHANNEL, is_enabled=st.booleans())
    def enable(self, channel: str, *, is_enabled: bool) -> None:
        function = "enable_alert_channel" if is_enabled else "disable_alert_channel"
        self.execute(f"select {function}(%s)", [channel])
        (self.world.enabled.add if is_enabled else self.world.enabled.discard)(channel)

    @rule(seconds=st.sampled_from([5, 30, 130, 400, 4000]))
    def pass_time(self, seconds: int) -> None:
        time = timedelta(seconds=seconds)
        self.alerting.pass_time(seconds=seconds)
        for statement in AGE.split(";"):
            self.execute(statement, {"time": time})
        self.world.now += seconds
        for formed in self.formed_at.values():
            formed.update({message: moment - time for message, moment in formed.items()})

    @rule(
        channels=st.sampled_from([CHANNELS, CHANNELS, ("a",), ("b", "c")]),
        outcomes=_OUTCOMES,
    )
    def claim(self, channels: tuple[str, ...] = CHANNELS, outcomes: Any = ("delivered",)) -> None:
        self.observe()
        begun = self.moment()
        claimed = self.alerting.claim(*channels)
        self.assert_in_order(claimed)
        self.observe(claiming=True)
        self.assert_nothing_was_forgotten(set(channels) & self.world.enabled, begun)
        for number, message in enumerate(claimed):
            outcome = outcomes[number % len(outcomes)]
            if outcome == "never":
                self.under_way.append(message)
            else:
                self.alerting.finish(message, outcome)
        self.look_for_disabled()

    @precondition(lambda self: self.under_way)
    @rule(outcome=st.sampled_from(["delivered", "failed", "refused"]))
    def report_late(self, outcome: str) -> None:
        self.alerting.finish(self.under_way.pop(0), outcome)
        self.look_for_disabled()

    @rule()
    def replay(self) -> None:
        self.execute("select replay_alert_message(id) from alert_messages where status = 'dead'")

    @precondition(lambda self: len(self.world.published) == len(CHANNELS))
    @rule()
    def prune(self) -> None:
        """Tidy away what was over an hour ago; what waits for a channel that is gone would go."""
        self.observe()
        self.execute("select delete_alert_messages_older_than(now() - interval '1 hour')")
        self.observe(pruning=True)

    def look_for_disabled(self) -> None:
        rows = self.execute("select name from alert_channels where disabled_at is null").fetchall()
        self.world.enabled = {row[0] for row in rows}

    def observe(self, *, claiming: bool = False, pruning: bool = False) -> None:
        """Enter what is new into the books."""
        rows = self.owed()
        formed = self.ledger.take(rows, allow_pruned=pruning)
        self.early = {}
        assert claiming or not formed, f"{formed} without a claim"
        for row in formed:
            self.assert_may_be_told(row)
            assert row.formed_at is not None
            self.formed_at[row.channel][str(row.message_id)] = row.formed_at
        for too_early in self.early.values():
            assert min(too_early) <= 0, "a message before its window was over"
        self.ledger.tell(formed)
        for name, formed_at in self.formed_at.items():
            assert_rate(formed_at.values(), self.channel_rules.get(name, {}))

    def owed(self) -> list[Owed]:
        cursor = self.execute(OWED)
        names = [column.name for column in cursor.description or ()]
        return [Owed(**dict(zip(names, row, strict=True))) for row in cursor.fetchall()]

    def moment(self) -> datetime:
        moment: datetime = self.alerting.value("select clock_timestamp()")
        return moment

    def spoken(self, service: str) -> set[str]:
        """What of a service is as good as told."""
        moment = self.moment()
        return {
            row.id
            for row in self.owed()
            if row.service_name == service
            and row.kind in (*BEGINNINGS, "flapping_ended")
            and self.world.lets_speak(row, moment)
        }

    def keep_promises(self, service: str, spoken: set[str]) -> None:
        """After a change: what was as good as told is owed still, everything else is dropped."""
        known = set(self.ledger.known)
        self.observe()
        rows = [row for row in self.ledger.present if row.service_name == service]
        for row in rows:
            # What begins and ends with one check, when flapping ends just then.
            is_short = row.id not in known and row.kind == "opened" and row.is_waiting
            if row.id in spoken or is_short:
                assert row.cancelled_at is None, f"{row} was as good as told"
                if is_over(row, rows):
                    self.ledger.promised.add(row.id)
            elif row.kind in BEGINNINGS and row.is_waiting and row.id not in self.ledger.promised:
                assert not is_over(row, rows), f"{row} is over"

    def assert_may_be_told(self, row: Owed) -> None:
        """Nothing held this back, or it was as good as told when something began to."""
        is_free = not self.world.holds(row) and row.channel in self.world.published
        is_end = row.kind in ("resolved", "flapping_ended")
        assert is_end or is_free or row.id in self.ledger.promised, f"{row} was held"
        assert row.channel in self.world.enabled, f"{row} on a channel that is disabled"
        assert row.formed_at is not None
        window = self.channel_rules[row.channel]["group_window_seconds"]
        waited = (row.formed_at - row.ready_at).total_seconds()
        self.early.setdefault(str(row.message_id), []).append(window * 0.9 - waited)
        if row.kind == "reminder":
            self.assert_reminder(row)

    def assert_reminder(self, row: Owed) -> None:
        """A reminder comes when the one before was finished long enough ago."""
        assert row.is_active, f"{row} of what is over"
        earlier = [
            one
            for one in self.ledger.present
            if (one.event_id, one.channel) == (row.event_id, row.channel)
            and one.created_at < row.created_at
            and one.cancelled_at is None
        ]
        last = max(earlier, key=lambda one: one.created_at)
        assert last.finished_at is not None, f"{row} before {last} was finished"
        waited = (row.created_at - last.finished_at).total_seconds()
        assert waited >= REMIND_SECONDS * 0.99, f"{row} after {waited} s"

    def assert_in_order(self, claimed: list[Any]) -> None:
        ahead = self.alerting.value(AHEAD, [[message["id"] for message in claimed]])
        assert ahead == 0, "a message was sent before an earlier one about its service"

    def assert_nothing_was_forgotten(self, channels: set[str], begun: datetime) -> None:
        """After a claim: what may go has gone, and who is to be reminded is."""
        for row in self.ledger.present:
            if row.channel in channels and row.is_waiting and row.due_at <= begun:
                self.assert_has_to_wait(row, begun)
        last = {}
        for row in sorted(self.ledger.present, key=lambda row: row.created_at):
            if row.cancelled_at is None and row.is_active:
                last[row.event_id, row.channel] = row
        for row in last.values():
            if row.channel in channels & self.world.published and row.finished_at:
                waited = (begun - row.finished_at).total_seconds()
                is_due = waited >= (self.channel_rules[row.channel]["remind_every_seconds"] or 1e9)
                is_held = self.world.holds(row, as_kind="reminder")
                assert is_held or not is_due, f"nobody was reminded of {row}"

    def assert_has_to_wait(self, row: Owed, begun: datetime) -> None:
        rules = self.channel_rules[row.channel]
        is_end = row.kind in ("resolved", "flapping_ended") or row.id in self.ledger.promised
        is_held = self.world.holds(row) or row.channel not in self.world.published
        is_early = (begun - row.ready_at).total_seconds() < rules["group_window_seconds"]
        period = rules["rate_period_seconds"] or 0
        formed = [
            one
            for one in set(self.formed_at[row.channel].values())
            if (begun - one).total_seconds() < period
        ]
        is_limited = len(formed) >= (rules["rate_limit"] or 1e9)
        assert (is_held and not is_end) or is_early or is_limited, f"{row} was forgotten"

    def teardown(self) -> None:
        """Everything is healed, released and delivered."""
        if self.channel_rules:
            self.release()
            for services in (("db", "lone"), ("api",), ("web",)):
                self.settle()
                waiting = [row for row in self.owed() if row.is_waiting]
                # Who has acknowledged the alert at which flapping began has seen that it flaps.
                held = [row for row in waiting if not self.world.holds(row)]
                assert not held, f"{held} wait for nothing"
                for service in services:
                    self.check(service, "healthy", gap=_GAP)
                    self.check(service, "healthy", gap=_GAP)
            self.settle()
            self.observe()
            self.ledger.assert_all_is_over()

    def release(self) -> None:
        """Nothing holds anything back but parents."""
        while self.world.silences:
            self.lift()
        for service in PARENTS:
            self.acknowledge(service, is_seen=False)
        for channel in CHANNELS:
            self.publish(channel, is_published=True)
            self.enable(channel, is_enabled=True)
        self.execute("update alert_channels set remind_every_seconds = null where true")
        for rules in self.channel_rules.values():
            rules["remind_every_seconds"] = None

    def settle(self) -> None:
        """Deliver all that may go, by and by."""
        for _ in range(20):
            self.pass_time(700)
            self.claim()
            rows = self.owed()
            if all(row.is_finished or (row.is_waiting and self.world.holds(row)) for row in rows):
                return

    def execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self.alerting.connection.execute(query.encode(), parameters)


def is_over(beginning: Owed, rows: list[Owed]) -> bool:
    """Whether its end is owed; of a service that flaps alerts end while nobody is told."""
    if beginning.kind == "opened":
        return not beginning.is_active
    return any(
        row.channel == beginning.channel
        and row.kind in ("resolved", "flapping_ended")
        and row.created_at > beginning.created_at
        for row in rows
    )
