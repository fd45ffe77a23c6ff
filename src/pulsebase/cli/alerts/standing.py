"""How alerts stand: what each says, and what keeps it quiet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, cast

from pulsebase.cli.text import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from pulsebase.connection import Call, Steps
    from pulsebase.models.alert_act import AlertAct
    from pulsebase.models.alert_delivery import WaitingDelivery
    from pulsebase.models.alert_event import AlertEvent
    from pulsebase.models.alert_silence import AlertSilence

__all__ = [
    "MOST_SERVICES_WITH_SILENCES",
    "Standing",
    "began_at",
    "details_of",
    "held_words",
    "quiet_words",
    "reason_of",
    "silence_words",
    "silences_of",
    "standings",
]

# Which silences match a service takes one request for each service.
MOST_SERVICES_WITH_SILENCES: Final = 200
_HELD: Final = {
    "maintenance": "in maintenance",
    "silence": "silenced",
    "parent": "a parent is not well",
    "acknowledged": "acknowledged",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An alert event, the acknowledgement that holds, and why channels hear nothing of it now.

    `held_by` is why messages about it wait. `silences` are those that match its service now; None
    where there are too many services to find out.
    """

    event: AlertEvent
    acknowledgement: AlertAct | None = None
    held_by: tuple[str, ...] = ()
    silences: tuple[AlertSilence, ...] | None = ()

    def document(self) -> dict[str, Any]:
        """The event's row with the rest beside its columns."""
        row = {part.name: getattr(self.event, part.name) for part in fields(self.event)}
        return {
            **row,
            "acknowledgement": self.acknowledgement,
            "held_by": self.held_by,
            "silences": self.silences,
        }

    def acknowledged_words(self) -> str:
        """Who has seen it, until when and why."""
        act = self.acknowledgement
        if act is None:
            return ""
        until = f" until {time_text(act.until)}" if act.until else ""
        return f"{act.actor}{until}{f': {act.note}' if act.note else ''}"

    def quiet_words(self) -> str:
        """Why channels hear nothing."""
        return quiet_words(self.silences or (), self.held_by)


def standings(events: Sequence[AlertEvent], service_name: str | None) -> Steps[list[Standing]]:
    """How these active events stand, of one service or of several."""
    from pulsebase.models.alert_act import AlertActModel
    from pulsebase.models.alert_message import AlertMessageModel

    if not events:
        return []
    acts = yield from AlertActModel.find_acknowledgements.steps(service_name=service_name)
    waiting = yield from AlertMessageModel.find_waiting.steps(service_name=service_name)
    silences = yield from silences_of(event.service_name for event in events)
    acknowledged = {act.event_id: act for act in acts}
    held = _reasons(waiting)
    return [
        Standing(
            event=event,
            acknowledgement=acknowledged.get(event.id),
            held_by=held.get(event.id, ()),
            silences=None if silences is None else silences.get(event.service_name, ()),
        )
        for event in events
    ]


def silences_of(names: Iterable[str]) -> Steps[dict[str, tuple[AlertSilence, ...]] | None]:
    """The silences that hold now, by the services that they match; None for too many services."""
    from pulsebase.connection import Many
    from pulsebase.models.alert_silence import AlertSilenceModel

    sought = list(dict.fromkeys(names))
    active = yield from AlertSilenceModel.find_active.steps()
    if not active or not sought:
        return {}
    if len(sought) > MOST_SERVICES_WITH_SILENCES:
        return None
    # The first page of each, a thousand silences, says enough; so all go out together.
    pages = [next(AlertSilenceModel.find_active.steps(service_name=name)) for name in sought]
    found: list[list[AlertSilence]] = yield Many(cast("list[Call[list[AlertSilence]]]", pages))
    return {name: tuple(each) for name, each in zip(sought, found, strict=True)}


def _reasons(waiting: Iterable[WaitingDelivery]) -> dict[UUID, tuple[str, ...]]:
    """Why messages about events wait, by the events' ids."""
    found: dict[UUID, dict[str, None]] = {}
    for delivery in waiting:
        if delivery.hold_reason is not None:
            found.setdefault(delivery.event_id, {})[delivery.hold_reason] = None
    return {event_id: tuple(reasons) for event_id, reasons in found.items()}


def quiet_words(silences: Sequence[AlertSilence], held_by: Sequence[str]) -> str:
    """Why channels hear nothing; an acknowledgement, which has words of its own, left out."""
    told = [silence_words(silence) for silence in silences]
    named = {silence.kind for silence in silences}
    told += [held_words(each) for each in held_by if each not in {*named, "acknowledged"}]
    return "; ".join(told)


def held_words(reason: str) -> str:
    """Why something waits, in words."""
    return _HELD.get(reason, reason)


def silence_words(silence: AlertSilence) -> str:
    """A silence that holds: what it is, until when, why and whose."""
    what = "in maintenance" if silence.kind == "maintenance" else "silenced"
    end = silence.ends_at
    until = f"until {time_text(end)}" if end else "until it is lifted"
    why = silence.note or silence.name
    return f"{what} by {silence.created_by}{f' ({why})' if why else ''} {until}"


def details_of(event: AlertEvent) -> Mapping[str, Any]:
    """What the event says of itself; nothing, where somebody has written something else there."""
    details: object = event.details
    return details if isinstance(details, dict) else {}


def began_at(event: AlertEvent) -> datetime:
    """When it was first seen to fail, else when the event was written."""
    from pulsebase.models.fields import parsed_instant

    told = details_of(event).get("started_at")
    try:
        return parsed_instant(told) if isinstance(told, str) else event.created_at
    except (ValueError, OverflowError):  # details can be anybody's
        return event.created_at


def reason_of(event: AlertEvent) -> str:
    """Why it was opened, in one line."""
    reason = details_of(event).get("reason")
    return " ".join(reason.split()) if isinstance(reason, str) else ""
