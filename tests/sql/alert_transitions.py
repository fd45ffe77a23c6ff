"""What one check does to a service, as data: the tests run it, and the documentation draws it.

`python -m tests.sql.alert_transitions` writes the diagram and the tables of
docs/explanation/alert-states.md anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final, Literal

__all__ = ["CIRCUMSTANCES", "POLICIES", "Circumstances", "Transition", "page", "rows"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "explanation" / "alert-states.md"

Status = Literal["healthy", "degraded", "down"]
STATUSES: Final[tuple[Status, ...]] = ("healthy", "degraded", "down")

# What a policy asks for, and in which words the page says so.
POLICIES: Final[dict[str, dict[str, int | bool]]] = {
    "at once": {"down_open_checks": 1, "degraded_open_checks": 1}
    | {"down_close_checks": 1, "degraded_close_checks": 1},
    "not yet": {"down_open_checks": 9, "degraded_open_checks": 9}
    | {"down_close_checks": 9, "degraded_close_checks": 9},
    "nothing opens": {"enabled": False, "down_close_checks": 1, "degraded_close_checks": 1},
    "down alone": {"degraded_enabled": False, "down_open_checks": 1}
    | {"down_close_checks": 1, "degraded_close_checks": 1},
}

# What is decided: the status afterwards, and what becomes of the events.
#   opens X       a new incident begins with an event X
#   X instead     the active event is resolved as superseded, X opens in the same incident
#   recovers      the active event is resolved, and a `recovery` is written
DECISIONS: Final = """
    before    policy         healthy   degraded                  down

    healthy   at once        -         opens service_degraded    opens service_down
    degraded  at once        recovers  -                         service_down instead
    down      at once        recovers  service_degraded instead  -

    healthy   not yet        -         -                         -
    degraded  not yet        -         -                         -
    down      not yet        -         -                         -

    healthy   nothing opens  -         -                         -
    degraded  nothing opens  recovers  -                         -
    down      nothing opens  recovers  service_degraded instead  -

    healthy   down alone     -         -                         opens service_down
    degraded  down alone     recovers  recovers                  service_down instead
    down      down alone     recovers  recovers                  -
"""

# What a channel is told of it that has been told of everything before. A message that waits says
# for what; the first of several reasons counts. An acknowledgement is of the event before.
MESSAGES: Final = """
    decision     free      maintenance  silence  parent  acknowledged

    opens        opened    waits        waits    waits   opened
    instead      opened    waits        waits    waits   opened
    recovers     resolved  resolved     resolved resolved resolved
    -            -         -            -        -       -
"""
CIRCUMSTANCES: Final = ("maintenance", "silence", "parent", "acknowledged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What people and other services have to do with it at the time of the check."""

    maintenance: bool
    silence: bool
    parent: bool
    acknowledged: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Those that hold, the one that counts first."""
        return tuple(name for name in CIRCUMSTANCES if getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One row of the whole table: a state and a check, and everything that comes of it."""

    before: Status
    policy: str
    incoming: Status
    circumstances: Circumstances
    decision: str

    @property
    def name(self) -> str:
        """The row in words, as the test's name."""
        under = " ".join(self.circumstances.names) or "free"
        return f"{self.before}, {self.policy}, {self.incoming}, {under}"

    @property
    def opens(self) -> str | None:
        """The type of the event that opens."""
        words = self.decision.split()
        match words:
            case ["opens", alert_type] | [alert_type, "instead"]:
                return alert_type
            case _:
                return None

    @property
    def recovers(self) -> bool:
        """Whether an incident ends."""
        return self.decision == "recovers"

    @property
    def after(self) -> Status:
        """The status afterwards."""
        if self.recovers:
            return "healthy"
        match self.opens:
            case "service_down":
                return "down"
            case "service_degraded":
                return "degraded"
            case _:
                return self.before

    @property
    def told(self) -> str | None:
        """The kind of the message that may go at once."""
        kind = self._message(next(iter(self.circumstances.names), "free"))
        return None if kind in {"-", "waits"} else kind

    @property
    def waits_for(self) -> str | None:
        """What holds the opening message, as it is kept beside it."""
        names = self.circumstances.names
        waiting = (name for name in names if self._message(name) == "waits")
        return next(waiting, None)

    def _message(self, circumstance: str) -> str:
        head, *lines = _lines(MESSAGES)
        row = next(line for line in lines if line[0] == _kind(self.decision))
        return row[head.index(circumstance)]


