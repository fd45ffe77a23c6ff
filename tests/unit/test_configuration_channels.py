"""Whom to tell, and of what: channels and routes as a file has them, and every mistake."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from pulsebase.models.alert_channel import NewAlertChannel, NewAlertRoute, RouteHours
from pulsebase.notifiers.apprise import AppriseNotifier
from pulsebase.notifiers.webhook import WebhookNotifier
from tests.unit.configuration_file import CANARY, MINIMAL, complaints, load

if TYPE_CHECKING:
    from pathlib import Path

OPS = '[[channels]]\nname = "ops"\nurl = "https://hook.example/x"\n'


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def channel(*lines: str, url: str = '"https://hook.example/x"') -> str:
    """A channel "ops" with these lines, from the sixth line of its file on."""
    return MINIMAL + "\n".join(["[[channels]]", 'name = "ops"', f"url = {url}", "", *lines, ""])


def route(*lines: str) -> str:
    """A route to the channel "ops" with these lines, from the eighth line of its file on."""
    return OPS + MINIMAL + "\n".join(['[[routes]]\nchannels = ["ops"]', *lines, ""])


def test_a_file_without_channels_tells_nobody() -> None:
    configuration = load(MINIMAL)
    assert configuration.channels == ()
    assert configuration.routes == ()
    assert configuration.maintenance == ()
    assert configuration.notifiers == {}


def test_channels_by_their_rules_and_kinds() -> None:
    configuration = load(
        f"""
