"""`pulsebase alerts acts`: who did what, when and why."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.alerts.answers import id_in
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.alerts.wording import matcher_words
from pulsebase.cli.options import DatabaseCommand, current_options
from pulsebase.cli.output import Column, print_json, tell
from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Call, Connection, Steps
    from pulsebase.models.alert_act import AlertAct
    from pulsebase.models.alert_silence import AlertSilence

__all__ = ["acts", "print_acts"]

_COLUMNS: Final = (
    Column("AT"),
    Column("BY"),
    Column("ACT"),
    Column("ABOUT", rank=1),
    Column("NOTE", rank=2),
    Column("UNTIL", rank=3),
    Column("ID", rank=4),
)
_DEFAULT_LIMIT: Final = 100
# Which services a silence is for takes a request for each silence.
_MOST_SILENCES: Final = 200


@click.command("acts", cls=DatabaseCommand)
@click.argument("reference", metavar="[SERVICE|ID]", required=False)
@click.option(
    "--limit",
    type=click.IntRange(min=1, max=1_000_000_000),
    default=_DEFAULT_LIMIT,
    metavar="N",
    help="At most so many, the newest (100).",
)
def acts(reference: str | None, limit: int) -> None:
    """Show who did what about alerts, newest first.

    Only what concerns a SERVICE, or the alert, silence or message with this ID.
    """
    options = current_options()
    with options.connect() as connection:
        found = _find(connection, reference, limit + 1)
        silences = {} if options.json else connection.run(_silences(found[:limit]))
    if options.json:
        print_json({"alert_acts": found[:limit]})
        return
    if not found:
        tell(f"nobody has done anything about {'alerts' if reference is None else reference}")
        return
    print_acts(found[:limit], silences)
    if len(found) > limit:
        tell(f"only the newest {limit:,} are shown; --limit shows more")


def print_acts(found: Sequence[AlertAct], silences: Mapping[UUID, AlertSilence]) -> None:
    """Print a table of acts; of silences that are given, with their services."""
    print_texts(_COLUMNS, [_row(act, silences) for act in found], ["ABOUT", "NOTE"])


def _find(connection: Connection, reference: str | None, limit: int) -> list[AlertAct]:
    from pulsebase.models.alert_act import AlertActModel

    sought = id_in(reference) if reference else None
    if sought is not None:
        for pages in (
            AlertActModel.iterate(connection, event_id=sought),
            AlertActModel.iterate(connection, silence_id=sought),
            AlertActModel.iterate(connection, message_id=sought),
        ):
            if some := list(islice(pages, limit)):
                return some
    return list(islice(AlertActModel.iterate(connection, service_name=reference), limit))


def _silences(found: Sequence[AlertAct]) -> Steps[dict[UUID, AlertSilence]]:
    from pulsebase.connection import Many
    from pulsebase.models.alert_silence import AlertSilenceModel

    ids = dict.fromkeys(act.silence_id for act in found if act.silence_id is not None)
    calls: list[Call[AlertSilence | None]] = [
        AlertSilenceModel.find_by_id.call(each) for each in islice(ids, _MOST_SILENCES)
    ]
    silences: list[AlertSilence | None] = (yield Many(calls)) if calls else []
    return {silence.id: silence for silence in silences if silence is not None}


def _row(act: AlertAct, silences: Mapping[UUID, AlertSilence]) -> list[Cell]:
    identifier = act.silence_id or act.message_id or act.event_id
    return [
        time_text(act.acted_at),
        act.actor,
        act.act.replace("_", " "),
        _about(act, silences),
        act.note or "",
        time_text(act.until),
        str(identifier or ""),
    ]


def _about(act: AlertAct, silences: Mapping[UUID, AlertSilence]) -> str:
    if act.silence_id is not None:
        silence = silences.get(act.silence_id)
        return "a silence" if silence is None else matcher_words(silence.matcher)
    if act.channel is not None:
        of_it = f"{act.service_name} to " if act.service_name else ""
        return f"{of_it}{act.channel}"
    return act.service_name or ""
