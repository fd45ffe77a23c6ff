"""The configuration file and its reference agree: every table, key and kind, both ways."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pulsebase.monitor.configuration import DatabaseKeys, MonitorKeys
from pulsebase.monitor.configuration.alerts import AlertsTable, PolicyKeys
from pulsebase.monitor.configuration.channels import CHANNEL_KEYS
from pulsebase.monitor.configuration.maintenance import MaintenanceKeys
from pulsebase.monitor.configuration.pace import SharedKeys
from pulsebase.monitor.configuration.reader import TABLES
from pulsebase.monitor.configuration.routes import RouteKeys
from pulsebase.monitor.configuration.services import GROUP_KEYS, SERVICE_KEYS
from pulsebase.probes import probe_kinds

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
# A field cannot have this name.
NAMES = {"begin": "from"}
PAGE = (REFERENCE / "configuration.md").read_text("utf-8")
KEYS = {
    "[database]": {one.name for one in fields(DatabaseKeys)},
    "[monitor]": {one.name for one in fields(MonitorKeys)},
    "[defaults]": {one.name for one in fields(SharedKeys)},
    "[groups.NAME]": set(GROUP_KEYS),
    "[[services]]": set(SERVICE_KEYS),
    "[alerts]": {one.name for one in fields(AlertsTable)} | {"policies"},
    "[[alerts.policies]]": {one.name for one in fields(PolicyKeys)},
    "[[channels]]": {*CHANNEL_KEYS, "url"},
    "[[routes]]": {one.name for one in fields(RouteKeys)},
    "[[maintenance]]": {NAMES.get(one.name, one.name) for one in fields(MaintenanceKeys)},
}


def section(table: str) -> str:
    """What the page says below the heading of a table."""
    parts = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[f"`{table}`"]


def headings(table: str) -> set[str]:
    """The keys that have a heading below that of a table; one heading may be for several."""
    found = re.findall(r"^### (.+)$", section(table), re.MULTILINE)
    return {key.strip("`") for heading in found for key in heading.split(", ")}


def test_every_table_has_its_section() -> None:
    assert {re.sub(r"\W|NAME", "", table.partition(".")[0]) for table in KEYS} == set(TABLES)


@pytest.mark.parametrize("table", KEYS)
def test_every_key_has_its_heading_and_no_other(table: str) -> None:
    assert headings(table) == KEYS[table]


def test_every_kind_is_named_with_a_link_to_its_page() -> None:
    linked = set(re.findall(r"\(probe-(\w+)\.md\)", section("[[services]]")))
    assert linked >= set(probe_kinds())
    assert {kind for kind in linked if (REFERENCE / f"probe-{kind}.md").exists()} >= set(
        probe_kinds()
    )


def test_defaults_are_those_of_the_dataclass() -> None:
    text = section("[monitor]")
    for one in fields(MonitorKeys):
        if isinstance(one.default, int) and one.name != "spool_limit":
            about = text.partition(f"### `{one.name}`")[2].partition("###")[0]
            assert f"Default: `{one.default}`" in about