[alerts]
link = "https://status.example/{{service}}"
[[channels]]
name = "ops"
url = "${{OPS}}"
secret = "${{SECRET}}"
headers = {{ X-Team = "ai" }}
group_window = "0s"
rate = "20 in 1h"
remind_every = "4h"
give_up_after = "2d"
timeout = "3s"
[[channels]]
name = "mail"
url = "mailto://u:{CANARY}@mail.example?to=a@b.example"
title = "{{{{ default_title }}}}"
link = "https://other.example/"
{MINIMAL}""",
        {"OPS": f"https://hook.example/{CANARY}", "SECRET": CANARY * 2},
    )
    ops, mail = configuration.channels
    assert (ops.name, mail.name) == ("ops", "mail")
    assert ops.rules == NewAlertChannel(
        name="ops",
        group_window=timedelta(0),
        rate_limit=20,
        rate_period=timedelta(hours=1),
        remind_every=timedelta(hours=4),
        give_up_after=timedelta(days=2),
    )
    assert mail.rules == NewAlertChannel(name="mail")
    assert ops.notifier == WebhookNotifier(
        url=f"https://hook.example/{CANARY}",
        secret=CANARY * 2,
        headers={"X-Team": "ai"},
        timeout=timedelta(seconds=3),
        link="https://status.example/{service}",
    )
    assert isinstance(mail.notifier, AppriseNotifier)
    assert mail.notifier.link == "https://other.example/"
    assert list(configuration.notifiers) == ["ops", "mail"]
    assert configuration.notifiers["mail"] is mail.notifier
    assert CANARY not in repr(configuration)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('group_window = "2h"', 'group_window in [[channels]] "ops" must be at most 1h; got'),
        ('rate = "20"', 'must be so many messages in a time, such as "20 in 1h"; got "20"'),
        ('rate = "0 in 1h"', "with a number from 1 to 1000000"),
        ("rate = 20", "so many messages in a time"),
        ('remind_every = "0s"', "must be from 1s to 30d"),
        ('give_up_after = "31d"', "must be from 1s to 30d"),
        ('timeout = "1h"', "must be from 100ms to 50s"),
        ('title = "{{ nothing }}"', "a template that names nothing but"),
        ('title = "{{"', "a Jinja template"),
        ('group_windw = "0s"', 'unknown key "group_windw"'),
        ("hedaers = {}", 'did you mean "headers"?'),
        ('secret = "short"', 'secret in [[channels]] "ops" must be "whsec_"'),
        ("allow_private_addresses = 1", "must be true or false"),
        ('headers = { "A B" = "x" }', "named by letters"),
    ],
)
def test_a_bad_key_of_a_channel_is_named(line: str, said: str) -> None:
    [complaint] = complaints(channel(line))
    assert complaint.startswith("pulsebase.toml:8: ")
    assert said in complaint


def test_everything_wrong_with_a_channel_is_said_at_once() -> None:
    """Also where the kind, its own rules and those of every channel each find something."""
    found = complaints(
        channel('rate = "many"', 'secret = "short"', 'timeout = "1h"', "x = 1", url='"http://["')
    )
    assert [line.split(":")[1] for line in found] == ["6", "8", "9", "10", "11"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f'"https://a b/{CANARY}"', "an http:// or https:// URL with a host"),
        (f'"http://127.0.0.1/{CANARY}"', "at a public address, or allow_private_addresses = true"),
        (f'"no-such-thing://{CANARY}"', "a URL that Apprise understands"),
        (f'"mailto:{CANARY}"', "a URL such as https://… or mailto://…"),
        (f'"{CANARY}"', "a URL such as https://… or mailto://…"),
        (f'["https://{CANARY}/"]', "a URL such as https://… or mailto://…"),
        ('"${URL}"', "a URL such as https://… or mailto://…"),
        ('"https://${URL} /"', "an http:// or https:// URL with a host"),
        ('"${ABSENT}"', "needs the environment variable ABSENT, which is not set"),
        ('""', "a URL such as https://… or mailto://…"),
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_shown(url: str, said: str) -> None:
    [complaint] = complaints(channel(url=url), {"URL": CANARY})
    assert complaint.startswith('pulsebase.toml:6: url in [[channels]] "ops" ')
    assert said in complaint
    assert CANARY not in complaint


def test_without_apprise_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    monkeypatch.delitem(__import__("sys").modules, "pulsebase.notifiers.apprise")
    [complaint] = complaints(channel(url='"${URL}"'), {"URL": f"slack://{CANARY}"})
    assert complaint == (
        'pulsebase.toml:6: url in [[channels]] "ops" is for Apprise, which is not installed; '
        'run: pip install "pulsebase[apprise]"'
    )


@pytest.mark.parametrize(
    ("key", "value"), [("name", "7"), ("name", '""'), ("name", '" a"'), ("name", f'"{"x" * 101}"')]
)
def test_a_name_that_cannot_be(key: str, value: str) -> None:
    [complaint] = complaints(
        f'{MINIMAL}[[channels]]\n{key} = {value}\nurl = "https://a.example/"\n'
    )
    assert complaint.startswith("pulsebase.toml:5: name in [[channels]] ")


def test_a_channel_needs_name_and_url() -> None:
    found = complaints(f"{MINIMAL}[[channels]]\n[[channels]]\nname = 'b'\n")
    assert [line.partition(": ")[2] for line in found] == [
        'missing key "name" in [[channels]] number 1; add it',
        'missing key "url" in [[channels]] number 1; add it',
        'missing key "url" in [[channels]] "b"; add it',
    ]


def test_two_channels_of_one_name() -> None:
    [complaint] = complaints(OPS + OPS + MINIMAL)
    assert complaint == (
        'pulsebase.toml:5: name in [[channels]] "ops" is already used on line 2; '
        "every channel needs its own"
    )


@pytest.mark.parametrize("table", ["channels", "routes", "maintenance", "alerts.policies"])
@pytest.mark.parametrize("value", ["3", "[3]", "{ name = 'a' }"])
def test_what_is_no_list_of_tables(table: str, value: str) -> None:
    [complaint] = complaints(f"{table} = {value}\n{MINIMAL}")
    assert complaint.endswith(f"is a list of tables; write each as [[{table}]]")


def test_a_link_of_alerts_that_is_wrong_is_told_once() -> None:
    [complaint] = complaints(f'[alerts]\nlink = "x"\n{OPS}{OPS.replace("ops", "b")}{MINIMAL}')
    assert complaint.startswith("pulsebase.toml:2: link in [alerts] must be an http://")


def test_a_whole_route() -> None:
    [found] = load(
        route(
            'services = ["db-*"]',
            'labels = { team = "ai", tier = "*" }',
            'types = ["service_down"]',
            'after = "15m"',
            'hours = { from = "22:00", until = "06:00", days = ["fri", "sat"], zone = "Japan" }',
        )
    ).routes
    assert found == NewAlertRoute(
        channels=("ops",),
        matcher={"services": ["db-*"], "labels": {"team": "ai", "tier": "*"}},
        alert_types=("service_down",),
        hours=RouteHours(begin="22:00", until="06:00", days=(5, 6), zone="Japan"),
        after=timedelta(minutes=15),
    )


def test_what_a_route_does_not_say_matches_always() -> None:
    assert load(route()).routes == (NewAlertRoute(channels=("ops",)),)
    [found] = load(route("labels = {}", 'hours = { days = ["mon"] }')).routes
    assert found == NewAlertRoute(channels=("ops",), hours=RouteHours(days=(1,)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('types = ["down"]', 'types in [[routes]] number 1 must be one of "service_down" or'),
        ('types = ["recovery"]', "must be one of"),
        ("types = []", "at least one; leave it out for all types"),
        ("services = []", "at least one name; leave it out for all services"),
        ('labels = { "1" = "a" }', "named by a letter"),
        ('after = "15"', "a duration such as"),
        ('after = "31d"', "at most 30d"),
        ("hours = 8", "a table"),
        ('hours = { form = "08:00" }', 'in "hours" of [[routes]] number 1; did you mean "from"?'),
        ('hours = { from = "8:00" }', "hours.from in [[routes]] number 1 must be a time of day"),
        ('hours = { from = "24:00" }', 'hours.from in [[routes]] number 1 must be at most "23:59"'),
        ('hours = { until = "24:01" }', "a time of day"),
        ("hours = { from = 08:00:00 }", "a time of day"),
        ('hours = { days = ["monday"] }', "one of mon, tue, wed, thu, fri, sat, sun"),
        ("hours = { days = [1] }", "one of mon, tue, wed, thu, fri, sat, sun"),
        ("hours = { days = [] }", "at least one day"),
        ('hours = { zone = "Europe/Berln" }', "a time zone that this system knows"),
        ('hours = { zone = "../../etc/passwd" }', "a time zone that this system knows"),
        ('servces = ["a"]', 'did you mean "services"?'),
    ],
)
def test_a_bad_key_of_a_route_is_named(line: str, said: str) -> None:
    [complaint] = complaints(route(line))
    assert complaint.startswith("pulsebase.toml:9: ")
    assert said in complaint


@pytest.mark.parametrize("names", ["[]", '"ops"', "[3]"])
def test_a_route_needs_channels(names: str) -> None:
    [complaint] = complaints(f"{OPS}{MINIMAL}[[routes]]\nchannels = {names}\n")
    assert complaint.startswith("pulsebase.toml:8: channels in [[routes]] number 1 must be ")


def test_a_route_to_a_channel_that_is_not_there() -> None:
    """Also beside other mistakes; not where the channel is there and wrong."""
    found = complaints(
        f'{OPS}rate = 3\n{MINIMAL}[[routes]]\nchannels = ["ops", "opps", "${{X}}"]\nafter = 3\n',
        {"X": CANARY},
    )
    assert found[1] == (
        'pulsebase.toml:9: channels in [[routes]] number 1 names "opps", which is not a channel; '
        'did you mean "ops"?'
    )
    assert found[2] == (
        "pulsebase.toml:9: channels in [[routes]] number 1 names something from ${…}, which is "
        "not a channel; add a table [[channels]] with this name"
    )
    assert [line.split(":")[1] for line in found] == ["4", "9", "9", "10"]


def test_a_route_to_a_channel_whose_name_cannot_be() -> None:
    """That is said of the channel, and of the route as well."""
    text = f"""{MINIMAL}[[channels]]
name = ""
url = "https://a.example/"
[[routes]]
channels = [""]
"""
    found = complaints(text)
    assert [line.split(":")[1] for line in found] == ["5", "8"]


def test_a_list_of_names_that_no_row_would_hold() -> None:
    names = ", ".join(f'"service-{n:06}"' for n in range(3000))
    [complaint] = complaints(route(f"services = [{names}]"))
    assert complaint.startswith("pulsebase.toml:9: services in [[routes]] number 1 must be at most")
    assert complaint.endswith("use * or labels, or write several tables; got 3000")
