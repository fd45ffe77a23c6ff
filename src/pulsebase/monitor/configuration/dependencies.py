"""`depends_on`: which services a service needs, itself and in circles excluded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pulsebase.monitor.configuration.interning import Interning
from pulsebase.monitor.configuration.lists import Advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pulsebase.monitor.configuration.complaints import Complaints
    from pulsebase.monitor.configuration.toml_source import KeyPath

__all__ = ["Dependencies", "Needs"]

_KEY: Final = "depends_on"
_MOST_SHOWN: Final = 8


@dataclass(frozen=True, slots=True)
class Needs:
    """The services that one needs, and where that is said: at the service, or at its group."""

    names: tuple[str, ...] = ()
    place: KeyPath = ()


class Dependencies:
    """Reads what each service needs, and judges it when all services are known."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._interning = Interning()
        self._needs: dict[str, Needs] = {}

    def read(self, table: Mapping[str, Any], place: KeyPath, inherited: Needs) -> Needs:
        """What a service or group needs: what it says, or what is inherited."""
        if _KEY not in table:
            return inherited
        value, at = table[_KEY], (*place, _KEY)
        if not isinstance(value, list):
            self._complaints.invalid_raw(at, "a list of names of services, in brackets", value)
            return inherited
        for index, name in enumerate(value):
            if not isinstance(name, str):
                self._complaints.invalid_raw((*at, index), "the name of a service, in quotes", name)
        names = tuple(name if isinstance(name, str) else "" for name in value)
        return Needs(self._interning.value(names), at)

    def note(self, name: Any, needs: Needs) -> None:
        """Remember what a service needs until all are known."""
        if needs.names and isinstance(name, str):
            self._needs.setdefault(name, needs)

    def judge(self, places: Mapping[str, KeyPath]) -> None:
        """Complain about who needs what is not there, or itself; `places` are all services."""
        if not self._needs:
            return
        advice = _LateAdvice(places, self._complaints)
        known: dict[str, tuple[str, ...]] = {}
        for name, needs in self._needs.items():
            for index, needed in enumerate(needs.names):
                at = (*needs.place, index)
                if needed == name:
                    self._complain_of_itself(name, needs, at, places)
                elif needed not in places:
                    shown = self._complaints.shown_name(at, needed)
                    words = f"names {shown}, which is not a service; {advice.about(needed)}"
                    self._complaints.about(at, words)
            known[name] = tuple(one for one in needs.names if one != name and one in places)
        for circle, length in _circles(known):
            self._complain_of_circle(circle, length, places)

    def _complain_of_itself(
        self, name: str, needs: Needs, at: KeyPath, places: Mapping[str, KeyPath]
    ) -> None:
        if needs.place[0] == "services":
            self._complaints.about(at, "names the service itself; take it out")
            return
        shown = self._shown(name, places)
        words = f"names {shown}, which is in the group itself; write {_KEY} = [] there"
        self._complaints.about(at, words)

    def _complain_of_circle(
        self, circle: list[str], length: int, places: Mapping[str, KeyPath]
    ) -> None:
        names = [self._shown(name, places) for name in circle]
        if length > len(circle):
            names.append(f"{length - len(circle):,} more")
        needs = self._needs[circle[0]]
        way = " → ".join([*names, names[0]])
        at = (*needs.place, needs.names.index(circle[1]))
        self._complaints.about(at, f"goes in a circle: {way}; take one of them out")

    def _shown(self, name: str, places: Mapping[str, KeyPath]) -> str:
        return self._complaints.shown_name((*places[name], "name"), name)


class _LateAdvice:
    """Advice about names of services, which are gathered when the first of them is not known."""

    def __init__(self, places: Mapping[str, KeyPath], complaints: Complaints) -> None:
        self._places = places
        self._complaints = complaints
        self._advice: Advice | None = None

    def about(self, unknown: str) -> str:
        if self._advice is None:
            visible = (
                name
                for name, place in self._places.items()
                if self._complaints.may_show((*place, "name"))
            )
            self._advice = Advice(visible, otherwise="add it, or take it out here")
        return self._advice.about(unknown)


def _circles(needs: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[list[str], int]]:
    """The circles, each as its first few names and how many it has; none is found twice.

    By hand and not by recursion: a chain may be as long as the file.
    """
    done: set[str] = set()
    for start in needs:
        if start in done:
            continue
        path, position = [start], {start: 0}
        ahead = [iter(needs[start])]
        while ahead:
            following = next((one for one in ahead[-1] if one not in done), None)
            if following is None:
                ahead.pop()
                done.add(path[-1])
                del position[path.pop()]
            elif (begin := position.get(following)) is not None:
                length = len(path) - begin
                shown = min(length - 1, _MOST_SHOWN)
                yield [path[-1], *path[begin : begin + shown]], length
            else:
                position[following] = len(path)
                path.append(following)
                ahead.append(iter(needs.get(following, ())))
