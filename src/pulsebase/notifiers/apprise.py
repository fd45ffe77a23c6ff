"""The kind `apprise`: everything that the library Apprise speaks, from mail to chat rooms."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from apprise import Apprise, AppriseAsset, NotifyType

from pulsebase.durations import Duration, format_duration
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.notifiers.support.apprise_log import overheard
from pulsebase.notifiers.support.cleaning import one_line, shortened_bytes
from pulsebase.notifiers.support.fields import timeout_problem
from pulsebase.notifiers.support.outcome import DeliveryFailedError
from pulsebase.notifiers.support.redaction import HIDDEN, redact, secrets_in_url
from pulsebase.notifiers.support.styles import style_of
from pulsebase.notifiers.support.texts import Limits, MessageTexts, Texts
from pulsebase.notifiers.support.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from apprise import NotifyBase

    from pulsebase.notifiers.support.facts import Facts
    from pulsebase.notifiers.support.message import Message
    from pulsebase.notifiers.support.styles import Format

__all__ = ["AppriseNotifier"]

_URL_RULE: Final = "a URL that Apprise understands, such as mailto://… or slack://…"
_WEB_SCHEMES: Final = frozenset({"http", "https"})
_LONGEST_REASON: Final = 500
_LONGEST_TITLE: Final = 250
# In bytes, since a subject that is not plain ASCII triples, and mail has lines of 998.
_LARGEST_TITLE: Final = 250
# Where not even that much is left for the message itself, it goes without its reference.
_SHORTEST_BODY: Final = 100
_BETWEEN: Final = "\n\n"
# Values in a query that say where to and how, and open nothing.
_HARMLESS: Final = frozenset(
    {
        "bcc",
        "cc",
        "cto",
        "format",
        "from",
        "mode",
        "name",
        "overflow",
        "rto",
        "smtp",
        "to",
        "verify",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseNotifier(MessageTexts):
    """Hand each message to Apprise, whose URL says to which service.

    Apprise says no more than whether it worked, so every failure counts as one that may pass.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str = field(repr=False)
    timeout: Duration = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse what could only fail when something is to be told."""
        refuse(self._problems())

    async def send(self, message: Message) -> None:
        """Send it once, in a thread of its own."""
        try:
            reason = await in_thread(
                partial(self._send, message), timeout_seconds=self.timeout.total_seconds()
            )
        except TimeoutError:
            reason = (
                f"not done within {format_duration(self.timeout)}; whether it arrived is unknown"
            )
            raise DeliveryFailedError(reason) from None
        if reason is not None:
            raise DeliveryFailedError(reason)

    def _send(self, message: Message) -> str | None:
        """Why it did not arrive; None where it did."""
        with overheard() as lines:
            try:
                if self._is_sent(message):
                    return None
            except Exception as error:  # noqa: BLE001 -- a hundred services, each with errors of its own
                lines.append(f"{type(error).__name__}: {error}")
        said = redact("; ".join(map(str.strip, lines)), self._secrets())
        return one_line(said or "Apprise does not say why", longest=_LONGEST_REASON)

    def _is_sent(self, message: Message) -> bool:
        service = _service(self.url)
        if service is None:
            return False
        # Apprise would otherwise call a message delivered that it could not deliver.
        service.optional = False
        _add_key(service, message)
        form = _format(service)
        facts = self.facts_in(message)
        title, body = self._texts(message, facts, service, form)
        sender = Apprise(asset=service.asset)
        sender.add(service)
        kind = _notify_type(facts)
        return bool(sender.notify(body=body, title=title, notify_type=kind, body_format=form))

    def _texts(
        self, message: Message, facts: Sequence[Facts], service: NotifyBase, form: Format
    ) -> Texts:
        """The texts for one service, within what it takes."""
        style = style_of(form)
        has_title = service.title_maxlen > 0
        longest_title = min(service.title_maxlen, _LONGEST_TITLE) if has_title else _LONGEST_TITLE
        # Room for a title within the body, whoever puts it there.
        shares = service.overflow_amalgamate_title or (not has_title and self.title is not None)
        reference = style.paragraphs([style.escape(f"Message {message.id}")])
        room = service.body_maxlen - (longest_title + len(_BETWEEN) if shares else 0)
        left = room - len(_BETWEEN) - len(reference)
        ends = [reference] if left >= _SHORTEST_BODY else []
        limits = Limits(longest_title, left if ends else max(room, 1))
        texts = self.texts_of(message, facts, form=form, limits=limits)
        if has_title:
            title = shortened_bytes(texts.title, _LARGEST_TITLE)
            return Texts(title, _BETWEEN.join((texts.body, *ends)))
        # The default text says it all; a title of the configuration's own goes before it.
        own = style.paragraphs([style.strong(style.escape(texts.title))])
        begins = [own] if self.title is not None else []
        return texts._replace(title="", body=_BETWEEN.join((*begins, texts.body, *ends)))

    def _secrets(self) -> Iterator[str]:
        parts = urlsplit(self.url)
        shown = {value for name, value in parse_qsl(parts.query) if name in _HARMLESS}
        yield from (secret for secret in secrets_in_url(self.url) if unquote(secret) not in shown)
        # Where a URL begins with a token instead of a host, Apprise itself hides it.
        host = parts.netloc.rpartition("@")[2]
        if host not in _shown_of(self.url):
            yield host

    def _problems(self) -> Iterator[InvalidValueError]:
        if not self._is_understood():
            yield InvalidValueError("url", HIDDEN, _URL_RULE)
        yield from timeout_problem(self.timeout)
        yield from self.text_problems()

    def _is_understood(self) -> bool:
        scheme = self.url.partition(":")[0].lower()
        if scheme in _WEB_SCHEMES or not self.url.isprintable():
            return False
        try:
            urlsplit(self.url)
        except ValueError:
            return False
        with overheard():
            return _service(self.url) is not None


@cache
def _load_services() -> None:
    """Let Apprise import all of its services, some of which use what Python has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        Apprise.instantiate("json://localhost")


def _service(url: str) -> NotifyBase | None:
    _load_services()
    # All of it in our thread, and without a time limit of Apprise's own: its threads are few and
    # everybody's, so that some services that hang would hold up all others, and our process's end.
    asset = AppriseAsset(
        async_mode=False, service_timeout=0, app_id="pulsebase", app_desc="pulsebase"
    )
    return Apprise.instantiate(url, asset=asset, suppress_exceptions=True)


def _shown_of(url: str) -> str:
    """What Apprise itself would show of a URL."""
    with overheard():
        service: Any = _service(url)
    return "" if service is None else str(service.url(privacy=True))


def _add_key(service: NotifyBase, message: Message) -> None:
    """Give the receiver what to know a repeat by, where the service has headers."""
    headers = getattr(service, "headers", None)
    if "headers" in service.template_kwargs and isinstance(headers, dict):
        is_mail = "mail" in str(service.protocol)
        headers["X-Idempotency-Key" if is_mail else "Idempotency-Key"] = str(message.id)


def _format(service: NotifyBase) -> Format:
    form = service.resolve_format(None).value
    return cast("Format", form) if form in {"html", "markdown"} else "text"


def _notify_type(facts: Sequence[Facts]) -> NotifyType:
    topics = {one.topic for one in facts}
    if topics & {"down", "still_down", "flapping"}:
        return NotifyType.FAILURE
    if topics & {"degraded", "still_degraded", "changed"}:
        return NotifyType.WARNING
    return NotifyType.SUCCESS if "healthy_again" in topics else NotifyType.INFO
