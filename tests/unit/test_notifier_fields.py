"""What a webhook refuses at load, each with the reason and without its secrets."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from pulsebase.errors import InvalidValueError
from pulsebase.notifiers.support.cleaning import one_line, shortened, shortened_bytes
from pulsebase.notifiers.support.redaction import redact, secrets_in_url
from pulsebase.notifiers.webhook import WebhookNotifier

URL = "https://hook.example/"


def short_secret() -> str:
    return "whsec_" + base64.b64encode(b"canary").decode()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "hook.example/canary"}, "url"),
        ({"url": "ftp://hook.example/canary"}, "url"),
        ({"url": "https:///canary"}, "url"),
        ({"url": "https://hook.example:99999/canary"}, "url"),
        ({"url": "https://hook.example:0/canary"}, "url"),
        ({"url": "https://hook.example/canary x"}, "url"),
        ({"url": "https://hook.example/canary\r\nX: y"}, "url"),
        ({"url": "https://hook.example/canary\ud800"}, "url"),
        ({"url": "https://h\u00f6ok.example/canary"}, "url"),
        ({"secret": ""}, "secret"),
        ({"secret": "canary"}, "secret"),
        ({"secret": short_secret()}, "secret"),
        ({"secret": "whsec_canary canary canary canary"}, "secret"),
        ({"secret": "whsec_"}, "secret"),
        ({"secret": "canary canary canary \ud800"}, "secret"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file"),
        ({"ca_file": __file__}, "ca_file"),
        ({"ca_file": "\x00"}, "ca_file"),
        ({"headers": {"X Y": "canary"}}, "headers"),
        ({"headers": {"": "canary"}}, "headers"),
        ({"headers": {"X-A\r\nB": "canary"}}, "headers"),
        ({"headers": {"X": "canary\r\nY: z"}}, "headers"),
        ({"headers": {"X": "canary\x00"}}, "headers"),
        ({"headers": {"X": "canary\ud800"}}, "headers"),
        ({"headers": {"Idempotency-Key": "canary"}}, "headers"),
        ({"headers": {"WEBHOOK-signature": "canary"}}, "headers"),
        ({"headers": {"Host": "canary"}}, "headers"),
        ({"headers": {"Transfer-Encoding": "canary"}}, "headers"),
    ],
)
def test_what_could_only_fail_later_is_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        WebhookNotifier(**dict[str, Any](url=URL) | wrong)
    assert caught.value.field == field
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "right",
    [
        {"url": "http://hook.example:8080/a/b?c=d#e"},
        {"url": "https://user:word@[2606:4700::1111]/"},
        {"url": "https://xn--hk-fka.example"},
        {"secret": "whsec_" + base64.b64encode(bytes(24)).decode()},
        {"secret": "sixteen letters!"},
        {"headers": {"Authorization": "Bearer x", "X-Empty": "", "X-Tab": "a\tb", "X": "\u00e4"}},
        {"headers": {"User-Agent": "ours"}},
    ],
)  # fmt: skip
def test_what_can_work_is_taken(right: dict[str, Any]) -> None:
    WebhookNotifier(**dict[str, Any](url=URL) | right)


def test_every_part_of_a_url_but_its_host_is_hidden() -> None:
    url = "https://us%65r:pa%73s@hook.example/path-one/pa%74h-two?token=to%6ben-x&b=value-y#frag-z"
    said = (
        "us%65r user pa%73s pass path-one pa%74h-two path-two to%6ben-x token-x value-y frag-z "
        "dXNlcjpwYXNz hook.example"
    )
    assert set(redact(said, secrets_in_url(url)).split()) == {"***", "hook.example"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" a \r\n b\t\tc ", "a b c"),
        ("\u202eabc\u202c\u200b\ufeff", "abc"),
        ("a\ud800b", "ab"),
        ("x" * 50, "x" * 9 + "…"),
        ("@everyone", "@\u200beveryone"),
        ("a@b.example", "a@b.exampl…"[:9] + "…"),
        ("", ""),
    ],
)
def test_a_text_becomes_one_line(text: str, line: str) -> None:
    assert one_line(text, longest=10) == line


def test_a_text_is_shortened_to_what_fits() -> None:
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefg", 6) == "abcde…"
    assert [shortened("abc", longest) for longest in (0, 1, 2)] == ["", "…", "a…"]
    assert shortened_bytes("\U0001f525" * 10, 40) == "\U0001f525" * 10
    assert shortened_bytes("\U0001f525" * 10, 39) == "\U0001f525" * 9 + "…"
    assert len(shortened_bytes("\u00e4" * 200, 250).encode()) <= 250
