"""What `pulsebase doctor` finds out about alerting: that alerts open, and that people are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from pulsebase.cli.alerts.channels import channel_state
from pulsebase.cli.alerts.wording import quoted
from pulsebase.cli.findings import Finding
from pulsebase.cli.text import age_text, joined, shortened, time_text
from pulsebase.errors import NotMigratedError, PulsebaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg

    from pulsebase.connection import Connection, Steps
    from pulsebase.models.alert_channel import AlertChannel
    from pulsebase.models.alert_delivery import WaitingDelivery
    from pulsebase.models.alert_message import AlertMessage

__all__ = ["alerting_findings"]

_TRIGGER: Final = "evaluate_new_checks"
_TRIGGER_STATE: Final = """
select trigger.tgenabled::text
from pg_catalog.pg_trigger as trigger
where trigger.tgrelid = to_regclass('public.service_health_checks')
    and trigger.tgname = %s
    and not trigger.tgisinternal
"""
_MIGRATED: Final = "select to_regprocedure('public.evaluate_new_checks()') is not null"
# Fires for everybody, or for all but what replication brings in.
_FIRING: Final = frozenset({"O", "A"})
_OVERDUE: Final = timedelta(hours=1)
_MOST: Final = 1000
_DAY: Final = timedelta(days=1)
_LONGEST_REASON: Final = 200
_DISPATCH: Final = "start: pulsebase run, or let cron run: pulsebase deliver"


def alerting_findings(connection: Connection) -> Iterator[Finding]:
    """Whether alerts open and channels are told; nothing where alerting is not migrated yet."""
    from pulsebase.migrations.doors import DirectTransport

    try:
        if isinstance(connection.transport, DirectTransport):
            with connection.transport.connection() as session:
                yield from _trigger(session)
        yield from _channels(connection)
    except NotMigratedError:
        return  # the findings on migrations say so
    except PulsebaseError as error:
        text, _, advice = str(error).partition("; ")
        yield Finding("alerts", "problem", text, advice)


def _trigger(session: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Without the trigger checks are stored, and no alert ever opens."""
    migrated = session.execute(_MIGRATED).fetchone()
    if not (migrated and migrated[0]):
        return
    state = session.execute(_TRIGGER_STATE, [_TRIGGER]).fetchone()
    if state is None:
        text = f"the trigger {_TRIGGER} is missing: checks are stored, and no alert opens"
        statement = (
            f"create trigger {_TRIGGER} after insert on public.service_health_checks referencing "
            f"new table as new_checks for each statement execute function public.{_TRIGGER}()"
        )
        yield Finding("alerts", "problem", text, f"execute: {statement}")
    elif state[0] not in _FIRING:
        text = f"the trigger {_TRIGGER} is disabled: checks are stored, and no alert opens"
        statement = f"alter table public.service_health_checks enable trigger {_TRIGGER}"
        yield Finding("alerts", "problem", text, f"execute: {statement}")
    else:
        yield Finding("alerts", "ok", "new checks are evaluated")


def _channels(connection: Connection) -> Iterator[Finding]:
    from pulsebase.models.alert_channel import AlertChannelModel

    channels = AlertChannelModel.find_all(connection)
    published = [channel for channel in channels if channel.is_published]
    if not channels:
        text = "there are no channels: alerts open and are told to nobody"
        yield Finding("channels", "ok", text, "write [[channels]] into the configuration file")
        return
    yield from map(_disabled, (each for each in channels if channel_state(each) == "disabled"))
    yield from connection.run(_deliveries(channels))
    if published and all(channel_state(each) == "ready" for each in published):
        yield Finding("channels", "ok", f"{joined([each.name for each in published])}: ready")


