"""What a monitoring plugin says after `|`: measured values with their units and thresholds.

The form is that of the Monitoring Plugins Development Guidelines, section "Performance data":
`'label'=value[unit];[warn];[crit];[min];[max]`, separated by spaces. What does not have this form
is passed over, since plugins often stray from it.
"""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import Any, Final

__all__ = ["parse_perfdata", "split_output"]

_MOST_CHARACTERS: Final = 16_384
_MOST_VALUES: Final = 50
_LONGEST_RANGE: Final = 50
# Beyond it a float no longer holds every whole number.
_LARGEST_WHOLE: Final = 2**53

_NUMBER: Final = r"[-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?"
# A label in quotes may hold anything, a quote is doubled; U is a value that could not be measured.
_ITEM: Final = re.compile(
    rf"(?<!\S)(?:'(?P<quoted>(?:[^']|''){{1,100}})'|(?P<plain>[^\s'=]{{1,100}}))"
    rf"=(?P<value>{_NUMBER}|U)(?P<unit>[^\s;0-9'.,=+-]{{0,10}})"
    r"(?P<rest>(?:;[^\s;]*){0,4});*(?=\s|$)"
)


def split_output(text: str) -> tuple[str, str]:
    """The line for people and the performance data of a plugin's whole output.

    The data begin after `|` on the first line, and go on after a `|` on a later one to the end.
    """
    first, _, long = text.lstrip().partition("\n")
    shown, _, data = first.partition("|")
    more = long.partition("|")[2]
    return shown.strip(), f"{data} {more}".strip()


def parse_perfdata(data: str) -> dict[str, dict[str, Any]]:
    """Each label's `value`, `unit`, `warn`, `crit`, `min` and `max`; what is not given is left out.

    `warn` and `crit` are text, since they may be ranges such as `@10:20`; a value that could not be
    measured is None.
    """
    found: dict[str, dict[str, Any]] = {}
    for item in islice(_ITEM.finditer(data[:_MOST_CHARACTERS]), _MOST_VALUES):
        found[item["plain"] or item["quoted"].replace("''", "'")] = _measured(item)
    return found


def _measured(item: re.Match[str]) -> dict[str, Any]:
    warn, crit, low, high = (item["rest"].split(";")[1:] + [""] * 4)[:4]
    given = {
        "unit": item["unit"],
        "warn": warn[:_LONGEST_RANGE],
        "crit": crit[:_LONGEST_RANGE],
        "min": _number(low),
        "max": _number(high),
    }
    return {"value": _number(item["value"])} | {
        key: value for key, value in given.items() if value not in {"", None}
    }


def _number(text: str) -> int | float | None:
    if not re.fullmatch(_NUMBER, text):
        return None
    number = float(text)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) <= _LARGEST_WHOLE else number
