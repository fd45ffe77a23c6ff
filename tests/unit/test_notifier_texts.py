"""What messages say where no template is given: what, since when, how long, why, where."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.facts import spoken_duration
from pulsebase.notifiers.support.links import link_of, link_problem
from pulsebase.notifiers.support.styles import style_of
from pulsebase.notifiers.support.texts import Limits, MessageTexts
from tests.support.notices import BEGAN, ENDED, HOSTILE_TEXTS, a_message, a_notice

if TYPE_CHECKING:
    from pulsebase.notifiers import Message
    from pulsebase.notifiers.support.styles import Format
    from pulsebase.notifiers.support.texts import Texts

NOW = BEGAN + timedelta(hours=4)
ROOM = Limits(title=250, body=30_000)
LINK = "https://status.example/{service}"
each_format = pytest.mark.parametrize("form", ["text", "markdown", "html"])


def texts(
    message: Message, *, form: Format = "text", limits: Limits = ROOM, link: str | None = LINK
) -> Texts:
    keys = MessageTexts(link=link)
    return keys.texts_of(message, keys.facts_in(message, now=NOW), form=form, limits=limits)


# Of each kind of notice: what makes it, its title, and its body.
TOLD: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "down": (
        {},
        "checkout is down",
        [
            "checkout has been down since 2026-11-25 06:00 UTC, for 4 h.",
            "Why: HTTP 503 instead of 200",
            "Seen from: fra",
            "https://status.example/checkout",
        ],
    ),
    "degraded": (
        {"alert_type": "service_degraded", "reason": ""},
        "checkout is degraded",
        [
            "checkout has been degraded since 2026-11-25 06:00 UTC, for 4 h.",
            "Seen from: fra",
            "https://status.example/checkout",
        ],
    ),
    "held back": (
        {"held_by": "parent", "held_since": BEGAN, "details": None},
        "checkout is down",
        [
            "checkout has been down since 2026-11-25 06:00 UTC, for 4 h.",
            (
                "This message was held back by the failure of a service that it depends on since "
                "2026-11-25 06:00 UTC."
            ),
            "https://status.example/checkout",
        ],
    ),
    "over before it was said": (
        {"event_status": "resolved", "resolved_at": ENDED},
        "checkout was down for 12 min",
        [
            "checkout was down from 2026-11-25 06:00 UTC to 2026-11-25 06:12 UTC, for 12 min.",
            "It last failed with: HTTP 503 instead of 200",
            "Seen from: fra",
            "https://status.example/checkout",
        ],
    ),
    "reminder": (
        {"kind": "reminder", "sequence": 1, "details": None},
        "checkout is still down, for 4 h",
        [
            "checkout is still down, for 4 h now (since 2026-11-25 06:00 UTC).",
            "https://status.example/checkout",
        ],
    ),
    "recovered": (
        {"kind": "resolved"},
        "checkout is healthy again after 12 min",
        [
            (
                "checkout is healthy again after 12 min: it was down from 2026-11-25 06:00 UTC to "
                "2026-11-25 06:12 UTC."
            ),
            "It last failed with: HTTP 503 instead of 200",
            "Seen from: fra",
            "https://status.example/checkout",
        ],
    ),
    "resolved by hand": (
        {
            "kind": "resolved",
            "details": {"resolved_by": "person", "actor": "anna", "note": "known for days"},
        },
        "checkout: alert resolved by hand",
        [
            (
                "The alert that checkout was down was resolved by hand by anna at "
                "2026-11-25 06:12 UTC, after 12 min."
            ),
            "Note: known for days",
            "https://status.example/checkout",
        ],
    ),
    "superseded": (
        {
            "kind": "resolved",
            "service_status": "degraded",
            "details": {"resolved_by": "superseded"},
        },
        "checkout is no longer down: it is degraded now",
        [
            (
                "checkout is no longer down: it is degraded now. It was down from 2026-11-25 "
                "06:00 UTC to 2026-11-25 06:12 UTC."
            ),
            "https://status.example/checkout",
        ],
    ),
    "flapping": (
        {"kind": "flapping_started", "details": None},
        "checkout is flapping",
        [
            "checkout is flapping: it fails and comes back again and again.",
            "Until it settles, nothing more is said of it.",
            "https://status.example/checkout",
        ],
    ),
    "settled": (
        {"kind": "flapping_ended", "service_status": "healthy"},
        "checkout no longer flaps: it is healthy now",
        [
            "checkout no longer flaps: it is healthy now.",
            "Seen from: fra",
            "https://status.example/checkout",
        ],
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_one_notice_says_what_since_when_how_long_why_where_and_the_link(name: str) -> None:
    parts, title, lines = TOLD[name]
    told = texts(a_message(a_notice(**parts)))
    assert told.title == title
    assert told.body.split("\n") == lines


def test_without_a_link_none_is_said() -> None:
    assert "http" not in texts(a_message(a_notice(reason="")), link=None).body


def test_a_digest_is_grouped_and_says_how_many_are_left_out() -> None:
    down = [a_notice(f"db-{number}") for number in range(2_800)]
    healed = [a_notice(f"web-{number}", "resolved") for number in range(3)]
    told = texts(a_message(*healed, *down))
    assert told.title == "2,800 down, 3 healthy again"
    lines = told.body.split("\n")
    assert lines[0] == "2,800 services are down:"
    assert lines[1] == (
        "- db-0, since 2026-11-25 06:00 UTC (4 h): HTTP 503 instead of 200 (from fra) "
        "https://status.example/db-0"
    )
    assert lines[51] == "- and 2,750 more"
    assert lines[52] == "3 services are healthy again:"
    assert lines[53].startswith("- web-0, down for 12 min (from 2026-11-25 06:00 UTC)")
    assert len(lines) == 56


def test_a_small_digest_names_its_services() -> None:
    names = [a_notice(name) for name in ("db", "web", "mail")]
    assert texts(a_message(*names)).title == "db, web and mail are down"
    assert texts(a_message(*names, a_notice("queue"))).title == "4 services are down"
    assert texts(a_message(a_notice("db"), a_notice("db"))).title == "db is down"


def test_a_digest_has_a_line_for_every_kind_of_notice() -> None:
    told = texts(a_message(*(a_notice(name, **TOLD[name][0]) for name in TOLD)))
    assert told.title == (
        "2 down, 1 degraded, 1 down for a while, 1 flapping, 1 still down, 1 settled, "
        "1 healthy again, 1 resolved by hand, 1 changed"
    )
    for name in TOLD:
        assert f"- {name}" in told.body


@each_format
@pytest.mark.parametrize("count", [1, 2, 60, 5_000])
@pytest.mark.parametrize("longest", [30_000, 2_000, 500, 140])
def test_a_text_is_as_short_as_it_must_be(form: Format, count: int, longest: int) -> None:
    message = a_message(*(a_notice(f"db-{number}", reason="r" * 500) for number in range(count)))
    told = texts(message, form=form, limits=Limits(title=40, body=longest))
    assert 0 < len(told.body) <= longest
    assert 0 < len(told.title) <= 40
    assert (f"{count:,} services" if count > 1 else "db-0") in told.body


@each_format
@pytest.mark.parametrize("longest", [1, 10, 30])
def test_there_is_no_limit_that_is_not_kept(form: Format, longest: int) -> None:
    told = texts(a_message(), form=form, limits=Limits(title=longest, body=longest))
    assert len(told.body) <= longest
    assert len(told.title) <= longest


class Page(HTMLParser):
    """The tags of a page, in order, and its links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        assert {name for name, _ in attrs} <= {"href"}


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
@pytest.mark.parametrize("count", [1, 2])
def test_hostile_texts_stay_texts(name: str, count: int) -> None:
    text = HOSTILE_TEXTS[name]
    notices = [a_notice(text, reason=text, labels={text: text}) for _ in range(count)]
    for notice in notices:
        notice.details["location"] = text  # type: ignore[index]
    message = a_message(*notices)
    plain, marked, page = (texts(message, form=form) for form in ("text", "markdown", "html"))
    for told in (plain, marked, page):
        assert told.title.isprintable() or "\u200d" in told.title or "\u200b" in told.title
        assert len(told.title) <= 250
        assert not re.search(
            "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\ud800-\udfff]", told.body
        )
        told.body.encode()
        assert not re.search(r"@(everyone|here|channel)|<[!@]", told.body + told.title)
        assert "49" not in told.body.replace(NOW.isoformat(), "")
    usual = texts(a_message(*(a_notice(reason="why") for _ in range(count))))
    assert plain.body.count("\n") <= usual.body.count("\n")
    found = Page(page.body)
    assert set(found.tags) <= {"p", "b", "a", "ul", "li"}
    assert all(re.fullmatch(r"https://status\.example/[!-~]+", link or "") for link in found.links)
    assert not re.search(r"(?<!\\)[\[\]`_]", marked.body.replace("status.example", ""))


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("db_primary_1", "db_primary_1"),
        ("_a_ b_", r"\_a\_ b\_"),
        ("a & b", "a & b"),
        ("a &lt; b &#42;", r"a \&lt; b \&#42;"),
        ("a*b`c`|d~e", r"a\*b\`c\`\|d\~e"),
        ("[a](b)<c>", r"\[a\](b)\<c\>"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("a\\b", r"a\\b"),
    ],
)
def test_markdown_escapes_what_means_something_and_nothing_else(name: str, escaped: str) -> None:
    assert style_of("markdown").escape(name) == escaped