def rows() -> list[Transition]:
    """The whole table: every decision under every combination of circumstances."""
    return [
        Transition(
            before=before,
            policy=policy,
            incoming=incoming,
            circumstances=Circumstances(
                maintenance=maintenance, silence=silence, parent=parent, acknowledged=acknowledged
            ),
            decision=decision,
        )
        for before, policy, incoming, decision in decisions()
        for maintenance, silence, parent, acknowledged in product((False, True), repeat=4)
        # Of a healthy service there is nothing to acknowledge.
        if not (acknowledged and before == "healthy")
    ]


def decisions() -> list[tuple[Status, str, Status, str]]:
    """Before, policy, incoming, decision."""
    head, *lines = _wide_lines(DECISIONS)
    return [
        (_status(line[0]), line[1], _status(incoming), decision)
        for line in lines
        for incoming, decision in zip(head[2:], line[2:], strict=True)
    ]


def page() -> str:
    """The page of the documentation."""
    return f"""# The states of an alert

Generated from the table that the tests run, row by row, on PostgreSQL
(`tests/sql/alert_transitions.py`); what the words mean is in
[how alerts work](alerts.md).

## Of a service

```mermaid
stateDiagram-v2
    [*] --> healthy
{_arrows()}
```

An arrow is taken when the policy's conditions for it are met: so many failing checks in a row, N of
M, or a time; so many good ones to close. Every arrow is one transaction with the check that set it
off.

## Every decision

What one more check does, by the status before it:

{_table(*_wide_lines(DECISIONS))}

- *at once*: one check suffices, to open and to close; *not yet*: this check is not enough;
  *nothing opens*: `enabled = false`; *down alone*: `[alerts.degraded] enabled = false`, and a
  degraded check counts as a healthy one
- *opens*: a new incident begins with this event
- *instead*: the active event is resolved as superseded, and this one opens in the same incident
- *recovers*: the active event is resolved, and an event `recovery` with the downtime is written

## What a channel is told

{_table(*_lines(MESSAGES))}

*waits*: the message is written down with the change, and goes out when the reason is over and the
event is still active; if it is not, nobody is bothered. *parent*: a service on which this one
depends is not well. *acknowledged*: the event before was, which silences its reminders, not a new
event.
"""


def _arrows() -> str:
    labels: dict[tuple[str, str], str] = {}
    for row in rows():
        if row.policy == "at once" and not row.circumstances.names and row.decision != "-":
            instead = ", the other is superseded" if row.decision.endswith("instead") else ""
            opening = f"{row.opens} opens{instead}"
            labels[row.before, row.after] = "resolved, a recovery" if row.recovers else opening
    return "\n".join(f"    {a} --> {b}: {text}" for (a, b), text in labels.items())


def _table(head: list[str], *body: list[str]) -> str:
    rule = ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *body))


def _kind(decision: str) -> str:
    words = decision.split()
    return next((word for word in words if word in {"opens", "instead", "recovers"}), "-")


def _lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def _wide_lines(text: str) -> list[list[str]]:
    """Cells that are two spaces or more apart, so that a cell may hold words."""
    return [
        [cell.strip() for cell in line.strip().split("  ") if cell.strip()]
        for line in text.splitlines()
        if line.strip()
    ]


def _status(text: str) -> Status:
    return next(status for status in STATUSES if status == text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
