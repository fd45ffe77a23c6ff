"""The key `expect` of kinds whose answer is one value: what it must be."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LONGEST_VALUE", "ExpectedValue", "number_in"]

LONGEST_VALUE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedValue:
    """What a value must be; all of it must hold. Without any key, every value is good."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    value: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        """Refuse what nothing could fulfil."""
        refuse(self._problems())

    @property
    def is_anything(self) -> bool:
        """Whether every value is good."""
        return self == ExpectedValue()

    def failed(self, got: str) -> tuple[str, str] | None:
        """The first expectation that does not hold, as (name, expected)."""
        if self.value is not None and got != self.value:
            return "value", self.value
        number = number_in(got)
        if self.at_least is not None and not (number is not None and number >= self.at_least):
            return "at_least", f"at least {self.at_least:g}"
        if self.at_most is not None and not (number is not None and number <= self.at_most):
            return "at_most", f"at most {self.at_most:g}"
        return None

    def _problems(self) -> Iterator[InvalidValueError]:
        if self.value is not None and len(self.value) > LONGEST_VALUE:
            yield InvalidValueError("value", self.value, f"at most {LONGEST_VALUE} characters")
        if self.at_least is None or self.at_most is None:
            return
        if not self.at_least <= self.at_most:
            yield InvalidValueError("at_least", self.at_least, "no more than at_most")


def number_in(text: str) -> Decimal | None:
    """The number that a text is; None for other texts, and for what is not finite."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
