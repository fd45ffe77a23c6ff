"""What is said where no template is given: what, since when, how long, why, where, and the link.

A text that would be too long becomes shorter from within: first the reasons, then the list, whose
last line says how many are left out. What matters most stands first, in case even that is cut.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple, get_args

from pulsebase.notifiers.support.cleaning import shortened
from pulsebase.notifiers.support.facts import Topic, spoken_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pulsebase.notifiers.support.facts import Facts
    from pulsebase.notifiers.support.styles import Style

__all__ = ["default_body", "default_title", "sentence"]

_TOPICS: Final[tuple[Topic, ...]] = get_args(Topic)
_MOST_NAMED_IN_TITLE: Final = 3
_LONGEST_NAMES_IN_TITLE: Final = 80


class _Group(NamedTuple):
    """How a digest counts those of a topic: in its title, one of them, several of them."""

    counted: str
    one: str
    several: str


_GROUPS: Final[Mapping[Topic, _Group]] = {
    "down": _Group("down", "is down", "are down"),
    "degraded": _Group("degraded", "is degraded", "are degraded"),
    "was_down": _Group("down for a while", "was down for a while", "were down for a while"),
    "was_degraded": _Group(
        "degraded for a while", "was degraded for a while", "were degraded for a while"
    ),
    "flapping": _Group("flapping", "is flapping", "are flapping"),
    "still_down": _Group("still down", "is still down", "are still down"),
    "still_degraded": _Group("still degraded", "is still degraded", "are still degraded"),
    "settled": _Group("settled", "has settled", "have settled"),
    "healthy_again": _Group("healthy again", "is healthy again", "are healthy again"),
    "closed_by_hand": _Group(
        "resolved by hand", "had its alert resolved by hand", "had their alerts resolved by hand"
    ),
    "changed": _Group("changed", "has changed its status", "have changed their status"),
}

# In both, {now} is what the service is now, where that is something else, and {by} who did it.
_TITLES: Final[Mapping[Topic, str]] = {
    "down": "{name} is down",
    "degraded": "{name} is degraded",
    "was_down": "{name} was down for {lasted}",
    "was_degraded": "{name} was degraded for {lasted}",
    "flapping": "{name} is flapping",
    "still_down": "{name} is still down, for {lasted}",
    "still_degraded": "{name} is still degraded, for {lasted}",
    "settled": "{name} no longer flaps{now}",
    "healthy_again": "{name} is healthy again after {lasted}",
    "closed_by_hand": "{name}: alert resolved by hand",
    "changed": "{name} is no longer {level}{now}",
}
_SENTENCES: Final[Mapping[Topic, str]] = {
    "down": "{name} has been down since {since}, for {lasted}.",
    "degraded": "{name} has been degraded since {since}, for {lasted}.",
    "was_down": "{name} was down from {since} to {until}, for {lasted}.",
    "was_degraded": "{name} was degraded from {since} to {until}, for {lasted}.",
    "flapping": "{name} is flapping: it fails and comes back again and again.",
    "still_down": "{name} is still down, for {lasted} now (since {since}).",
    "still_degraded": "{name} is still degraded, for {lasted} now (since {since}).",
    "settled": "{name} no longer flaps{now}.",
    "healthy_again": (
        "{name} is healthy again after {lasted}: it was {level} from {since} to {until}."
    ),
    "closed_by_hand": (
        "The alert that {name} was {level} was resolved by hand{by} at {until}, after {lasted}."
    ),
    "changed": "{name} is no longer {level}{now}. It was {level} from {since} to {until}.",
}


class _Room(NamedTuple):
    """How much is said: so many of a topic are listed, with so much of a reason, and links."""

    listed: int
    reason: int
    links: bool


_ROOMS: Final = (
    _Room(50, 200, links=True),
    _Room(50, 80, links=True),
    _Room(50, 0, links=True),
    *(_Room(listed, 0, links=False) for listed in (50, 25, 10, 5, 3, 1, 0)),
)
_REASONS_OF_ONE: Final = (500, 200, 80, 0)


def default_title(facts: Sequence[Facts], *, longest: int) -> str:
    """One line: what is the matter, and with whom, or with how many."""
    if len(facts) == 1:
        return shortened(_title_of_one(facts[0]), longest)
    groups = dict(_grouped(facts))
    if len(groups) == 1:
        return shortened(_title_of_alike(facts), longest)
    counts = (
        f"{len(_services(members)):,} {_GROUPS[topic].counted}" for topic, members in groups.items()
    )
    return shortened(", ".join(counts), longest)


def _title_of_alike(facts: Sequence[Facts]) -> str:
    names = _services(facts)
    named, predicate = _enumerated(names), _predicate(facts[0].topic, len(names))
    if len(names) <= _MOST_NAMED_IN_TITLE and len(named) <= _LONGEST_NAMES_IN_TITLE:
        return f"{named} {predicate}"
    return f"{len(names):,} service{'' if len(names) == 1 else 's'} {predicate}"


def default_body(facts: Sequence[Facts], style: Style, *, longest: int) -> str:
    """All that is to be said, in at most so many characters if that can be done at all."""
    text = ""
    for text in _bodies(facts, style):
        if len(text) <= longest:
            return text
    return text


def sentence(facts: Facts) -> str:
    """What is the matter with one service, since when and for how long, in one sentence."""
    return _filled(_SENTENCES[facts.topic], facts)


def _title_of_one(facts: Facts) -> str:
    return _filled(_TITLES[facts.topic], facts)


def _filled(words: str, facts: Facts) -> str:
    return words.format(
        name=facts.service,
        level=facts.level,
        since=facts.since_text,
        until=facts.until_text,
        lasted=facts.lasted_text,
        now=_now(facts),
        by=f" by {facts.actor}" if facts.actor else "",
    )


def _now(facts: Facts) -> str:
    return f": it is {facts.status} now" if facts.status not in {"", facts.level} else ""


def _bodies(facts: Sequence[Facts], style: Style) -> Iterator[str]:
    """The body, and then shorter and shorter ones."""
    if len(facts) == 1:
        for longest_reason in _REASONS_OF_ONE:
            yield style.paragraphs(_parts_of_one(facts[0], style, longest_reason))
        yield style.paragraphs([style.strong(style.escape(sentence(facts[0])))])
        return
    groups = list(_grouped(facts))
    for room in _ROOMS:
        yield style.paragraphs(_parts_of_many(groups, style, room))


def _parts_of_one(facts: Facts, style: Style, longest_reason: int) -> Iterator[str]:
    yield style.strong(style.escape(sentence(facts)))
    if facts.topic == "flapping":
        yield style.escape("Until it settles, nothing more is said of it.")
    is_over = facts.topic == "settled" and facts.status not in {"degraded", "down"}
    if facts.reason and longest_reason and not is_over:
        why = "Why" if facts.until is None else "It last failed with"
        yield style.escape(f"{why}: {shortened(facts.reason, longest_reason)}")
    if facts.note and longest_reason:
        yield style.escape(f"Note: {shortened(facts.note, longest_reason)}")
    if facts.location:
        yield style.escape(f"Seen from: {facts.location}")
    if facts.held_by and facts.kind != "resolved":
        since = f" since {spoken_time(facts.held_since)}" if facts.held_since else ""
        yield style.escape(f"This message was held back by {facts.held_by}{since}.")
    if facts.link:
        yield style.link(facts.link)


def _parts_of_many(
    groups: Iterable[tuple[Topic, list[Facts]]], style: Style, room: _Room
) -> Iterator[str]:
    for topic, members in groups:
        names = _services(members)
        count = f"{len(names):,} service{'' if len(names) == 1 else 's'}"
        end = ":" if room.listed else "."
        yield style.strong(style.escape(f"{count} {_predicate(topic, len(names))}{end}"))
        lines = [_line(one, style, room) for one in members[: room.listed]]
        left_out = len(members) - len(lines)
        if lines and left_out:
            lines.append(style.escape(f"and {left_out:,} more"))
        yield style.items(lines)


def _line(facts: Facts, style: Style, room: _Room) -> str:
    parts = [style.strong(style.escape(facts.service)) + style.escape(_about(facts))]
    if facts.reason and room.reason and facts.until is None:
        parts[0] += style.escape(f": {shortened(facts.reason, room.reason)}")
    if facts.location and room.reason:
        parts.append(style.escape(f"(from {facts.location})"))
    if facts.link and room.links:
        parts.append(style.link(facts.link))
    return " ".join(parts)


def _about(facts: Facts) -> str:
    match facts.topic:
        case "settled":
            return _now(facts)
        case "changed":
            return f"{_now(facts)}, {facts.level} for {facts.lasted_text}"
        case _ if facts.until is not None:
            return f", {facts.level} for {facts.lasted_text} (from {facts.since_text})"
        case _:
            return f", since {facts.since_text} ({facts.lasted_text})"


def _grouped(facts: Sequence[Facts]) -> Iterator[tuple[Topic, list[Facts]]]:
    def rank(one: Facts) -> int:
        return _TOPICS.index(one.topic)

    for _, members in groupby(sorted(facts, key=rank), key=rank):
        found = list(members)
        yield found[0].topic, found


def _services(members: Iterable[Facts]) -> list[str]:
    return list(dict.fromkeys(one.service for one in members))


def _predicate(topic: Topic, count: int) -> str:
    return _GROUPS[topic].one if count == 1 else _GROUPS[topic].several


def _enumerated(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
