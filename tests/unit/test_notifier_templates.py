"""Templates: what they may name, what becomes of one that fails, and what none of them can do."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.templates import VARIABLES, template_problem
from pulsebase.notifiers.support.texts import Limits, MessageTexts, _notice
from tests.support.notices import BEGAN, HOSTILE_TEXTS, a_message, a_notice

if TYPE_CHECKING:
    from pulsebase.notifiers import Message
    from pulsebase.notifiers.support.styles import Format
    from pulsebase.notifiers.support.texts import Texts

ROOM = Limits(title=250, body=30_000)


def texts(
    message: Message,
    *,
    title: str | None = None,
    body: str | None = None,
    form: Format = "text",
    limits: Limits = ROOM,
) -> Texts:
    keys = MessageTexts(title=title, body=body, link="https://s.example/{service}")
    facts = keys.facts_in(message, now=BEGAN + timedelta(hours=4))
    return keys.texts_of(message, facts, form=form, limits=limits)


def test_a_template_says_what_it_likes() -> None:
    notice = a_notice(labels={"team": "ai"}, details={"reason": "why", "started_at": str(BEGAN)})
    told = texts(
        a_message(notice, a_notice("db", "resolved")),
        title="[{{ channel }}] {{ notice.service }} {{ notices | length }}",
        body="{% for one in notices %}{{ one.service }}/{{ one.labels.team }}/{{ one.level }}/"
        "{{ one.kind }}/{{ one.reason }}/{{ one.since }}/{{ one.lasted }}/{{ one.link }}\n"
        "{% endfor %}",
    )
    assert told.title == "[ops] checkout 2"
    assert told.body.split("\n")[:2] == [
        "checkout/ai/down/opened/why/2026-11-25 06:00 UTC/4 h/https://s.example/checkout",
        "db/ai/down/resolved/HTTP 503 instead of 200/2026-11-25 06:00 UTC/12 min/https://s.example/db",
    ]


def test_every_variable_and_every_part_of_a_notice_can_be_said() -> None:
    parts = _notice(MessageTexts().facts_in(a_message())[0])
    body = "".join(f"{{{{ notice.{part} }}}}|" for part in parts)
    body += "".join(f"{{{{ {name} }}}}|" for name in sorted(VARIABLES))
    assert texts(a_message(), body=body).body.count("|") >= len(parts) + len(VARIABLES)


def test_loops_are_all_that_jinja_makes_them() -> None:
    """However their rounds are counted."""
    body = (
        "{% for one in notices if one.service != 'b' %}{{ loop.index }}/{{ loop.length }} "
        "{{ one.service }}{% if not loop.last %}, {% endif %}{% else %}none{% endfor %}|"
        "{% for key, value in notice.labels.items() | sort %}{{ key }}={{ value }}{% endfor %}|"
        "{% for one in [] %}x{% else %}none{% endfor %}|"
        "{% for level, group in notices | groupby('level') %}{{ level }}{% endfor %}"
    )
    message = a_message(a_notice("a"), a_notice("b"), a_notice("c"))
    assert texts(message, body=body).body == "1/2 a, 2/2 c|team=ai|none|down"


def test_what_a_service_does_not_have_is_empty() -> None:
    told = texts(a_message(), body="<{{ notice.labels.nobody }}{{ notice.details.nothing }}>")
    assert told.body == "<>"


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
def test_the_default_text_can_be_a_part_of_it(form: Format) -> None:
    message = a_message(a_notice("a*b <i>", reason="*x* & <y>"))
    plain = texts(message, form=form)
    told = texts(
        message, title="pulse: {{ default_title }}", body="{{ default_body }}\nBye", form=form
    )
    assert told.title == f"pulse: {plain.title}"
    assert told.body == f"{plain.body}\nBye"


def test_values_are_escaped_for_the_format() -> None:
    message = a_message(a_notice("a*b <i>"))
    body = "<b>*{{ notice.service }}*</b>"
    assert texts(message, body=body).body == "<b>*a*b <i>*</b>"
    assert texts(message, body=body, form="markdown").body == "<b>*a\\*b \\<i\\>*</b>"
    assert texts(message, body=body, form="html").body == "<b>*a*b &lt;i&gt;*</b>"


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_no_value_is_read_as_a_template(name: str) -> None:
    text = HOSTILE_TEXTS[name]
    message = a_message(a_notice(text, reason=text), channel=text)
    told = texts(
        message,
        title="{{ channel }} {{ notice.service }}",
        body="{{ notice.service }} {{ notice.reason }} {{ notice.details }}",
    )
    assert "49" not in told.title + told.body
    assert "\n" not in told.title + told.body
    assert "Bcc" not in told.title or "\r" not in told.title


def test_the_lines_of_a_title_become_one() -> None:
    assert (
        texts(a_message(), title="a\r\nBcc: x\n{{ notice.service }}").title == "a Bcc: x checkout"
    )


@pytest.mark.parametrize("template", ["", "  ", "{% if false %}x{% endif %}", "{# nothing #}"])
def test_a_template_that_says_nothing_is_no_message(template: str) -> None:
    told = texts(a_message(), title=template, body=template)
    assert told == texts(a_message())


FAILING = {
    "no such part": "{{ notice.nothing.at.all }}",
    "by zero": "{{ 1 / 0 }}",
    "not a number": "{{ notice.service + 1 }}",
    "a call of no function": "{{ notice.service() }}",
    "a class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ notice.labels.get.__globals__ }}",
    "changes what is there": "{{ notice.labels.update({'a': 1}) }}",
    "a huge text": "{{ 'x' * 10 ** 10 }}",
    "a huge list": "{{ [1] * 10000000000 }}",
    "a huge power": "{{ 10 ** 10000000 }}",
    "padding": "{{ 'x'.ljust(10000000000) }}",
    "formatting": "{{ '{:10000000000}'.format(1) }}",
    "old formatting": "{{ '%10000000000d' % 1 }}",
    "a long range": "{% for x in range(1000000000) %}{% endfor %}",
    "loops in loops": "{% for a in range(9999) %}{% for b in range(9999) %}"
    "{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}",
    "loops over texts": "{% set t = notice.text %}{% for a in t %}{% for b in t %}{% for c in t %}"
    "{% for d in t %}{% for e in t %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}",
    "an endless text": "{% for x in range(9999) %}{{ notice.text }}{% for y in range(999) %}"
    "{{ y }}{% endfor %}{% endfor %}",
    "calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


@pytest.mark.parametrize("name", FAILING)
def test_a_template_that_fails_is_told_and_the_default_is_sent(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "pulsebase.notifiers")
    told = texts(a_message(), title="T {{ channel }}", body=FAILING[name])
    assert told.body == texts(a_message()).body
    assert told.title == "T ops"
    [record] = caplog.records
    assert record.name == "pulsebase.notifiers"
    said = record.getMessage()
    assert 'the template "body" of the channel "ops" failed' in said
    assert len(said) < 600


def test_html_that_is_too_long_gives_way_and_text_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    small = Limits(title=250, body=400)
    body = "<b>{% for x in range(500) %}x{% endfor %}</b>"
    told = texts(a_message(), body=body, form="html", limits=small)
    assert told.body == texts(a_message(), form="html", limits=small).body
    assert "longer than the 400 characters" in caplog.text
    cut = texts(a_message(), body=body, limits=small).body
    assert len(cut) == 400
    assert cut.endswith("x…")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ notice", "unexpected end of template"),
        ("{% for x in notices %}", "Unexpected end of template"),
        ("{% nonsense %}", "Encountered unknown tag"),
        ("{{ notice | nonsense }}", "No filter named 'nonsense'"),
        ("{{ notice is nonsense }}", "No test named 'nonsense'"),
        ("{{ servce }}", "names nothing but channel, default_body"),
        ("{% include 'etc/passwd' %}", "one template, without include"),
        ("{% import 'os' as os %}", "one template"),
        ("{% extends 'x' %}", "one template"),
    ],
)
def test_what_is_wrong_with_a_template_is_found_at_load(template: str, words: str) -> None:
    found = list(template_problem(template, "body"))
    assert [one.field for one in found] == ["body"]
    assert isinstance(found[0], InvalidValueError)
    assert words.lower() in str(found[0]).lower()


@pytest.mark.parametrize("template", ["{{" * 5_000, "{{ " + "(" * 10_000, "{% if 1 %}" * 5_000])
def test_a_template_of_any_depth_is_an_error_and_no_crash(template: str) -> None:
    assert list(template_problem(template, "title"))
