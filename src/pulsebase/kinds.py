"""What kinds of probe and kinds of channel share: how they refuse keys of a configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pulsebase.errors import InvalidValueError

__all__ = ["CLOSED", "InvalidFieldsError", "refuse"]

# Every kind says `__pydantic_config__: ClassVar[Any] = CLOSED`: a key that is not a field is an
# error where a configuration file is read. A plain mapping, so that no kind imports pydantic.
CLOSED: Final[Mapping[str, Any]] = {"extra": "forbid"}


class InvalidFieldsError(ValueError):
    """Several fields of a kind are wrong; `errors` holds one error for each."""

    def __init__(self, errors: Iterable[InvalidValueError]) -> None:
        self.errors = tuple(errors)
        super().__init__("; ".join(map(str, self.errors)))


def refuse(problems: Iterable[InvalidValueError]) -> None:
    """Raise what a kind found wrong with its fields, all of it at once."""
    match found := list(problems):
        case []:
            return
        case [only]:
            raise only
        case _:
            raise InvalidFieldsError(found)
