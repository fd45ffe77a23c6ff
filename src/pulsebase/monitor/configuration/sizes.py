"""Sizes as people write them: `512KiB`, `256MiB`, `2GB`.

A unit is always there, and `MiB` and `MB` are told apart: 1024 or 1000 of the one below. `Size` is
the type of a dataclass field that takes such a text in a configuration file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["Size", "format_size", "parse_size"]

_UNITS: Final = {
    "TiB": 1024**4,
    "TB": 1000**4,
    "GiB": 1024**3,
    "GB": 1000**3,
    "MiB": 1024**2,
    "MB": 1000**2,
    "KiB": 1024,
    "kB": 1000,
    "B": 1,
}
_FORM: Final = rf"(\d{{1,15}}(?:\.\d{{1,15}})?)({'|'.join(_UNITS)})"
_SIZE: Final = re.compile(_FORM, re.ASCII)
_RULE: Final = 'a size such as "512KiB", "256MiB" or "2GB"'


def parse_size(text: str) -> int:
    """Read a size in bytes; raises ValueError with the rule when it is none."""
    match = _SIZE.fullmatch(text)
    if match is None:
        message = f"must be {_RULE}"
        raise ValueError(message)
    return round(float(match[1]) * _UNITS[match[2]])


def format_size(size_bytes: int) -> str:
    """Write a size the way that `parse_size` reads it, in the largest unit that is exact."""
    unit = next(name for name, size in _UNITS.items() if size_bytes % size == 0 or size == 1)
    return f"{size_bytes // _UNITS[unit]}{unit}" if size_bytes else "0B"


def _read(value: object) -> int:
    if isinstance(value, str):
        return parse_size(value)
    message = f"must be {_RULE}, in quotes"
    raise ValueError(message)


class _WrittenAsText:
    """Tell pydantic, where a configuration file is read, that the field is written as text."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> Any:
        # Imported here: only who reads a file has pydantic installed, and it imports slowly.
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(_read)

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: GetJsonSchemaHandler) -> Any:
        return {"type": "string", "pattern": f"^{_FORM}$"}


Size = Annotated[int, _WrittenAsText()]
