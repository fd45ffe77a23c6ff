"""When alerts open and close, and who needs whom: what a file says of it, and every mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pulsebase.models.alert_policy import NewAlertPolicy
from tests.unit.configuration_file import CANARY, MINIMAL, complaints, load

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opening(level: str, checks: int | None, of: int | None, seconds: float | None) -> Any:
    """The three keys of one form, which go together."""
    return {
        f"{level}_open_checks": checks,
        f"{level}_open_of": of,
        f"{level}_open_seconds": seconds,
    }


def both(checks: int | None, of: int | None, seconds: float | None) -> Any:
    """The same for both levels."""
    return opening("down", checks, of, seconds) | opening("degraded", checks, of, seconds)


def policy_of(lines: str) -> Any:
    """What the database is told of a service with these lines."""
    [service] = load(MINIMAL + lines + "\n").services
    return service.alert_policy


def service(name: str, *lines: str) -> str:
    """One that is right but for these lines."""
    return "\n".join(["[[services]]", f'name = "{name}"', 'url = "http://a/"', *lines, ""])


def test_a_file_that_says_nothing_of_alerts_has_no_policies() -> None:
    configuration = load(MINIMAL)
    assert configuration.policies == ()
    assert configuration.services[0].alert_policy is None
    assert configuration.services[0].depends_on == ()


def test_the_policies_of_a_whole_file() -> None:
    configuration = load(
        f"""
[alerts]
open_after = "3 of 5"
close_after = 4
flapping = "6 in 1h"
locations = "all"
location_fresh_for = "15m"
link = "https://status.example/{{service}}"

[alerts.down]
open_after = "5m"

[alerts.degraded]
enabled = false
close_after = 1

[[alerts.policies]]
services = ["db-*"]
labels = {{ team = "ai" }}
open_after = 1

