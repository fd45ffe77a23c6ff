"""`pulsebase alerts silences` and `lift`: what keeps channels quiet, and its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from pulsebase.cli.alerts.answers import act_options, actor_of, id_in, meant
from pulsebase.cli.alerts.tables import print_texts
from pulsebase.cli.alerts.wording import matcher_words, schedule_words, silence_state, state_words
from pulsebase.cli.options import DatabaseCommand, Failure, current_options
from pulsebase.cli.output import Column, print_json, print_line, status_cell, tell
from pulsebase.cli.text import time_text
from pulsebase.errors import NotFoundError

if TYPE_CHECKING:
    from uuid import UUID

    from pulsebase.cli.output import Cell
    from pulsebase.connection import Connection
    from pulsebase.models.alert_silence import AlertSilence

__all__ = ["lift", "silences"]

_COLUMNS: Final = (
    Column("SERVICES"),
    Column("KIND", rank=4),
    Column("STATE"),
    Column("FROM", rank=3),
    Column("UNTIL", rank=2),
    Column("AGAIN", rank=6),
    Column("BY", rank=5),
    Column("NOTE", rank=7),
    Column("NAME OR ID", rank=1),
)
_TEXTS: Final = ("SERVICES", "AGAIN", "NOTE")
_STYLES: Final = {"active": "warning", "planned": "ok"}


@click.command("silences", cls=DatabaseCommand)
@click.option("--all", "everything", is_flag=True, help="Also those that are over or lifted.")
def silences(*, everything: bool) -> None:
    """Show silences and maintenance windows that hold now or will hold, newest first."""
    from pulsebase.models.alert_silence import AlertSilenceModel

    options = current_options()
    with options.connect() as connection:
        if everything:
            found = list(AlertSilenceModel.iterate(connection))
        else:
            found = AlertSilenceModel.find_open(connection)
    if options.json:
        print_json({"alert_silences": found})
    elif found:
        print_texts(_COLUMNS, [_row(silence) for silence in found], _TEXTS)
    elif everything:
        tell("nothing was ever silenced")
    else:
        tell("nothing is silenced, and nothing is planned")


@click.command("lift", cls=DatabaseCommand)
@click.argument("reference", metavar="ID|NAME")
@act_options
def lift(reference: str, by: str | None, note: str | None) -> None:
    """End a silence or maintenance window, by its ID or NAME; one that was lifted stays so.

    What it held back goes out, if the alert is still active.
    """
    from pulsebase.models.alert_silence import AlertSilenceModel

    options = current_options()
    actor, sought = actor_of(by), id_in(reference)
    with options.connect() as connection:
        was_lifted = _is_lifted(connection, sought)
        try:
            if sought is not None:
                lifted = AlertSilenceModel.lift(connection, sought, by=actor, note=note)
            else:
                lifted = AlertSilenceModel.lift(connection, name=reference, by=actor, note=note)
        except NotFoundError:
            raise Failure(_unknown(connection, reference)) from None
    if options.json:
        print_json(lifted)
    elif was_lifted:
        tell(f"{_named(lifted)} was lifted already at {_lifting(lifted)}")
    else:
        print_line(f"{_named(lifted)} lifted at {_lifting(lifted)}")


def _is_lifted(connection: Connection, sought: UUID | None) -> bool:
    from pulsebase.models.alert_silence import AlertSilenceModel

    if sought is None:
        return False
    found = AlertSilenceModel.find_by_id(connection, sought)
    return found is not None and found.lifted_at is not None


def _unknown(connection: Connection, reference: str) -> str:
    from pulsebase.models.alert_silence import AlertSilenceModel

    names = [each.name for each in AlertSilenceModel.find_open(connection) if each.name]
    advice = meant(reference, names, "see: pulsebase alerts silences")
    return f"there is no silence {reference!r}; {advice}"


def _named(silence: AlertSilence) -> str:
    what = "the maintenance window" if silence.kind == "maintenance" else "the silence"
    name = f" {silence.name!r}" if silence.name else ""
    return f"{what}{name} of {matcher_words(silence.matcher)}"


def _lifting(silence: AlertSilence) -> str:
    return f"{time_text(silence.lifted_at)} by {silence.lifted_by}"


def _row(silence: AlertSilence) -> list[Cell]:
    state = silence_state(silence)
    return [
        matcher_words(silence.matcher),
        silence.kind,
        status_cell(_STYLES.get(state, ""), state_words(silence)),
        time_text(silence.starts_at),
        time_text(silence.ends_at) if silence.ends_at or silence.is_over else "it is lifted",
        schedule_words(silence.schedule),
        silence.created_by,
        silence.note or "",
        silence.name or str(silence.id),
    ]