@given(st.text(), st.text(), st.integers(1, 3_000))
def test_any_text_fits_into_any_room(name: str, reason: str, longest: int) -> None:
    message = a_message(a_notice(name, reason=reason), a_notice(reason, reason=name))
    for form in ("text", "markdown", "html"):
        told = texts(message, form=form, limits=Limits(longest, longest))
        assert len(told.body) <= longest
        assert len(told.title) <= longest
        assert not re.search(r"[\r\n]", told.title)
        Page(told.body if form == "html" else "")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (720, "12 min"),
        (3_600, "1 h"),
        (5_460, "1 h 31 min"),
        (14_400, "4 h"),
        (86_400, "1 d"),
        (97_200, "1 d 3 h"),
        (86_400 * 400 + 59, "400 d"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, words: str) -> None:
    assert spoken_duration(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    "started_at",
    [
        "2026-11-25T07:00:00+01:00",
        "2026-11-25T06:00:00Z",
        "2026-11-25 06:00:00+00",
        "2026-11-25T06:00",
    ],
)
def test_a_beginning_is_read_in_every_form(started_at: str) -> None:
    notice = a_notice(event_created_at=ENDED, details={"started_at": started_at})
    assert "since 2026-11-25 06:00 UTC" in texts(a_message(notice)).body


