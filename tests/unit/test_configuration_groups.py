"""`[defaults]`, groups and labels: what a service has from them, and whose mistake is whose."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.probes.http import HttpProbe
from tests.unit.configuration_file import CANARY, MINIMAL, complaints, load

if TYPE_CHECKING:
    from pathlib import Path

GROUPED = '[[services]]\nname = "a"\ngroup = "web"\nurl = "http://a.example/"\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_nearest_counts() -> None:
    far, near, own = load(
        """
[defaults]
interval = "2m"
timeout = "20s"
retry_interval = "30s"
labels = { team = "all", site = "x" }

[groups.web]
interval = "30s"
timeout = "9s"
labels = { team = "web", tier = "1" }
method = "POST"
headers = { A = "group", B = "group" }
expect = { status = ["2xx", "3xx"], body_contains = "ok" }

[[services]]
name = "far"
url = "http://far.example/"

[[services]]
name = "near"
group = "web"
url = "http://near.example/"

[[services]]
name = "own"
group = "web"
url = "http://own.example/"
interval = "10s"
labels = { team = "own" }
method = "GET"
headers = { B = "own" }
expect.body_contains = "fine"
"""
    ).services
    seconds = [service.interval.total_seconds() for service in (far, near, own)]
    assert seconds == [120, 30, 10]
    assert [service.timeout.total_seconds() for service in (far, near, own)] == [20, 9, 9]
    retries = [service.retry_interval for service in (far, near, own)]
    assert retries == [timedelta(seconds=30), timedelta(seconds=30), timedelta(seconds=10)]
    assert far.labels == {"team": "all", "site": "x"}
    assert near.labels == {"team": "web", "site": "x", "tier": "1"}
    assert own.labels == {"team": "own", "site": "x", "tier": "1"}
    assert isinstance(near.probe, HttpProbe)
    assert isinstance(own.probe, HttpProbe)
    assert near.probe.method == "POST"
    assert own.probe.method == "GET"
    assert own.probe.headers == {"A": "group", "B": "own"}
    assert own.probe.expect.status == ("2xx", "3xx")
    assert own.probe.expect.body_contains == "fine"


def test_a_header_wins_over_the_group_s_in_whatever_case_it_is_written() -> None:
    text = f'[groups.web]\nheaders = {{ AUTHORIZATION = "a", Accept = "b" }}\n{GROUPED}'
    [service] = load(text + 'headers = { authorization = "c" }\n').services
    assert isinstance(service.probe, HttpProbe)
    assert service.probe.headers == {"Accept": "b", "authorization": "c"}


def test_a_group_may_bring_the_kind_and_what_it_requires() -> None:
    text = '[groups.site]\nkind = "tcp"\nhost = "a.example"\nport = 1\n[[services]]\nname = "a"\n'
    [service] = load(text + 'group = "site"\n').services
    assert service.kind == "tcp"
    assert service.probe.host == "a.example"


def test_a_group_without_keys_of_a_kind_is_for_services_of_any_kind() -> None:
    text = '[groups.slow]\ninterval = "5m"\n' + GROUPED.replace("web", "slow")
    other = '[[services]]\nname = "b"\ngroup = "slow"\nkind = "tcp"\nhost = "b"\nport = 1\n'
    kinds = {service.kind: service.interval for service in load(text + other).services}
    assert kinds == {"http": timedelta(minutes=5), "tcp": timedelta(minutes=5)}


def test_a_service_of_another_kind_than_its_group_is_told_so() -> None:
    text = '[groups.web]\nmethod = "HEAD"\n[[services]]\nname = "a"\ngroup = "web"\nkind = "tcp"\n'
    [complaint] = complaints(text)
    assert complaint.startswith('pulsebase.toml:6: kind in [[services]] "a" is not the kind of its')


def test_without_a_retry_interval_there_is_none() -> None:
    [service] = load(MINIMAL).services
    assert service.retry_interval is None
    assert service.labels == {}


def test_an_unknown_group_names_the_nearest_and_what_else_is_wrong() -> None:
    found = complaints('[groups.web]\n[[services]]\nname = "a"\ngroup = "wbe"\nmethd = "GET"\n')
    unknown = 'group in [[services]] "a" is not the name of a group; did you mean "web"?'
    assert found == [
        f"pulsebase.toml:4: {unknown}",
        'pulsebase.toml:5: unknown key "methd" in [[services]] "a"; did you mean "method"?',
    ]


def test_a_group_that_is_not_there_at_all() -> None:
    [complaint] = complaints(GROUPED)
    assert complaint.endswith("add a table [groups.NAME] for it")


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ('methd = "GET"', '"methd"', 'did you mean "method"?'),
        ('method = "BREW"', "method", 'one of "GET"'),
        ('headers = { "A B" = "x" }', "headers", "named by letters"),
        ("headers = { A = 1 }", "headers.A", "text in quotes"),
        ('expect.status = ["9xx"]', "expect.status", '"9xx"'),
        ('degraded_above = "0s"', "degraded_above", "more than 0s"),
        ('interval = "1ms"', "interval", "at least 1s"),
        ('timeout = "2m"', "timeout", "at most the interval, which is 1m"),
        ('retry_interval = "0.5s"', "retry_interval", "at least 1s"),
        ('retry_interval = "2m"', "retry_interval", "at most the interval, which is 1m"),
        ('labels = { "1" = "x" }', "labels", "named by a letter"),
        ('kind = "htpp"', "kind", 'did you mean "http"?'),
        ('name = "x"', '"name"', "unknown key"),
        ('group = "x"', '"group"', "unknown key"),
    ],
)
def test_a_mistake_of_a_group_is_told_once_at_its_line(line: str, key: str, said: str) -> None:
    others = "".join(
        f'[[services]]\nname = "s{n}"\ngroup = "web"\nurl = "http://s/"\n'
        f'headers = {{ C = "{n}" }}\nexpect.body_contains = "x"\n'
        for n in range(3)
    )
    [complaint] = complaints(f"[groups.web]\n{line}\n{others}")
    assert complaint.startswith("pulsebase.toml:2: ")
    assert key in complaint
    assert "[groups.web]" in complaint
    assert said in complaint


def test_a_mistake_of_a_service_is_its_own_also_in_a_group() -> None:
    text = f'[groups.web]\nheaders = {{ A = "x" }}\n{GROUPED}headers = {{ "B C" = "x" }}\n'
    [complaint] = complaints(text)
    assert complaint.startswith('pulsebase.toml:7: headers in [[services]] "a"')


def test_mistakes_of_groups_and_services_are_told_together() -> None:
    text = f'[groups.web]\nmethod = "BREW"\n{GROUPED}timeout = "5m"\nx = 1\n'
    assert [line.split(":")[1] for line in complaints(text)] == ["2", "7", "8"]


def test_a_required_key_that_is_wrong_in_the_group_is_not_missing_in_the_service() -> None:
    text = '[groups.web]\nurl = "gopher://x"\n[[services]]\nname = "a"\ngroup = "web"\n'
    [complaint] = complaints(text)
    assert complaint.startswith("pulsebase.toml:2: url in [groups.web]")


def test_the_keys_of_a_group_without_services_are_judged() -> None:
    [complaint] = complaints(f'[groups.idle]\nmethod = "BREW"\n{MINIMAL}')
    assert complaint.startswith("pulsebase.toml:2: method in [groups.idle]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups = 3\n", "write each as [groups.NAME]"),
        ("groups = [1]\n", "write each as [groups.NAME]"),
        ("[groups]\nweb = 3\n", "[groups.web] must be a table"),
        ('[groups]\n"a b" = 3\n', '[groups."a b"] must be a table'),
    ],
)
def test_groups_that_are_no_tables(text: str, said: str) -> None:
    [complaint] = complaints(text + MINIMAL)
    assert said in complaint


def test_a_group_s_name_must_be_a_text() -> None:
    [complaint] = complaints(MINIMAL + "group = 3\n")
    assert 'group in [[services]] "a" must be the name of a group, in quotes; got 3' in complaint


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ('{ team = "" }', "readable characters"),
        ('{ team = "a\\nb" }', "readable characters"),
        (f'{{ team = "{"x" * 201}" }}', "readable characters"),
        ('{ "a b" = "x" }', "named by a letter"),
        ('{ "é" = "x" }', "named by a letter"),
        ("{ team = 1 }", "text in quotes"),
        ('"team"', "a table"),
        ("{ " + ", ".join(f'l{n} = "x"' for n in range(21)) + " }", "at most 20"),
    ],
)
def test_labels_are_short_readable_texts(labels: str, said: str) -> None:
    [complaint] = complaints(f"{MINIMAL}labels = {labels}\n")
    assert complaint.startswith("pulsebase.toml:4: labels")
    assert said in complaint


def test_labels_of_all_levels_together_are_bounded() -> None:
    def some(letter: str) -> str:
        return "{ " + ", ".join(f'{letter}{n} = "x"' for n in range(11)) + " }"

    [complaint] = complaints(f"[defaults]\nlabels = {some('d')}\n{MINIMAL}labels = {some('s')}\n")
    assert "at most 20, with those of its group and of [defaults]; got 22" in complaint


def test_an_inherited_retry_interval_gives_way_to_a_shorter_interval() -> None:
    [service] = load(f'[defaults]\nretry_interval = "30s"\n{MINIMAL}interval = "5s"\n').services
    assert service.retry_interval == timedelta(seconds=5)


def test_a_default_that_no_service_could_use_is_told_at_its_line() -> None:
    [complaint] = complaints(f'[defaults]\ntimeout = "2m"\n{MINIMAL}')
    assert complaint.startswith("pulsebase.toml:2: timeout in [defaults] must be at most")


@pytest.mark.parametrize(
    "line",
    [
        'method = "${SECRET}"',
        'kind = "${SECRET}"',
        'interval = "${SECRET}"',
        'headers = { A = "${SECRET}\\n" }',
        'labels = { team = "${SECRET}\\n" }',
        'unknown = "${SECRET}"',
    ],
)
def test_no_complaint_about_a_group_shows_a_secret(line: str) -> None:
    found = complaints(f"[groups.web]\n{line}\n{GROUPED}", {"SECRET": CANARY})
    assert CANARY not in "\n".join(found)
    assert all("[groups.web]" in complaint for complaint in found)


def test_an_unknown_group_from_outside_is_not_shown() -> None:
    text = GROUPED.replace('"web"', '"${SECRET}"')
    assert CANARY not in "\n".join(complaints(text, {"SECRET": CANARY}))


def test_one_mistake_in_a_group_of_many_is_told_once_and_without_delay() -> None:
    services = "".join(
        f'[[services]]\nname = "s{n}"\ngroup = "web"\nurl = "http://s/"\n' for n in range(10_000)
    )
    [complaint] = complaints(f'[groups.web]\nmethod = "BREW"\n{services}')
    assert complaint.startswith("pulsebase.toml:2: method in [groups.web]")
