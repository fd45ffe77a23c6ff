"""The kind `apprise`: everything that the library Apprise speaks, from mail to chat rooms."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from apprise import Apprise, AppriseAsset

from pulsebase.durations import Duration  # noqa: TC001 -- pydantic resolves the fields at run time
from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.fields import CLOSED, refuse, timeout_problem
from pulsebase.notifiers.support.redaction import HIDDEN
from pulsebase.notifiers.support.texts import MessageTexts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from apprise import NotifyBase

    from pulsebase.notifiers.support.message import Message

__all__ = ["AppriseNotifier"]

_URL_RULE: Final = "a URL that Apprise understands, such as mailto://… or slack://…"
_WEB_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AppriseNotifier(MessageTexts):
    """Hand each message to Apprise, whose URL says to which service."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str = field(repr=False)
    timeout: Duration = timedelta(seconds=30)

    def __post_init__(self) -> None:
        """Refuse what could only fail when something is to be told."""
        refuse(self._problems())

    async def send(self, message: Message) -> None:
        """Send it once, in a thread."""
        raise NotImplementedError

    def _problems(self) -> Iterator[InvalidValueError]:
        scheme = self.url.partition(":")[0].lower()
        if scheme in _WEB_SCHEMES or not self.url.isprintable() or _service(self.url) is None:
            yield InvalidValueError("url", HIDDEN, _URL_RULE)
        yield from timeout_problem(self.timeout)
        yield from self.text_problems()


def _service(url: str) -> NotifyBase | None:
    return Apprise.instantiate(url, asset=AppriseAsset(), suppress_exceptions=True)
