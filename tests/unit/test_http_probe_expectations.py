"""The kind `http` holds headers, body, JSON and certificate to what is expected of them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pulsebase.errors import InvalidValueError
from pulsebase.probes.http import HeaderExpectation, HttpExpectation, HttpProbe, JsonExpectation
from pulsebase.probes.support.http.json_path import JsonPath
from pulsebase.probes.support.patterns import Regex
from tests.support.certificates import Authority
from tests.support.looking import look_once
from tests.support.lying_server import LyingServer, answers

if TYPE_CHECKING:
    from pathlib import Path

WELL = {
    "status": "ok",
    "ready": True,
    "load": 0.5,
    "queue": {"length": 12},
    "checks": [{"name": "db", "ok": True}, {"name": "mail", "ok": False}],
    "nothing": None,
}


async def judged(expect: HttpExpectation, body: bytes = b"ok", *, headers: str = "") -> Any:
    """The expectation that failed with what was got, or None for a healthy service."""
    async with LyingServer(answers(body, headers=headers)) as server:
        outcome = await look_once(HttpProbe(url=server.url, expect=expect))
    assert (outcome.status == "healthy") == ("failed" not in outcome.details), outcome
    return outcome.details.get("failed")


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        (HeaderExpectation(name="Content-Type"), True),
        (HeaderExpectation(name="content-TYPE", equals="application/json; charset=utf-8"), True),
        (HeaderExpectation(name="Content-Type", equals="application/json"), False),
        (HeaderExpectation(name="Content-Type", contains="json"), True),
        (HeaderExpectation(name="Content-Type", contains="html"), False),
        (HeaderExpectation(name="Content-Type", matches=Regex("^application/")), True),
        (HeaderExpectation(name="Content-Type", matches=Regex("^json")), False),
        (HeaderExpectation(name="X-Debug"), False),
        (HeaderExpectation(name="X-Debug", absent=True), True),
        (HeaderExpectation(name="Content-Type", absent=True), False),
        (HeaderExpectation(name="X-Many", equals="two"), True),
        (HeaderExpectation(name="X-Name", contains="grün"), True),
        (HeaderExpectation(name="X-Empty", equals=""), True),
    ],
)
async def test_a_header_must_be_as_expected(expected: HeaderExpectation, *, holds: bool) -> None:
    headers = (
        "Content-Type: application/json; charset=utf-8\r\nX-Many: one\r\nx-many: two\r\n"
        f"X-Name: {'grün'.encode().decode('latin-1')}\r\nX-Empty:\r\n"
    )
    failed = await judged(HttpExpectation(headers=(expected,)), headers=headers)
    assert (failed is None) is holds
    if failed:
        assert failed["expectation"] == "headers"
        assert failed["expected"].startswith(expected.name)


async def test_only_the_headers_of_the_last_answer_count() -> None:
    async with LyingServer(answers(headers="X-Which: last\r\n")) as last:
        pointing = f"Location: {last.url}\r\nX-Which: first\r\n"
        async with LyingServer(answers(status="302 Found", headers=pointing)) as first:
            expected = HeaderExpectation(name="X-Which", equals="last")
            probe = HttpProbe(url=first.url, expect=HttpExpectation(headers=(expected,)))
            assert (await look_once(probe)).status == "healthy"


async def test_a_header_that_is_wrong_says_what_was_sent() -> None:
    expected = HeaderExpectation(name="Server", equals="ours")
    failed = await judged(HttpExpectation(headers=(expected,)), headers="Server: theirs\r\n")
    assert failed == {
        "expectation": "headers",
        "expected": "Server equals ours",
        "got": "theirs",
    }


async def test_the_body_must_not_contain_the_text() -> None:
    expect = HttpExpectation(body_not_contains="Traceback")
    assert await judged(expect, b"all is well") is None
    failed = await judged(expect, b"Traceback (most recent call last)")
    assert failed["expectation"] == "body_not_contains"


def at(path: str, **rule: Any) -> JsonExpectation:
    return JsonExpectation(path=JsonPath(path), **rule)


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        (at("$.status", equals="ok"), True),
        (at("$.status", equals="OK"), False),
        (at("$.status", matches=Regex("^o.$")), True),
        (at("$.load", matches=Regex("0")), False),
        (at("$.ready", equals=True), True),
        (at("$.ready", equals=1), False),
        (at("$.load", equals=0.5), True),
        (at("$.queue.length", equals=12), True),
        (at("$.queue.length", at_most=12), True),
        (at("$.queue.length", at_least=13), False),
        (at("$.queue.length", at_least=1, at_most=20), True),
        (at("$.status", at_most=1), False),
        (at("$.ready", at_least=0), False),
        (at("$.nothing"), True),
        (at("$.absent"), False),
        (at("$.checks[*].ok", equals=True), False),
        (at("$.checks[0].ok", equals=True), True),
        (at("$.checks[?@.name == 'mail'].ok", equals=False), True),
        (at("$.checks[?search(@.name, '(a+)+$')].ok", equals=False), False),
        (at("$..name", matches=Regex("^[a-z]+$")), True),
    ],
)
async def test_values_of_the_json_must_be_as_expected(
    expected: JsonExpectation, *, holds: bool
) -> None:
    failed = await judged(HttpExpectation(json=(expected,)), json.dumps(WELL).encode())
    assert (failed is None) is holds
    if failed:
        assert failed["expectation"] == "json"
        assert failed["expected"].startswith(expected.path.path)


async def test_a_value_that_is_wrong_is_shown_as_json() -> None:
    failed = await judged(HttpExpectation(json=(at("$.a", equals="ok"),)), b'{"a": {"b": [1]}}')
    assert failed == {
        "expectation": "json",
        "expected": '$.a equals "ok"',
        "got": '{"b": [1]}',
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b'{"a": NaN}',
        b'{"a": 1}{"a": 1}',
        b"[" * 100_000,
        b'{"a":' * 500 + b"1" + b"}" * 500,
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": "\xff\xfe"',
    ],
    ids=["empty", "text", "nan", "two", "open", "deep", "number", "cut"],
)
async def test_a_body_that_is_no_usable_json_is_down(body: bytes) -> None:
    failed = await judged(HttpExpectation(json=(at("$..a", equals="ok"),)), body)
    assert failed["expectation"] == "json"
    assert len(failed["got"]) <= 200


async def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    expect = HttpExpectation(body_matches=Regex("^{"), json=(at("$.a", equals=1),))
    assert await judged(expect, b'\xef\xbb\xbf{"a": 1}') is None


async def test_a_large_body_is_judged_beside_the_loop_and_within_the_timeout() -> None:
    body = b"[" + b'{"a":{"a":{"a":1}}},' * 40_000 + b"0]"
    expect = HttpExpectation(json=(at("$..[?@..[?@.a == 7]]", equals=1),))
    async with LyingServer(answers(body)) as server:
        started_at = time.monotonic()
        outcome = await look_once(HttpProbe(url=server.url, expect=expect), timeout_seconds=0.5)
    assert time.monotonic() - started_at < 3
    assert outcome.status == "down"
    assert outcome.details["error"]["kind"] == "timeout"


@pytest.mark.parametrize(
    ("limits", "status", "failed"),
    [
        ({}, "healthy", None),
        ({"degraded_days_left": 5, "down_days_left": 2}, "healthy", None),
        ({"degraded_days_left": 30}, "degraded", "degraded_days_left"),
        ({"degraded_days_left": 30, "down_days_left": 20}, "down", "down_days_left"),
    ],
)
async def test_a_certificate_must_hold_a_while_longer(
    tmp_path: Path, limits: dict[str, Any], status: str, failed: str | None
) -> None:
    authority = Authority(tmp_path / "ca")
    identity = authority.issue("127.0.0.1", days=10)
    async with LyingServer(answers(), tls=identity.serving()) as server:
        url, ca_file = server.url, str(authority.ca_file)
        outcome = await look_once(HttpProbe(url=url, ca_file=ca_file, **limits))
    assert outcome.status == status
    assert outcome.details.get("failed", {}).get("expectation") == failed
    seen = outcome.details["tls"]
    assert seen["days_left"] == 9
    assert seen["version"].startswith("TLSv1.")
    assert seen["cipher"]
    assert seen["not_after"].endswith("+00:00")
    assert seen["issuer"] != seen["subject"] != ""
    assert "127.0.0.1" in seen["names"]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"headers": [{"name": "A b"}]}, "headers"),
        ({"headers": [{"name": "A", "equals": "x", "contains": "x"}]}, "headers"),
        ({"headers": [{"name": "A", "matches": "("}]}, "headers"),
        ({"json": [{"path": "status"}]}, "json"),
        ({"json": [{"path": "$.a", "equals": 1, "at_most": 2}]}, "json"),
        ({"json": [{"path": "$.a", "at_least": 3, "at_most": 2}]}, "json"),
        ({"json": [{"path": "$.a", "equals": [1]}]}, "json"),
        ({"json": {"path": "$.a"}}, "json"),
        ({"body_matches": "(?=x)"}, "body_matches"),
        ({"body_not_contains": ""}, "body_not_contains"),
    ],
)
def test_an_expectation_that_can_never_be_met_is_refused_at_load(rule: Any, field: str) -> None:
    with pytest.raises((ValidationError, InvalidValueError), match=field):
        TypeAdapter(HttpExpectation).validate_json(json.dumps(rule), strict=True)


@pytest.mark.parametrize("path", ["", "$.", "$[", "a", "$.a | $.b", "$ ", "$" * 500, "$.a[?x()]"])
def test_a_path_that_is_none_is_refused_with_the_rule(path: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a JSONPath"):
        JsonPath(path)


def test_paths_are_values() -> None:
    assert JsonPath("$.a") == JsonPath("$.a") != JsonPath("$.b")
    assert hash(JsonPath("$.a")) == hash(JsonPath("$.a"))
    assert repr(JsonPath("$.a")) == "JsonPath(path='$.a')"
