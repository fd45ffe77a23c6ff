"""What every kind of channel promises, and how it says that a message did not arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pulsebase.errors import PulsebaseError

if TYPE_CHECKING:
    from datetime import timedelta

    from pulsebase.notifiers.support.message import Message

__all__ = ["DeliveryFailedError", "DeliveryRefusedError", "Notifier"]


class DeliveryFailedError(PulsebaseError):
    """The message did not arrive, or nobody knows whether it did; the same may work later.

    `retry_after_seconds` is what the other side asked for.
    """

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)

    def __reduce__(self) -> tuple[type[DeliveryFailedError], tuple[str, float | None]]:
        """Pickle by both arguments."""
        return (type(self), (str(self), self.retry_after_seconds))


class DeliveryRefusedError(PulsebaseError):
    """The message was refused for good: as long as nothing is changed, trying again is no use."""


@runtime_checkable
class Notifier(Protocol):
    """Something that can tell: a frozen dataclass that is its own configuration.

    Its fields are keys of `[[channels]]`; what is wrong with them is refused by `__post_init__`, so
    at load and never when something is to be told. Its `repr` shows no secret.
    """

    @property
    def timeout(self) -> timedelta:
        """How long one `send` may take, all in all."""
        ...

    async def send(self, message: Message) -> None:
        """Tell it once; it has arrived when this returns.

        Raises DeliveryFailedError or DeliveryRefusedError with a sentence that may be shown. Any
        other exception means a mistake in the kind itself.
        """
        ...
