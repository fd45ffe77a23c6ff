"""The JSON Schema of the configuration file: right files are valid, typical mistakes are not."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator
from pydantic import TypeAdapter

from pulsebase.monitor.configuration.schema import configuration_schema
from pulsebase.monitor.configuration.services import SERVICE_KEYS
from pulsebase.probes import load_probe_kind, probe_kinds
from tests.unit.configuration_file import MINIMAL

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "reference" / "pulsebase.schema.json"
SCHEMA, REMARKS = configuration_schema()
# Editors of TOML go by draft 4, whatever a schema declares.
DIALECTS = pytest.mark.parametrize("dialect", [Draft202012Validator, Draft4Validator])


def parsed(text: str) -> Any:
    """A file as editors see it, who have texts for TOML's dates."""
    return json.loads(json.dumps(tomllib.loads(text), default=lambda moment: moment.isoformat()))


def is_valid(text: str, dialect: Any = Draft202012Validator) -> bool:
    """Whether the schema accepts a file."""
    return bool(dialect(SCHEMA).is_valid(parsed(text)))


def texts() -> Iterator[tuple[str, str]]:
    """Every configuration file of the pages and of the examples, with a name for it."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        blocks = re.findall(
            r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE
        )
        for number, block in enumerate(blocks):
            yield f"{page.relative_to(ROOT)}-{number}", block
    for path in sorted((ROOT / "examples").rglob("pulsebase*.toml")):
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def examples() -> list[Any]:
    """Those that watch something, of kinds that are there: one page shows how to add another."""
    kinds = {"http", *probe_kinds()}
    return [
        pytest.param(text, id=name)
        for name, text in texts()
        if (services := tomllib.loads(text).get("services"))
        and all(service.get("kind", "http") in kinds for service in services)
    ]


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_kind_has_its_branches() -> None:
    assert REMARKS == []
    branches = {f"service-{kind}" for kind in probe_kinds()}
    assert branches | {f"group-{kind}" for kind in probe_kinds()} <= SCHEMA["$defs"].keys()


def test_the_published_one_is_what_is_made_now() -> None:
    command = "python -m pulsebase check-config --schema > docs/reference/pulsebase.schema.json"
    assert json.loads(PUBLISHED.read_text("utf-8")) == SCHEMA, f"run: {command}"


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "pulsebase", "check-config", "--schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(printed.stdout) == SCHEMA


@DIALECTS
@pytest.mark.parametrize("example", examples())
def test_every_example_of_the_pages_is_valid(example: str, dialect: Any) -> None:
    assert not list(dialect(SCHEMA).iter_errors(parsed(example)))


@DIALECTS
@pytest.mark.parametrize(
    "text",
    [
        '[groups.web]\ninterval = "1m"\n[[services]]\nname = "a"\ngroup = "web"\n',
        '[groups.site]\nkind = "tcp"\nport = 1\n[[services]]\nname = "a"\ngroup = "site"\n',
        '[[services]]\nname = "a"\ngroup = "site"\nkind = "tcp"\nport = 1\n',
        f'{MINIMAL}method = "${{METHOD}}"\ninterval = "${{INTERVAL}}"\n',
        f'[monitor]\nspool_limit = "1.5GiB"\nconnectivity = ["tcp://a:1"]\n{MINIMAL}',
        f'{MINIMAL}labels = {{ team = "x" }}\nretry_interval = "5s"\n',
        f"{MINIMAL}alerts = false\ndepends_on = []\n",
        f'{MINIMAL}alerts.open_after = "3 of 5"\nalerts.down.close_after = 1\n',
        f'[groups.web]\nalerts.open_after = "5m"\ndepends_on = ["b"]\n{MINIMAL}',
        f'[alerts]\nflapping = false\nlocations = 3\nopen_after = "${{N}}"\n{MINIMAL}',
        f'[[alerts.policies]]\nservices = ["a"]\ndegraded.enabled = false\n{MINIMAL}',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "https://a/"\nsecret = "x"\n',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "${{URL}}"\nheaders = {{ A = "b" }}\n',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "mailto://a"\nrate = "1 in 1h30m"\n',
        f'{MINIMAL}[[routes]]\nchannels = ["a"]\nhours = {{ from = "08:00", days = ["mon"] }}\n',
        f'{MINIMAL}[[maintenance]]\nname = "a"\nstarts_at = 2026-01-01T00:00:00Z\n',
    ],
)
def test_a_right_file_is_valid(text: str, dialect: Any) -> None:
    assert is_valid(text, dialect)


@DIALECTS
@pytest.mark.parametrize(
    "text",
    [
        "",
        "services = []\n",
        "[services]\n",
        '[[services]]\nname = "a"\n',
        '[[services]]\nurl = "http://a/"\n',
        '[[services]]\nname = "a"\nkind = "tcp"\nurl = "http://a/"\n',
        '[[services]]\nname = "a"\nkind = "tcp"\nhost = "a"\nport = "80"\n',
        f'{MINIMAL}kind = "htpp"\n',
        f'{MINIMAL}intervall = "5s"\n',
        f"{MINIMAL}interval = 60\n",
        f'{MINIMAL}interval = "60"\n',
        f'{MINIMAL}interval = ""\n',
        f'{MINIMAL}method = "BREW"\n',
        f'{MINIMAL}verify_tls = "no"\n',
        f'{MINIMAL}expect.status = "2xx"\n',
        f'{MINIMAL}expect.body_contain = "x"\n',
        f"{MINIMAL}labels = {{ a = 1 }}\n",
        '[[services]]\nname = ""\nurl = "http://a/"\n',
        f"[datbase]\n{MINIMAL}",
        f'[monitor]\nspool_limit = "100"\n{MINIMAL}',
        f'[monitor]\nspool_drops = "all"\n{MINIMAL}',
        f'[monitor]\nlocaton = "x"\n{MINIMAL}',
        f'[defaults]\nmethod = "GET"\n{MINIMAL}',
        f'[groups.web]\nname = "x"\n{MINIMAL}',
        f'[groups.web]\nhost = "x"\n{MINIMAL}',
        f"[groups]\nweb = 3\n{MINIMAL}",
        f"{MINIMAL}alerts = 3\n",
        f"{MINIMAL}alerts.openafter = 3\n",
        f"{MINIMAL}alerts.open_after = 0\n",
        f'{MINIMAL}alerts.open_after = "3 in 5"\n',
        f'{MINIMAL}depends_on = "b"\n',
        f"[alerts]\nflapping = true\n{MINIMAL}",
        f'[alerts]\nlocations = "most"\n{MINIMAL}',
        f"[alerts.down]\nenabled = false\n{MINIMAL}",
        f"[alerts.policies]\nopen_after = 1\n{MINIMAL}",
        f'{MINIMAL}[[channels]]\nname = "a"\n',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "https://a/"\nsecrets = "x"\n',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "mailto://a"\nsecret = "x"\n',
        f'{MINIMAL}[[channels]]\nname = "a"\nurl = "mailto://a"\nrate = "many"\n',
        f'{MINIMAL}[[routes]]\nservices = ["a"]\n',
        f'{MINIMAL}[[routes]]\nchannels = ["a"]\ntypes = ["down"]\n',
        f'{MINIMAL}[[routes]]\nchannels = ["a"]\nhours = {{ form = "08:00" }}\n',
        f'{MINIMAL}[[maintenance]]\nname = "a"\ndays = ["monday"]\n',
        f'{MINIMAL}[[maintenance]]\ncron = "0 2 * * *"\n',
    ],
)
def test_a_typical_mistake_is_not_valid(text: str, dialect: Any) -> None:
    assert not is_valid(text, dialect)


def test_defaults_are_written_as_in_the_file() -> None:
    monitor = SCHEMA["properties"]["monitor"]["properties"]
    assert monitor["heartbeat_interval"]["default"] == "5s"
    assert monitor["spool_limit"]["default"] == "256MiB"
    assert SCHEMA["$defs"]["service-http"]["properties"]["method"]["default"] == "GET"


@pytest.mark.parametrize("kind", probe_kinds())
def test_no_kind_takes_a_key_of_the_service(kind: str) -> None:
    keys = TypeAdapter(load_probe_kind(kind)).json_schema()["properties"].keys()
    assert not keys & set(SERVICE_KEYS)


def test_a_kind_whose_extra_is_missing_is_left_out_with_a_remark() -> None:
    program = (
        "import sys; sys.modules['dns'] = None\n"
        "from pulsebase.monitor.configuration.schema import configuration_schema\n"
        "schema, remarks = configuration_schema()\n"
        "assert 'service-dns' not in schema['$defs']\n"
        "print(*remarks)"
    )
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'the kind "dns" is left out: ' in printed.stdout
    assert 'pip install "pulsebase[dns]"' in printed.stdout
