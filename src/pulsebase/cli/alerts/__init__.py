"""`pulsebase alerts`: what somebody should look at, what people do about it, and who was told.

answers    the options that commands share: who acts, until when, which alert
standing   an alert with all that quiets it
parents    what a service depends on and is not well
wording    silences in words
tables     tables with long texts in them
listing    list
showing    show
acting     ack, unack, resolve
acts       acts
silencing  silence, maintenance
silences   silences, lift
messages   deliveries, replay
channels   channels, enable, disable
"""

from __future__ import annotations

import click

from pulsebase.cli.alerts import (
    acting,
    acts,
    channels,
    listing,
    messages,
    showing,
    silences,
    silencing,
)
from pulsebase.cli.options import DatabaseGroup

__all__ = ["alerts"]


class _InOrder(DatabaseGroup):
    """Lists its commands in the order in which they are needed, with whole sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 -- click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(each)) for name, each in self.commands.items()])


def _summary(command: click.Command) -> str:
    return " ".join((command.help or "").partition("\n\n")[0].split())


@click.group(cls=_InOrder)
def alerts() -> None:
    """See alerts, acknowledge, resolve and silence them, and see who was told."""


for _command in (
    listing.list_alerts,
    showing.show,
    acting.acknowledge,
    acting.unacknowledge,
    acting.resolve,
    acts.acts,
    silencing.silence,
    silencing.maintenance,
    silences.silences,
    silences.lift,
    messages.deliveries,
    messages.replay,
    channels.channels,
    channels.enable,
    channels.disable,
):
    alerts.add_command(_command)