@pytest.mark.parametrize(
    "details",
    [
        None,
        [],
        "text",
        7,
        {"reason": None, "started_at": "soon", "locations": [1, None, {}], "location": []},
        {"started_at": "9999-12-31T23:59:59-12:00", "last_failed": "x", "downtime_seconds": True},
        {"downtime_seconds": float("nan"), "labels": 1},
        {"downtime_seconds": 1e300},
        {"reason": {"a": {"a": {"a": {}}}}},
    ],
)
@pytest.mark.parametrize("kind", ["opened", "resolved", "reminder"])
def test_details_that_anybody_wrote_do_no_harm(details: Any, kind: str) -> None:
    told = texts(a_message(a_notice(kind=kind, details=details)))
    assert "checkout" in told.title


def test_the_reason_of_the_newest_failing_check_will_do() -> None:
    details = {"first_failed": {"reason": "first"}, "last_failed": {"reason": "last"}}
    assert "Why: last" in texts(a_message(a_notice(details=details))).body


def test_locations_are_listed() -> None:
    details = {"locations": ["fra", "nyc"]}
    assert "Seen from: fra, nyc" in texts(a_message(a_notice(details=details))).body


def test_a_naive_time_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="created_at must be aware and in UTC"):
        a_notice(created_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the mistake is what is tested
    with pytest.raises(ValueError, match="at least one notice"):
        type(a_message())(
            id=UUID(int=0), channel="a", attempt=1, created_at=datetime.now(UTC), notices=()
        )


@pytest.mark.parametrize(
    ("link", "led"),
    [
        ("https://s.example/{service}", "https://s.example/a%2Fb%20%26%3F%23%C3%A9"),
        (
            "http://s.example:8080/?q={service}#x",
            "http://s.example:8080/?q=a%2Fb%20%26%3F%23%C3%A9#x",
        ),
        ("https://s.example/{event}/{incident}", f"https://s.example/{UUID(int=1)}/{UUID(int=2)}"),
        ("https://s.example/", "https://s.example/"),
    ],
)
def test_a_link_leads_to_the_service(link: str, led: str) -> None:
    notice = a_notice("a/b &?#é", event_id=UUID(int=1), incident_id=UUID(int=2))
    assert not list(link_problem(link))
    assert link_of(link, notice) == led


@pytest.mark.parametrize(
    "link",
    ["", "status", "ftp://s.example/", "javascript:alert(1)", "https://",
     "https://{service}.example/", "https://s.example/{name}", "https://s.example/{", "https://s.example/}",
     "https://s.example/a b", "https://s.example/é", 'https://s.example/"', "https://s.example:x/", "https://s.example/<x>"],
)  # fmt: skip
def test_a_link_that_leads_nowhere_is_refused(link: str) -> None:
    [problem] = link_problem(link)
    assert isinstance(problem, InvalidValueError)
    assert problem.field == "link"
