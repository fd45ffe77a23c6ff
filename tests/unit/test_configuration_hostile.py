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
        "alerts",
        "depends_on",
        "policies",
        "open_after",
        "close_after",
        "flapping",
        "down",
        "degraded",
        "link",
        "channels",
        "services",
        "types",
        "hours",
        "after",
        "rate",
        "remind_every",
        "secret",
        "cron",
        "duration",
        "days",
        "from",
        "until",
        "starts_at",
        "ends_at",
        "zone",
        "note",
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
        *[
            "3 of 5",
            "6 in 1h",
            "majority",
            "mailto://a@b.example",
            "https://a.example/{service}",
            "service_down",
            "0 2 * * *",
            "mon",
            "22:00",
            "24:00",
            "2026-12-01T22:00:00",
            "0001-01-01T00:00:00+23:59",
            "Europe/Berlin",
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
        "alerts": TABLES | VALUES,
        "channels": st.lists(TABLES, max_size=3) | VALUES,
        "routes": st.lists(TABLES, max_size=3) | VALUES,
        "maintenance": st.lists(TABLES, max_size=3) | VALUES,
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


def test_a_circle_through_all_services_is_told_without_delay() -> None:
    """Each needs the next one, and the last one the first; that one line is short."""
    text = "".join(
        f'[[services]]\nname = "s{n}"\nurl = "http://a/"\ndepends_on = ["s{(n + 1) % MANY}"]\n'
        for n in range(MANY)
    )
    begin = time.process_time()
    [complaint] = complaints(text)
    assert time.process_time() - begin < 20
    assert '"s19999" → "s0" → "s1"' in complaint
    assert len(complaint) < 300


@pytest.mark.parametrize(
    ("text", "environ", "problems"),
    [
        (many("x = 1"), {}, MANY),
        (many('headers = { A = "${T}" }'), {"T": "a\nb"}, MANY),
        (many('body = "${T}"'), {}, MANY),
        (many('group = "absent"'), {}, MANY),
        (MINIMAL * MANY, {}, MANY - 1),
        (many("alerts.open_after = 0"), {}, MANY),
        (many('depends_on = ["absent"]'), {}, MANY),
        (many('depends_on = ["s0"]').replace('"s0"]', '"s1"]', 1), {}, 1),
    ],
    ids=[
        *["unknown key", "bad secret", "unset variable", "unknown group", "one name"],
        *["bad policy", "unknown needed", "two in a circle"],
    ],
)
def test_the_same_mistake_many_times_is_told_without_delay(
    text: str, environ: dict[str, str], problems: int
) -> None:
    begin = time.process_time()
    assert len(complaints(text, environ)) == problems
    assert time.process_time() - begin < 20