def _disabled(channel: AlertChannel) -> Finding:
    reason = shortened(" ".join((channel.disabled_reason or "").split()), _LONGEST_REASON)
    owed = channel.waiting_count + channel.unfinished_count
    waiting = f"; {owed:,} for it wait" if owed else ""
    text = f"{channel.name} is disabled since {time_text(channel.disabled_at)}: {reason}{waiting}"
    remedy = f"mend it, then run: pulsebase alerts enable {quoted(channel.name)}"
    if channel.is_published and channel.refusals_in_a_row:
        return Finding("channels", "problem", text, remedy)
    return Finding("channels", "warning", text, remedy)  # somebody meant it, or it is gone


def _deliveries(channels: Sequence[AlertChannel]) -> Steps[list[Finding]]:
    """What is dead, what is late, and whether anybody delivers."""
    from pulsebase.models.alert_message import AlertMessageModel
    from pulsebase.models.monitor import MonitorModel

    dead: list[AlertMessage] = yield AlertMessageModel.find.call(status="dead", limit=_MOST)
    unfinished: list[AlertMessage] = yield AlertMessageModel.find.call(
        status="pending", limit=_MOST
    )
    waiting = yield from AlertMessageModel.find_waiting.steps()
    newest: list[AlertMessage] = yield AlertMessageModel.find.call(limit=1)
    monitors = yield MonitorModel.find_all.call()
    ready = {each.name for each in channels if channel_state(each) == "ready"}
    now = datetime.now(UTC)
    found = [*_dead(dead), *_late(unfinished, waiting, ready, now)]
    runs = any(monitor.gone_at is None and not monitor.is_silent for monitor in monitors)
    recently = bool(newest) and now - newest[0].created_at < _DAY
    if ready and not runs and not recently and not found:
        text = "no monitor runs, and no message was sent for a day: maybe nobody delivers"
        found.append(Finding("deliveries", "warning", text, _DISPATCH))
    return found


def _dead(dead: Sequence[AlertMessage]) -> Iterator[Finding]:
    if not dead:
        return
    names = joined(sorted({message.channel for message in dead}))
    many = f"{_counted(len(dead), 'message')} to {names} {'is' if len(dead) == 1 else 'are'} dead"
    newest = dead[0]
    why = f"; the last answer: {' '.join(newest.last_error.split())}" if newest.last_error else ""
    text = shortened(f"{many}{why}", _LONGEST_REASON)
    yield Finding("deliveries", "warning", text, "run: pulsebase alerts replay --all-dead")


def _late(
    unfinished: Iterable[AlertMessage],
    waiting: Iterable[WaitingDelivery],
    ready: set[str],
    now: datetime,
) -> Iterator[Finding]:
    """What nothing holds back and is not told for an hour; a disabled channel has its finding."""
    tried = [each for each in unfinished if each.channel in ready and each.attempts]
    untried = [
        each.created_at for each in unfinished if each.channel in ready and not each.attempts
    ]
    untried += [
        each.due_at for each in waiting if each.hold_reason is None and each.channel in ready
    ]
    if late := [moment for moment in untried if now - moment > _OVERDUE]:
        text = f"{_counted(len(late), 'delivery', 'deliveries')} due for {_age(min(late), now)}"
        yield Finding("deliveries", "problem", f"{text}: nobody delivers", _DISPATCH)
    if failing := [each for each in tried if now - each.created_at > _OVERDUE]:
        oldest = min(failing, key=lambda each: each.created_at)
        why = " ".join((oldest.last_error or "no answer").split())
        text = (
            f"{_counted(len(failing), 'message')} tried for {_age(oldest.created_at, now)}: {why}"
        )
        remedy = "see: pulsebase alerts deliveries --status pending"
        yield Finding("deliveries", "problem", shortened(text, _LONGEST_REASON), remedy)


def _age(moment: datetime, now: datetime) -> str:
    return age_text((now - moment).total_seconds())


def _counted(count: int, thing: str, things: str = "") -> str:
    more = "+" if count == _MOST else ""
    return f"{count:,}{more} {thing if count == 1 else things or f'{thing}s'}"