[[alerts.policies]]
enabled = false
{MINIMAL}
"""
    )
    assert configuration.policies == (
        NewAlertPolicy(
            alert_policy={
                **opening("down", None, None, 300),
                **opening("degraded", 3, 5, None),
                "degraded_enabled": False,
                "down_close_checks": 4,
                "degraded_close_checks": 1,
                "flapping_changes": 6,
                "flapping_within_seconds": 3600,
                "locations_agree": -1,
                "location_fresh_seconds": 900,
            }
        ),
        NewAlertPolicy(
            matcher={"services": ["db-*"], "labels": {"team": "ai"}},
            alert_policy=both(1, None, None),
        ),
        NewAlertPolicy(alert_policy={"enabled": False}),
    )


def test_a_link_alone_is_no_policy() -> None:
    assert load(f'[alerts]\nlink = "https://a.example/"\n{MINIMAL}').policies == ()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("alerts = false", {"enabled": False}),
        ("alerts = true", {"enabled": True}),
        ("alerts = {}", None),
        ("alerts.open_after = 5", both(5, None, None)),
        ('alerts.open_after = "1 of 1"', both(1, 1, None)),
        ('alerts.open_after = "100 of 100"', both(100, 100, None)),
        ('alerts.open_after = "1.5s"', both(None, None, 1.5)),
        ('alerts.open_after = "30d"', both(None, None, 2_592_000)),
        ("alerts.down.open_after = 1", opening("down", 1, None, None)),
        ("alerts.close_after = 1", {"down_close_checks": 1, "degraded_close_checks": 1}),
        ("alerts.degraded.close_after = 1", {"degraded_close_checks": 1}),
        ("alerts.flapping = false", {"flapping_changes": 0}),
        ('alerts.locations = "majority"', {"locations_agree": 0}),
        ("alerts.locations = 2", {"locations_agree": 2}),
    ],
)
def test_what_a_service_says(lines: str, expected: Any) -> None:
    assert policy_of(lines) == expected


def test_a_service_says_what_differs_from_its_group() -> None:
    configuration = load(
        "[groups.g]\nalerts = { open_after = 7, locations = 2 }\n"
        + service("a", 'group = "g"', "alerts.locations = 3")
        + service("b", 'group = "g"', "alerts = false")
        + service("c", 'group = "g"')
        + service("d")
    )
    a, b, c, d = (one.alert_policy for one in configuration.services)
    assert a == {**both(7, None, None), "locations_agree": 3}
    assert b == {**both(7, None, None), "locations_agree": 2, "enabled": False}
    assert c == {**both(7, None, None), "locations_agree": 2}
    assert d is None


def test_services_that_say_the_same_share_it() -> None:
    line = "alerts.open_after = 5"
    same, again, true, one = load(
        service("a", line)
        + service("b", line)
        + service("c", "alerts.enabled = true")
        + service("d", "alerts.close_after = 1")
    ).services
    assert same.alert_policy is again.alert_policy
    assert true.alert_policy != one.alert_policy


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('open_after = "3 of 2"', 'must be "N of M", with N from 1 to M and M at most 100'),
        ('open_after = "0 of 2"', 'must be "N of M"'),
        ('open_after = "3 of 101"', 'must be "N of M"'),
        ("open_after = 0", "must be from 1 to 100 checks; got 0"),
        ("open_after = 101", "must be from 1 to 100 checks; got 101"),
        ("open_after = true", "must be how many checks in a row"),
        ("open_after = 1.5", "must be how many checks in a row"),
        ('open_after = "5 minutes"', 'a duration in quotes such as "5m"; got "5 minutes"'),
        ('open_after = "0s"', "a time of more than 0s and at most 30d"),
        ('open_after = "31d"', "a time of more than 0s and at most 30d"),
        ("close_after = 0", "a whole number from 1 to 100; got 0"),
        ('close_after = "2"', "a whole number, without quotes"),
        ("flapping = true", 'such as "6 in 1h", or false; got true'),
        ('flapping = "1 in 1h"', "with a number from 2 to 100"),
        ('flapping = "6 in an hour"', "so many changes in a time"),
        ('flapping = "6 in 0s"', "more than 0s"),
        ("locations = 0", '"majority", "all", or a number of locations'),
        ('locations = "most"', '"majority", "all", or a number of locations'),
        ('location_fresh_for = "0s"', "more than 0s and at most 30d"),
    ],
)
@pytest.mark.parametrize(
    ("before", "where"),
    [
        ("[alerts]\n{line}\n{service}", ":2: {key} in [alerts] "),
        ("[alerts.down]\n[alerts]\n{line}\n{service}", ":3: {key} in [alerts] "),
        ("[[alerts.policies]]\n{line}\n{service}", ":2: {key} in [[alerts.policies]] number 1 "),
        ("{service}alerts.{line}\n", ':4: alerts.{key} in [[services]] "a" '),
        ("[groups.g]\nalerts.{line}\n{service}", ":2: alerts.{key} in [groups.g] "),
    ],
)
def test_a_bad_value_is_named_wherever_it_stands(
    before: str, where: str, line: str, said: str
) -> None:
    [complaint] = complaints(before.format(line=line, service=MINIMAL))
    assert complaint.startswith("pulsebase.toml" + where.format(key=line.split(" ", 1)[0]))
    assert said in complaint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[alerts]\nopen_afte = 3", '"open_afte" in [alerts]; did you mean "open_after"?'),
        ("[alerts]\npolices = []", '"polices" in [alerts]; did you mean "policies"?'),
        ("[alerts.down]\nenabled = true", '"enabled" in [alerts.down]; known are: close_after'),
        ("[alerts.degraded]\nopen = 3", '"open" in [alerts.degraded]; '),
        ("[[alerts.policies]]\nservice = []", 'number 1; did you mean "services"?'),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(text: str, said: str) -> None:
    [complaint, *_] = complaints(f"{text}\n{MINIMAL}")
    assert complaint.startswith("pulsebase.toml:2: unknown key")
    assert said in complaint


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("open_after = 1\nservices = []", "at least one name; leave it out for all services"),
        ('open_after = 1\nservices = [""]', "1 to 100 characters without control characters"),
        ('open_after = 1\nservices = "a"', "a list in brackets"),
        ('open_after = 1\nlabels = { a = "" }', "1 to 200 readable characters each"),
        ("open_after = 1\nlabels = { a = 1 }", "text in quotes"),
    ],
)
def test_a_policy_for_nobody_is_refused(lines: str, said: str) -> None:
    [complaint] = complaints(f"[[alerts.policies]]\n{lines}\n{MINIMAL}")
    assert complaint.startswith("pulsebase.toml:3: ")
    assert said in complaint


def test_a_policy_that_changes_nothing_is_refused() -> None:
    [complaint] = complaints(f'{MINIMAL}[[alerts.policies]]\nservices = ["a"]\n')
    assert complaint == (
        "pulsebase.toml:4: [[alerts.policies]] number 1 says nothing; "
        "add what it is to change, such as open_after"
    )


def test_a_link_that_is_none_is_refused_without_being_shown() -> None:
    [complaint] = complaints(f'[alerts]\nlink = "ftp://a/{CANARY}"\n{MINIMAL}')
    assert complaint.startswith("pulsebase.toml:2: link in [alerts] must be an http://")
    assert CANARY not in complaint


def test_a_mistake_of_a_group_is_told_once() -> None:
    text = "[groups.g]\nalerts = 3\ndepends_on = 4\n"
    found = complaints(text + service("a", 'group = "g"') + service("b", 'group = "g"'))
    assert [line.split(" must be ")[0] for line in found] == [
        "pulsebase.toml:2: alerts in [groups.g]",
        "pulsebase.toml:3: depends_on in [groups.g]",
    ]


def test_what_services_need() -> None:
    configuration = load(
        '[groups.g]\ndepends_on = ["gateway"]\n'
        + service("gateway")
        + service("a", 'group = "g"')
        + service("b", 'group = "g"', 'depends_on = ["a", "gateway"]')
        + service("c", 'group = "g"', "depends_on = []")
    )
    assert [one.depends_on for one in configuration.services] == [
        (),
        ("gateway",),
        ("a", "gateway"),
        (),
    ]


def test_a_needed_service_that_is_not_there() -> None:
    [complaint] = complaints(service("gateway") + service("b", 'depends_on = ["gatewy"]'))
    assert complaint == (
        'pulsebase.toml:7: depends_on in [[services]] "b" names "gatewy", which is not a service; '
        'did you mean "gateway"?'
    )


def test_a_service_that_needs_itself() -> None:
    [complaint] = complaints(service("a", 'depends_on = ["a"]'))
    assert complaint == (
        'pulsebase.toml:4: depends_on in [[services]] "a" names the service itself; take it out'
    )


def test_a_member_of_the_group_that_needs_it() -> None:
    [complaint] = complaints(
        '[groups.g]\ndepends_on = ["a"]\n'
        + service("a", 'group = "g"')
        + service("b", 'group = "g"')
    )
    assert complaint == (
        'pulsebase.toml:2: depends_on in [groups.g] names "a", which is in the group itself; '
        "write depends_on = [] there"
    )


def test_services_that_need_each_other_in_a_circle() -> None:
    [complaint] = complaints(
        service("x", 'depends_on = ["a"]')
        + service("a", 'depends_on = ["b"]')
        + service("b", 'depends_on = ["d", "c"]')
        + service("c", 'depends_on = ["a"]')
        + service("d")
    )
    assert complaint == (
        'pulsebase.toml:16: depends_on in [[services]] "c" goes in a circle: '
        '"c" → "a" → "b" → "c"; take one of them out'
    )


def test_two_ways_to_one_service_are_no_circle() -> None:
    configuration = load(
        service("a", 'depends_on = ["b", "c"]')
        + service("b", 'depends_on = ["d"]')
        + service("c", 'depends_on = ["d"]')
        + service("d")
    )
    assert len(configuration.services) == 4


@pytest.mark.parametrize("value", ['"a"', "[3]", "{ a = 1 }", "true"])
def test_needs_that_are_no_list_of_names(value: str) -> None:
    [complaint] = complaints(service("a") + service("b", f"depends_on = {value}"))
    assert complaint.startswith('pulsebase.toml:7: depends_on in [[services]] "b" must be ')


def test_names_from_outside_are_not_shown() -> None:
    text = (
        service("${A}", 'depends_on = ["${A}", "b", "${C}"]')
        + service("b", 'depends_on = ["${A}"]')
        + service("c", f'depends_on = ["{CANARY}"]')
    )
    found = complaints(text, {"A": CANARY + "x", "C": CANARY + "y"})
    # What the file itself says may be shown, but not as advice what came from elsewhere.
    assert [line.count(CANARY) for line in found] == [0, 0, 0, 1]
    assert found[3].endswith("add it, or take it out here")
