"""The configuration file: what it gives, and that every mistake is named with its line."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from pulsebase.errors import ConfigurationError
from pulsebase.monitor.configuration import load_configuration
from pulsebase.probes.http import HttpExpectation, HttpProbe
from tests.unit.configuration_file import CANARY, MINIMAL, complaints, load

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
HOWTO = REFERENCE.parent / "howto"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_whole_file() -> None:
    configuration = load(
        """
[database]
url = "${DATABASE_URL}"

[defaults]
interval = "30s"
timeout = "4s"

[[services]]
name = "openai"
kind = "http"
url = "https://api.openai.com/v1/models"
headers = { Authorization = "Bearer ${OPENAI_API_KEY}" }
expect = { status = ["2xx", "304"], body_contains = "data", body_matches = "g[a-z]t" }
degraded_above = "2s"
down_above = "1m"
interval = "1h30m"
timeout = "500ms"

[[services]]
name = "site"
url = "http://site.example/"
""",
        {"DATABASE_URL": "postgresql://u@h/d", "OPENAI_API_KEY": CANARY},
    )
    assert configuration.database.url == "postgresql://u@h/d"
    openai, site = configuration.services
    assert (openai.name, openai.kind) == ("openai", "http")
    assert openai.interval == timedelta(minutes=90)
    assert openai.timeout == timedelta(milliseconds=500)
    assert isinstance(openai.probe, HttpProbe)
    assert openai.probe.headers == {"Authorization": f"Bearer {CANARY}"}
    assert openai.probe.degraded_above == timedelta(seconds=2)
    assert openai.probe.expect.status == ("2xx", "304")
    assert openai.probe.expect.body_matches is not None
    assert openai.probe.expect.body_matches.found_in("a gpt")
    assert (site.interval, site.timeout) == (timedelta(seconds=30), timedelta(seconds=4))
    assert site.probe == HttpProbe(url="http://site.example/", expect=HttpExpectation())
    assert CANARY not in repr(configuration)


def test_without_defaults_a_service_is_asked_every_minute_for_ten_seconds() -> None:
    [service] = load(MINIMAL).services
    assert (service.interval, service.timeout) == (timedelta(seconds=60), timedelta(seconds=10))


def test_an_inherited_timeout_gives_way_to_a_shorter_interval() -> None:
    [service] = load(MINIMAL + 'interval = "3s"\n').services
    assert service.timeout == timedelta(seconds=3)


def test_a_byte_order_mark_and_carriage_returns_are_accepted() -> None:
    text = "\ufeff" + MINIMAL.replace("\n", "\r\n")
    assert load(text.encode()).services[0].name == "a"


def test_an_unknown_key_names_the_nearest_and_its_line() -> None:
    text = '\n[[services]]\nname = "openai"\nurl = "http://a/"\nintervall = "5s"\n'
    [complaint] = complaints(text)
    assert complaint == (
        'pulsebase.toml:5: unknown key "intervall" in [[services]] "openai"; '
        'did you mean "interval"?'
    )


def test_an_unknown_key_of_an_inner_table() -> None:
    [complaint] = complaints(MINIMAL + "[services.expect]\n\nbody_contain = 'x'\n")
    assert complaint == (
        'pulsebase.toml:6: unknown key "body_contain" in "expect" of [[services]] "a"; '
        'did you mean "body_contains"?'
    )


@pytest.mark.parametrize("table", ["[alert]", "[[channel]]", "[monitors]", "[zzz]"])
def test_a_table_that_nothing_reads_is_an_error(table: str) -> None:
    [complaint] = complaints(f"{table}\n{MINIMAL}")
    assert complaint.startswith("pulsebase.toml:1: unknown key")


def test_an_unknown_kind_names_the_nearest() -> None:
    [complaint] = complaints(MINIMAL + 'kind = "htpp"\n')
    assert complaint.startswith('pulsebase.toml:4: kind in [[services]] "a"')
    assert complaint.endswith('did you mean "http"?')


@pytest.mark.parametrize(
    ("line", "field", "bound"),
    [
        ('interval = "999ms"', "interval", 'at least 1s; got "999ms"'),
        ('interval = "soon"', "interval", 'a duration such as "500ms"'),
        ("interval = 60", "interval", "in quotes; got 60"),
        ('timeout = "0s"', "timeout", 'more than 0s; got "0s"'),
        ('timeout = "61s"', "timeout", 'at most the interval, which is 1m; got "1m1s"'),
        ('method = "BREW"', "method", 'one of "GET", "HEAD"'),
        ('verify_tls = "no"', "verify_tls", "true or false, without quotes"),
        ('degraded_above = "0s"', "degraded_above", "more than 0s"),
        ("headers = { A = 1 }", "headers.A", "text in quotes"),
        ('headers = { "A B" = "x" }', "headers", "named by letters"),
        ("body = 2024-01-01", "body", "text in quotes"),
        ("expect = 3", "expect", "a table; got 3"),
        ('expect.status = "2xx"', "expect.status", "a list in brackets"),
        ("expect.status = [200]", "expect.status", "text in quotes; got 200"),
        ('expect.status = ["2xy"]', "expect.status", '"200-299"; got "2xy"'),
        ('expect.body_matches = "a("', "expect.body_matches", "a regular expression"),
    ],
)
def test_a_bad_value_names_field_bound_value_and_line(line: str, field: str, bound: str) -> None:
    [complaint] = complaints(MINIMAL + line + "\n")
    assert complaint.startswith(f'pulsebase.toml:4: {field} in [[services]] "a" must be ')
    assert bound in complaint


@pytest.mark.parametrize("name", ['""', '"a\\u0007"', '"a\\u0000"', f'"{"x" * 101}"', "7"])
def test_a_name_must_be_one_that_the_tables_take(name: str) -> None:
    [complaint] = complaints(f'[[services]]\nname = {name}\nurl = "http://a/"\n')
    assert complaint.startswith("pulsebase.toml:2: name in [[services]]")


def test_two_services_of_one_name() -> None:
    [complaint] = complaints(MINIMAL + MINIMAL)
    assert complaint.startswith("pulsebase.toml:5: name")
    assert "already used on line 2" in complaint


@pytest.mark.parametrize("text", ["", "# nothing\n", "services = []\n", "[defaults]\n"])
def test_a_file_without_services(text: str) -> None:
    [complaint] = complaints(text)
    assert "add a table [[services]]" in complaint


@pytest.mark.parametrize("text", ["services = 3\n", '[services]\nname = "a"\n', "services = [3]\n"])
def test_services_that_are_no_list_of_tables(text: str) -> None:
    [complaint] = complaints(text)
    assert (
        complaint == "pulsebase.toml:1: [services] is a list of tables; write each as [[services]]"
    )


def test_everything_wrong_is_said_at_once_in_the_order_of_the_file() -> None:
    lines = complaints(
        """[datbase]
