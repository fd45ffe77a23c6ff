"""Every kind of probe keeps the same promises; a new kind is held to them by its file alone."""

from __future__ import annotations

import dataclasses
import json
import pkgutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

import pulsebase.probes
from pulsebase.errors import ConfigurationError
from pulsebase.kinds import CLOSED
from pulsebase.probes import Outcome, Probe, ProbeTools, load_probe_kind, probe_kinds
from tests.support.looking import a_look

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOBODY = {"host": "127.0.0.1", "port": 1}
# The smallest keys of each kind, aimed at a port of this machine on which nobody listens, or at
# what cannot be well.
SMALLEST: dict[str, dict[str, Any]] = {
    "command": {"command": ("sh", "-c", "exit 2")},
    "dns": {"query": "a.example", "server": "127.0.0.1", "port": 1},
    "grpc": _NOBODY,
    "heartbeat": {"period": timedelta(hours=1)},
    "http": {"url": "http://127.0.0.1:1/"},
    "ping": {"host": f"{'x' * 64}.invalid"},
    "postgres": {"url": "postgresql://nobody@127.0.0.1:1/nothing"},
    "python": {"callable": "tests.support.looking:raises"},
    "redis": {"url": "redis://127.0.0.1:1/0"},
    "smtp": _NOBODY,
    "ssh": _NOBODY,
    "supabase": {"url": "http://127.0.0.1:1", "key": "sb_secret_nothing"},
    "tcp": _NOBODY,
    "tls": _NOBODY,
    "websocket": {"url": "ws://127.0.0.1:1/"},
}
# A heartbeat asks nobody: it waits for a report.
ASKING = sorted(set(probe_kinds()) - {"heartbeat"})
REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

each_kind = pytest.mark.parametrize("kind", probe_kinds())


def test_every_file_is_a_kind() -> None:
    modules = list(pkgutil.iter_modules(pulsebase.probes.__path__))
    assert {module.name for module in modules if not module.ispkg} == set(probe_kinds())
    assert set(probe_kinds()) <= SMALLEST.keys()


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match='"htpp"; did you mean "http"'):
        load_probe_kind("htpp")
    with pytest.raises(ConfigurationError, match=r"there are: .*http"):
        load_probe_kind("curl")


def test_naming_the_kinds_imports_none_of_them() -> None:
    program = (
        "import sys, pulsebase.probes as p; p.probe_kinds(); "
        "sys.exit(bool({'pycurl', 'pydantic', 'pulsebase.probes.http'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@each_kind
def test_a_kind_is_a_frozen_dataclass_that_is_its_configuration(kind: str) -> None:
    kind_class: Any = load_probe_kind(kind)
    probe: Any = kind_class(**SMALLEST[kind])
    assert isinstance(probe, Probe)
    assert probe == kind_class(**SMALLEST[kind])
    field = dataclasses.fields(kind_class)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(probe, field, None)


@each_kind
def test_a_kind_reads_its_keys_and_refuses_others(kind: str) -> None:
    kind_class: Any = load_probe_kind(kind)
    assert kind_class.__pydantic_config__ is CLOSED
    adapter: TypeAdapter[Any] = TypeAdapter(kind_class)
    assert adapter.validate_python(SMALLEST[kind]) == kind_class(**SMALLEST[kind])
    with pytest.raises(ValidationError):
        adapter.validate_python(SMALLEST[kind] | {"no_such_key": 1})


@each_kind
def test_a_kind_has_a_json_schema_and_takes_no_key_of_the_service(kind: str) -> None:
    schema = TypeAdapter(load_probe_kind(kind)).json_schema()
    assert schema["additionalProperties"] is False
    assert not {"name", "kind", "interval", "timeout"} & schema["properties"].keys()


@each_kind
def test_every_key_of_a_kind_has_its_heading_in_the_reference(kind: str) -> None:
    page = (REFERENCE / f"probe-{kind}.md").read_text("utf-8")
    schema = TypeAdapter(load_probe_kind(kind)).json_schema()
    for key, about in schema["properties"].items():
        inner = schema.get("$defs", {}).get(about.get("$ref", "").rpartition("/")[2], {})
        for name in [f"{key}.{inner_key}" for inner_key in inner.get("properties", ())] or [key]:
            assert f"### `{name}`\n" in page, name


@pytest.mark.parametrize("kind", ASKING)
async def test_a_service_that_is_away_is_down_and_says_why(kind: str) -> None:
    probe: Any = load_probe_kind(kind)
    before = datetime.now(UTC)
    async with ProbeTools() as tools:
        outcome = await probe(**SMALLEST[kind]).probe(a_look(tools, timeout_seconds=2))
    assert outcome.status == "down"
    assert before <= outcome.checked_at <= datetime.now(UTC)
    if "error" in outcome.details:
        assert outcome.latency_ms is None
        assert outcome.details["error"].keys() == {"kind", "message"}
    else:
        assert outcome.details["failed"].keys() == {"expectation", "expected", "got"}


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys too."""
    match value:
        case str():
            yield value
        case dict():
            yield from value
            for entry in value.values():
                yield from texts(entry)
        case list():
            for entry in value:
                yield from texts(entry)
        case _:
            return


@given(st.dictionaries(st.text(), ANY_JSON))
def test_details_are_always_storable(details: dict[str, Any]) -> None:
    outcome = Outcome(status="down", latency_ms=None, checked_at=datetime.now(UTC), details=details)
    stored = json.dumps(outcome.details, allow_nan=False, ensure_ascii=False).encode()
    assert len(stored) < 64 * 1024
    assert not any("\x00" in text for text in texts(outcome.details))


@pytest.mark.parametrize(
    "details",
    [
        {"text": "x" * 2_000_000},
        {"text": "\U0001f600\x00\ud800" * 100_000},
        {str(n): "x" * 1000 for n in range(100_000)},
        {"x" * 5_000 + str(n): 1 for n in range(200)},
        {"list": [["\U0001f600" * 900] * 60] * 60},
    ],
    ids=["long", "odd", "many", "long keys", "nested"],
)
def test_large_details_are_shortened(details: dict[str, Any]) -> None:
    outcome = Outcome(status="down", latency_ms=None, checked_at=datetime.now(UTC), details=details)
    stored = json.dumps(outcome.details).encode()
    assert 0 < len(stored) < 48 * 1024
    assert not any("\x00" in text for text in texts(outcome.details))


def test_small_fixed_keys_survive_a_flood() -> None:
    error = {"kind": "timeout", "message": "no answer"}
    flood = {"flood": ["\U0001f600" * 900] * 90, "error": error}
    outcome = Outcome(status="down", latency_ms=None, checked_at=datetime.now(UTC), details=flood)
    assert outcome.details == {"error": error}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 1, 1),  # noqa: DTZ001 - the mistake is what is tested
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_time_that_is_not_utc_is_a_mistake_of_the_kind(moment: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        Outcome(status="down", latency_ms=None, checked_at=moment)


def test_details_that_are_no_json_are_a_mistake_of_the_kind() -> None:
    with pytest.raises(TypeError):
        Outcome(
            status="down", latency_ms=None, checked_at=datetime.now(UTC), details={"x": object()}
        )
