"""What people see while the monitor runs: the worst first, and changes only."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from pulsebase.cli import live
from pulsebase.cli.live import Changes, LiveTable
from pulsebase.monitor.sighting import Sighting

if TYPE_CHECKING:
    from pulsebase.monitor.sighting import Health

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def seen(name: str, status: Health = "healthy", why: str = "") -> Sighting:
    return Sighting(service_name=name, status=status, checked_at=NOON, latency_ms=1234, why=why)


def picture(sightings: list[Sighting], *, height: int, width: int = 100) -> list[str]:
    """The lines that a terminal of this size shows."""
    screen = Console(width=width, height=height, force_terminal=False)
    table = LiveTable(lambda: sightings, lambda: "recording to here")
    table._screen = screen
    with screen.capture() as captured:
        screen.print(table.drawn())
    return captured.get().splitlines()


def test_the_worst_are_on_top_and_the_rest_is_counted() -> None:
    sightings = [seen(f"well-{number:03}") for number in range(500)]
    sightings += [
        seen("slow", "degraded"),
        seen("dark", "unknown"),
        seen("gone", "down", "refused"),
    ]
    lines = picture(sightings, height=14)
    assert [line.split()[0] for line in lines[1:5]] == ["gone", "dark", "slow", "well-000"]
    assert "refused" in lines[1]
    assert lines[-3] == "… and 494 more"
    assert lines[-2] == "503 services: 500 healthy, 1 degraded, 1 unknown, 1 down"
    assert lines[-1] == "recording to here"
    assert len(lines) < 14


def test_a_small_table_shows_every_service_by_name() -> None:
    lines = picture([seen("b"), seen("a")], height=24)
    assert [line.split()[:2] for line in lines[1:3]] == [["a", "healthy"], ["b", "healthy"]]
    assert "1,234 ms" in lines[1]
    assert lines[-2] == "2 services: 2 healthy"


@pytest.mark.parametrize(("kind", "drawn"), [("xterm", True), ("dumb", False), ("unknown", False)])
def test_a_terminal_that_cannot_redraw_gets_lines(
    monkeypatch: pytest.MonkeyPatch, kind: str, drawn: bool
) -> None:
    """On one that cannot, the table would appear only at the very end."""
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", kind)
    assert live.draws() is drawn


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_narrow_terminal_cuts_and_never_wraps(width: int) -> None:
    why = "a very long reason that goes on " * 10
    sightings = [
        seen("x" * 100, "down", why),
        seen("y" * 100, "degraded", why),
        seen("z", "unknown"),
    ]
    lines = picture(sightings, height=24, width=width)
    assert len(lines) == 6
    assert all(len(line) <= width for line in lines)


def test_a_long_reason_is_cut_and_leaves_the_other_columns_whole() -> None:
    [_, line, *_] = picture([seen("shop", "down", "because " * 50)], height=24, width=80)
    assert line.startswith("shop     down    1,234 ms")
    assert line.endswith("…")


def test_a_very_narrow_terminal_leaves_out_whole_columns() -> None:
    [heading, line, *_] = picture([seen("a-service", "down", "refused")], height=24, width=24)
    assert heading.split() == ["service", "status"]
    assert line.split() == ["a-service", "down"]


def test_a_name_cannot_move_the_cursor() -> None:
    assert "\x1b" not in "".join(picture([seen("a\u202e\x9b", "down", "\x1b[2J")], height=24))


def test_only_changes_are_told_and_by_name() -> None:
    changes = Changes()
    latest = {"b": seen("b"), "a": seen("a", "down", "refused")}
    assert changes.lines(latest) == [
        "2026-11-25T12:00:00Z a is down (refused)",
        "2026-11-25T12:00:00Z b is healthy",
    ]
    assert changes.lines(latest) == []
    latest["a"] = seen("a")
    assert changes.lines(latest) == ["2026-11-25T12:00:00Z a is healthy"]


def test_thousands_that_are_well_are_not_told_but_what_is_not_is() -> None:
    latest = {f"s{number}": seen(f"s{number}") for number in range(5000)}
    latest["s7"] = seen("s7", "down")
    changes = Changes()
    assert changes.lines(latest) == ["2026-11-25T12:00:00Z s7 is down"]
    latest["s7"] = seen("s7")
    assert changes.lines(latest) == ["2026-11-25T12:00:00Z s7 is healthy"]


def test_a_service_that_went_away_is_told_anew_when_it_comes_back() -> None:
    changes = Changes()
    assert len(changes.lines({"a": seen("a"), "b": seen("b")})) == 2
    assert changes.lines({"b": seen("b")}) == []
    assert len(changes.lines({"a": seen("a"), "b": seen("b")})) == 1


def test_many_services_are_not_drawn_at_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 100.0
    monkeypatch.setattr(live, "monotonic", lambda: moment)
    sightings = [seen(f"s{number}") for number in range(3000)]
    table = LiveTable(lambda: sightings, lambda: "")
    first = table.drawn()
    moment += 1.0
    assert table.drawn() is first
    moment += 1.5
    assert table.drawn() is not first