[defaults]
interval = "10ms"
timeout = 3
[[services]]
nam = "a"
url = "nowhere"
method = "GETT"
headers = { Authorization = "${UNSET}" }
degraded_above = "3s"
down_above = "2s"
expect = { status = ["9xx", 1], body_contains = "", body = "x" }
[[services]]
name = "b"
timeout = "2m"
"""
    )
    assert [int(line.split(":")[1]) for line in lines] == [
        1,
        3,
        4,
        5,
        6,
        7,
        8,
        9,
        10,
        12,
        12,
        12,
        13,
    ]
    assert all(line.startswith("pulsebase.toml:") for line in lines)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a = \n", "1:5"),
        ("a = 1\nb = 'x\n", "2:"),
        ("a = 1\na = 2\n", "2:"),
        ("[a\n", "1:3"),
        ("a = [1,\n", "1:"),
    ],
)
def test_a_malformed_file_names_line_and_column(text: str, where: str) -> None:
    [complaint] = complaints(text)
    assert complaint.startswith(f"pulsebase.toml:{where}")
    assert "not valid TOML" in complaint


@pytest.mark.parametrize(
    ("raw", "line"),
    [(b'a = "\xe4"\n', 1), (b"a = 1\n\xff\n", 2), ("a = 1".encode("utf-16"), 1)],
)
def test_a_file_that_is_not_utf_8_is_refused_with_a_sentence(raw: bytes, line: int) -> None:
    [complaint] = complaints(raw)
    assert complaint.startswith(f"pulsebase.toml:{line}: not UTF-8 text")
    assert complaint.endswith("save the file as UTF-8")


@pytest.mark.parametrize("text", ["a = " + "[" * 20_000, "a = " + "9" * 20_000])
def test_an_absurd_file_is_refused_with_a_sentence(text: str) -> None:
    [complaint] = complaints(text)
    assert complaint.startswith("pulsebase.toml")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml: there is no such file"):
        load_configuration(Path("absent.toml"), environ={})


def test_an_unset_variable_is_named_once_with_its_line() -> None:
    [complaint] = complaints('[[services]]\nname = "a"\n\nurl = "${WHERE}"\n')
    assert complaint.startswith('pulsebase.toml:4: url in [[services]] "a" needs')
    assert "environment variable WHERE" in complaint


def test_a_file_gives_a_value_without_its_last_line_break() -> None:
    Path("token").write_text(CANARY + "\n")
    text = MINIMAL + 'headers = { A = "Bearer ${file:token}", B = "$${A} costs $5" }\n'
    probe = load(text).services[0].probe
    assert isinstance(probe, HttpProbe)
    assert probe.headers == {"A": f"Bearer {CANARY}", "B": "${A} costs $5"}


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("${file:absent}", "the file absent, which cannot be read"),
        ("${file:.}", "cannot be read"),
        ("${file:large}", "larger than"),
        ("${file:binary}", "UTF-8"),
        ("${NOT_TEXT}", "UTF-8"),
        ("${}", "write $${ for a literal ${"),
        ("${A-B}", "write $${ for a literal ${"),
        ("${OPEN", "write $${ for a literal ${"),
    ],
)
def test_a_reference_that_cannot_be_followed(reference: str, said: str) -> None:
    Path("large").write_bytes(b"x" * 100_000)
    Path("binary").write_bytes(b"\xff\x00")
    environ = {"NOT_TEXT": b"\xff".decode("utf-8", "surrogateescape")}
    [complaint] = complaints(MINIMAL + f'body = "{reference}"\n', environ)
    assert complaint.startswith('pulsebase.toml:4: body in [[services]] "a"')
    assert said in complaint


@pytest.mark.parametrize(
    "line",
    [
        'method = "${SECRET}"',
        'interval = "${SECRET}"',
        'kind = "${SECRET}"',
        'degraded_above = "${SECRET}"',
        'expect.status = ["${SECRET}"]',
        'expect.body_matches = "(${SECRET}"',
        'expect.body_matches = "${SECRET}\\\\"',
        'expect = "${SECRET}"',
        'headers = "${SECRET}"',
        'headers = { A = "${SECRET}\\n" }',
        'verify_tls = "${SECRET}"',
        'unknown = "${SECRET}"',
        f'headers = "{CANARY}"',
        f'body = ["{CANARY}"]',
        f'[database]\nurl = "gopher://u:{CANARY}@h"',
        f'[database]\nurl = "https://{CANARY}@h"',
        '[database]\nurl = "${SECRET}"',
        f'[database]\nkey = ["{CANARY}"]',
    ],
)
def test_no_complaint_shows_a_secret(line: str) -> None:
    found = complaints(MINIMAL + line + "\n", {"SECRET": CANARY})
    assert CANARY not in "\n".join(found)


@pytest.mark.parametrize("key", ["name", "url"])
def test_no_complaint_shows_a_secret_in_a_required_key(key: str) -> None:
    others = {"name": 'name = "a"', "url": 'url = "http://a/"'} | {
        key: f'{key} = "${{SECRET}}\\u0007"'
    }
    found = complaints("[[services]]\n" + "\n".join(others.values()), {"SECRET": CANARY})
    assert CANARY not in "\n".join(found)


def test_a_url_in_the_file_is_shown_without_its_password() -> None:
    [complaint] = complaints(f'[[services]]\nname = "a"\nurl = "http://u:{CANARY}@h h/"\n')
    assert 'got "http://***@h h/"' in complaint


def environment_of(text: str) -> dict[str, str]:
    """Whatever an example names, set to what can stand there."""
    fitting = {
        "DATABASE_URL": "embedded://",
        "PAGERDUTY_KEYS": f"{CANARY}@{CANARY}",
    }
    named = re.findall(r"\$\{(\w+)\}", text)
    return {
        name: fitting.get(
            name, "https://hook.example/" if name.endswith(("_URL", "_WEBHOOK")) else CANARY
        )
        for name in named
    }


def test_the_examples_of_the_pages_can_be_loaded() -> None:
    """Those of the reference, and of the guides that say how people are told."""
    guides = [page for page in HOWTO.glob("*.md") if page.name != "add-a-probe-kind.md"]
    pages = [REFERENCE / "configuration.md", REFERENCE / "channels.md"]
    for page in [*pages, *REFERENCE.glob("probe-*.md"), *guides]:
        examples = re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        assert examples or page in guides
        for example in examples:
            if "[[services]]" not in example:
                continue  # a part of another one
            environ = environment_of(example)
            assert load(example, environ) == load(example, environ), page.name


def test_lines_are_right_behind_values_of_several_lines() -> None:
    text = (
        MINIMAL
        + 'body = """\n[[services]]\nname = 1\n"""\nexpect.status = [\n  "2xx", # ]\n]\nx = 1\n'
    )
    [complaint] = complaints(text)
    assert complaint.startswith("pulsebase.toml:11: unknown key")


def test_ten_thousand_services_are_read_and_complained_about_without_delay() -> None:
    text = "".join(f'[[services]]\nname = "s{n}"\nurl = "http://a/"\n' for n in range(10_000))
    assert len(load(text).services) == 10_000
    [complaint] = complaints(text + "x = 1\n")
    assert complaint.startswith("pulsebase.toml:30001: unknown key")
