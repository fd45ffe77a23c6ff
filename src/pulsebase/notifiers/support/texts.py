"""The keys of every channel that decide what its messages say, and the texts that come of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from markupsafe import Markup

from pulsebase.notifiers.support.cleaning import one_line, shortened
from pulsebase.notifiers.support.facts import facts_of, spoken_time
from pulsebase.notifiers.support.links import link_problem
from pulsebase.notifiers.support.styles import style_of
from pulsebase.notifiers.support.templates import TemplateFailedError, render, template_problem
from pulsebase.notifiers.support.wording import default_body, default_title, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pulsebase.errors import InvalidValueError
    from pulsebase.notifiers.support.facts import Facts
    from pulsebase.notifiers.support.message import Message
    from pulsebase.notifiers.support.styles import Format

__all__ = ["Limits", "MessageTexts", "Texts"]

log = logging.getLogger("pulsebase.notifiers")

# A template's own characters count as well; what comes of a title is one line of a subject.
_LONGEST_TITLE: Final = 250


class Limits(NamedTuple):
    """How long a title and a body may be, in characters."""

    title: int
    body: int


class Texts(NamedTuple):
    """What a message says. The title is plain text in one line, the body has the format's marks."""

    title: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageTexts:
    """`title` and `body` are templates, `link` is where a notice leads to."""

    title: str | None = None
    body: str | None = None
    link: str | None = field(default=None, repr=False)

    def text_problems(self) -> Iterator[InvalidValueError]:
        """What is wrong with these keys."""
        yield from template_problem(self.title, "title")
        yield from template_problem(self.body, "body")
        yield from link_problem(self.link)

    def facts_in(self, message: Message, *, now: datetime | None = None) -> list[Facts]:
        """What can be said of each notice of a message."""
        moment = now or datetime.now(UTC)
        return [facts_of(notice, link=self.link, now=moment) for notice in message.notices]

    def texts_of(
        self, message: Message, facts: Sequence[Facts], *, form: Format, limits: Limits
    ) -> Texts:
        """The texts of a message, from its templates or, where one fails, without them.

        A failing template is logged: people are told what happened all the same.
        """
        title = default_title(facts, longest=min(limits.title, _LONGEST_TITLE))
        body = _cut(default_body(facts, style_of(form), longest=limits.body), form, limits.body)
        if self.title is None and self.body is None:
            return Texts(title, body)
        marked = Markup(body) if form != "text" else body  # noqa: S704 -- ours, and escaped
        variables = _variables(message, facts, title, marked)
        own_title = self._rendered("title", message, variables, "text")
        own_body = self._rendered("body", message, variables, form)
        if own_body is not None and form == "html" and len(own_body) > limits.body:
            self._tell("body", message, f"longer than the {limits.body:,} characters that fit")
            own_body = None  # cut anywhere, it would be no HTML
        line = one_line(own_title or "", longest=min(limits.title, _LONGEST_TITLE))
        text = shortened(own_body or "", limits.body)
        return Texts(line or title, text if text.strip() else body)

    def _rendered(
        self, key: str, message: Message, variables: dict[str, Any], form: Format
    ) -> str | None:
        template: str | None = getattr(self, key)
        if template is None:
            return None
        try:
            return render(template, variables, form)
        except TemplateFailedError as error:
            self._tell(key, message, str(error))
            return None

    @staticmethod
    def _tell(key: str, message: Message, reason: str) -> None:
        log.warning(
            'the template "%s" of the channel "%s" failed, and the default text is sent (%s); '
            "correct it in the configuration file",
            key,
            one_line(message.channel, longest=100),
            one_line(reason, longest=300),
        )


def _cut(text: str, form: Format, longest: int) -> str:
    """The last resort, for a limit that not even a headline fits into."""
    if len(text) <= longest:
        return text
    return shortened(text, longest) if form != "html" else ""


def _variables(
    message: Message, facts: Sequence[Facts], title: str, body: str | Markup
) -> dict[str, Any]:
    notices = [_notice(one) for one in facts]
    return {
        "channel": one_line(message.channel, longest=100),
        "message_id": str(message.id),
        "now": spoken_time(datetime.now(UTC)),
        "notices": notices,
        "notice": notices[0],
        "default_title": title,
        "default_body": body,
    }


def _notice(facts: Facts) -> dict[str, Any]:
    """One notice as a template sees it."""
    return {
        "service": facts.service,
        "kind": facts.kind,
        "level": facts.level,
        "status": facts.status,
        "alert_type": facts.alert_type,
        "labels": facts.labels,
        "since": facts.since_text,
        "since_at": facts.since,
        "until": facts.until_text,
        "until_at": facts.until,
        "lasted": facts.lasted_text,
        "lasted_seconds": facts.lasted.total_seconds(),
        "reason": facts.reason,
        "location": facts.location,
        "link": facts.link,
        "text": sentence(facts),
        "resolved_by": facts.resolved_by,
        "actor": facts.actor,
        "note": facts.note,
        "held_by": facts.held_by,
        "sequence": facts.sequence,
        "event_id": str(facts.event_id),
        "incident_id": str(facts.incident_id),
        "details": facts.details,
    }
