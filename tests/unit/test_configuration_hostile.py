"""Whatever is in a file, it is read or refused with sentences: no other error, and no delay."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pulsebase.errors import ConfigurationError
from pulsebase.probes import probe_kinds
from tests.unit.configuration_file import MINIMAL, complaints, load

if TYPE_CHECKING:
    from pathlib import Path

MANY = 20_000
KEYS = st.sampled_from(
    [
        "name",
        "kind",
        "group",
        "interval",
        "timeout",
        "retry_interval",
        "labels",
        "url",
        "host",
        "port",
        "headers",
        "expect",
        "method",
        "body",
        "key",
        "spool_limit",
        "connectivity",
    ]
)
TEXTS = st.sampled_from(
    [
        *[
            "",
            "a",
            "web",
            "1s",
            "0s",
            "2m",
            "GET",
            "HEAD",
            "1MiB",
            "http://a/",
            "${X}",
            "${",
            "$${",
            "\x07",
        ],
        *probe_kinds(),
    ]
)
VALUES = st.recursive(
    TEXTS
    | st.booleans()
    | st.integers(-1, 70_000)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=6)
FILES = st.fixed_dictionaries(
    {"services": st.lists(TABLES, min_size=1, max_size=3) | VALUES},
    optional={
        "groups": st.dictionaries(st.sampled_from(["a", "web", "${X}"]), TABLES, max_size=2)
        | VALUES,
        "defaults": TABLES | VALUES,
        "monitor": TABLES | VALUES,
        "database": TABLES | VALUES,
        "other": VALUES,
    },
)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def toml(value: Any) -> str:
    """A value as TOML, which is JSON but for tables and numbers."""
    match value:
        case dict():
            pairs = (f"{json.dumps(key)} = {toml(entry)}" for key, entry in value.items())
            return f"{{ {', '.join(pairs)} }}"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
        case bool():
            return "true" if value else "false"
        case float():
            return repr(value) if value == value and abs(value) != float("inf") else "0.5"  # noqa: PLR0124 -- not a number
        case _:
            return str(value)


@given(FILES)
@example({"services": [{"name": "a", "group": "web"}], "groups": {"web": {"kind": 3}}})
@example({"services": [{"name": "a", "group": "web", "kind": []}], "groups": {"web": {"url": {}}}})
@example({"services": ["${"]})
@example({"services": [{"labels": {"a": "b"}, "expect": {"status": [[]]}}]})
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_tables_are_read_or_refused(tables: dict[str, Any]) -> None:
    text = "".join(f"{key} = {toml(value)}\n" for key, value in tables.items())
    try:
        first = load(text, {"X": "x"})
    except ConfigurationError:
        return  # any other error would be a mistake of ours
    assert load(text, {"X": "x"}) == first


def many(*lines: str) -> str:
    """So many services, each with these lines."""
    return "".join(
        "\n".join(["[[services]]", f'name = "s{n}"', 'url = "http://a/"', *lines, ""])
        for n in range(MANY)
    )


@pytest.mark.parametrize(
    ("text", "environ", "problems"),
    [
        (many("x = 1"), {}, MANY),
        (many('headers = { A = "${T}" }'), {"T": "a\nb"}, MANY),
        (many('body = "${T}"'), {}, MANY),
        (many('group = "absent"'), {}, MANY),
        (MINIMAL * MANY, {}, MANY - 1),
    ],
    ids=["unknown key", "bad secret", "unset variable", "unknown group", "one name"],
)
def test_the_same_mistake_many_times_is_told_without_delay(
    text: str, environ: dict[str, str], problems: int
) -> None:
    begin = time.process_time()
    assert len(complaints(text, environ)) == problems
    assert time.process_time() - begin < 20
