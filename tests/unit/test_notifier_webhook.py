"""The webhook: what is sent, how it is signed, and what becomes of each answer."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from pulsebase.notifiers import DeliveryFailedError, DeliveryRefusedError
from pulsebase.notifiers.support.payload import webhook_schema
from pulsebase.notifiers.webhook import WebhookNotifier
from tests.support.certificates import Authority
from tests.support.lying_server import (
    LyingServer,
    answers,
    repeats,
    resets,
    says,
    stalls,
)
from tests.support.notices import BEGAN, ENDED, HOSTILE_TEXTS, Receiver, a_message, a_notice
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from tests.support.lying_server import Behaviour

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
KEY = b"a key of twenty-four bytes"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
STRICT = Draft202012Validator(webhook_schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def hook_of(server: LyingServer, path: str = "hook", **keys: Any) -> WebhookNotifier:
    usual: dict[str, Any] = {"allow_private_addresses": True, "timeout": timedelta(seconds=5)}
    return WebhookNotifier(url=server.url + path, **usual | keys)


async def failure(hook: WebhookNotifier) -> DeliveryFailedError:
    with pytest.raises(DeliveryFailedError) as caught:
        await hook.send(a_message())
    return caught.value


async def refusal(hook: WebhookNotifier) -> str:
    with pytest.raises(DeliveryRefusedError) as caught:
        await hook.send(a_message())
    return str(caught.value)


def expected_signature(message_id: str, timestamp: str, body: bytes, key: bytes) -> str:
    """Written from the words of Standard Webhooks, not from our code."""
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + body
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


async def test_a_message_is_posted_as_json_with_its_key() -> None:
    message = a_message(a_notice(held_by="maintenance", held_since=BEGAN))
    async with Receiver() as receiver:
        link = "https://status.example/{service}"
        await hook_of(receiver, headers={"X-Team": "ai", "X-Empty": ""}, link=link).send(message)
    got = receiver.only
    assert got.line == "POST /hook HTTP/1.1"
    assert got.headers["content-type"] == "application/json"
    assert got.headers["idempotency-key"] == str(message.id)
    assert got.headers["x-team"] == "ai"
    assert "webhook-signature" not in got.headers
    body = json.loads(got.body)
    STRICT.validate(body)
    assert body["version"] == 1
    assert body["message_id"] == str(message.id)
    assert body["channel"] == "ops"
    assert body["title"] == "checkout is down"
    [notice] = body["notices"]
    assert notice["service_name"] == "checkout"
    assert notice["kind"] == "opened"
    assert notice["labels"] == {"team": "ai"}
    assert datetime.fromisoformat(notice["started_at"]) == BEGAN
    assert notice["resolved_at"] is None
    assert notice["reason"] == "HTTP 503 instead of 200"
    assert notice["location"] == "fra"
    assert notice["held_by"] == "maintenance"
    assert notice["link"] == "https://status.example/checkout"
    assert notice["details"] == message.notices[0].details


async def test_a_resolved_notice_says_when_and_how_it_ended() -> None:
    async with Receiver() as receiver:
        await hook_of(receiver).send(a_message(a_notice(kind="resolved")))
    [notice] = json.loads(receiver.only.body)["notices"]
    assert datetime.fromisoformat(notice["resolved_at"]) == ENDED
    assert notice["lasted_seconds"] == 720
    assert notice["resolved_by"] == "recovery"
    assert "healthy again after 12 min" in notice["text"]


@pytest.mark.parametrize(
    ("secret", "key"), [(SECRET, KEY), ("a text of any length", b"a text of any length")]
)
async def test_the_signature_is_that_of_standard_webhooks(secret: str, key: bytes) -> None:
    message = a_message()
    async with Receiver() as receiver:
        await hook_of(receiver, secret=secret).send(message)
    got = receiver.only
    assert got.headers["webhook-id"] == str(message.id)
    timestamp = got.headers["webhook-timestamp"]
    assert abs(int(timestamp) - time.time()) < 120
    expected = expected_signature(str(message.id), timestamp, got.body, key)
    assert got.headers["webhook-signature"] == expected


async def test_the_key_is_the_same_in_every_attempt() -> None:
    message = a_message()
    async with Receiver(500, 200) as receiver:
        hook = hook_of(receiver, secret=SECRET)
        with pytest.raises(DeliveryFailedError):
            await hook.send(message)
        await hook.send(message)
    keys = [one.headers["idempotency-key"] for one in receiver.received]
    assert keys == [str(message.id)] * 2
    ids = [one.headers["webhook-id"] for one in receiver.received]
    assert ids == keys


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_is_delivered(status: int) -> None:
    async with Receiver(status) as receiver:
        await hook_of(receiver).send(a_message())
    assert len(receiver.received) == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599, 600])
async def test_what_may_pass_has_failed(status: int) -> None:
    async with Receiver(status) as receiver:
        error = await failure(hook_of(receiver))
    assert str(status) in str(error)
    assert error.retry_after_seconds is None


@pytest.mark.parametrize("status", [300, 304, 400, 401, 403, 404, 405, 410, 413, 422, 451])
async def test_what_stays_so_is_refused(status: int) -> None:
    async with Receiver(status) as receiver:
        assert str(status) in await refusal(hook_of(receiver))


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 0, 0),
        ("999999999", 86_400, 86_400),
        (format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), 3_000, 3_600),
        (format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True), 0, 0),
    ],
    ids=["seconds", "none", "centuries", "a date", "a date before"],
)
async def test_retry_after_is_honoured(given: str, least: float, most: float) -> None:
    async with Receiver(429, headers=f"Retry-After: {given}\r\n") as receiver:
        error = await failure(hook_of(receiver))
    assert error.retry_after_seconds is not None
    assert least <= error.retry_after_seconds <= most


@pytest.mark.parametrize("given", ["", "soon", "-1", "1.5", "9" * 400, "²", "Wed, 99 Foo 2026"])
async def test_a_retry_after_that_cannot_be_read_is_none(given: str) -> None:
    headers = f"Retry-After: {given}\r\n".encode().decode("latin-1")
    async with LyingServer(answers(status="503 X", headers=headers)) as server:
        assert (await failure(hook_of(server))).retry_after_seconds is None


async def test_nobody_there_is_a_failure() -> None:
    hook = WebhookNotifier(url=f"http://127.0.0.1:{free_port()}/", allow_private_addresses=True)
    assert "connect" in str(await failure(hook)).lower()
    hook = WebhookNotifier(url="http://no-such-host.invalid/")
    assert "resolve" in str(await failure(hook)).lower()


@pytest.mark.parametrize(
    "behaviour",
    [
        stalls(),
        stalls(b"HTTP/1.1 200 OK\r\n"),
        resets(),
        resets(b"HTTP/1.1 200 OK\r\nX: y\r\n"),
        says(b""),
        says(b"HTTP/1.1 200 OK\r\n"),
        says(b"HTTP/1.1 100 Continue\r\n\r\n"),
        says(b"\x00\xff" * 100),
        repeats(b"HTTP/1.1 200 OK\r\n", b"X-Y: z\r\n" * 100),
        repeats(b"HTTP/1.1 200 OK\r\nX: ", b"z" * 10_000),
        repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=[
        "silent",
        "silent after its status",
        "resets at once",
        "resets among its headers",
        "closes at once",
        "closes among its headers",
        "ends after an interim answer",
        "speaks something else",
        "endless headers",
        "an endless header",
        "endless interim answers",
    ],
)
async def test_half_an_answer_is_a_failure(behaviour: Behaviour) -> None:
    async with LyingServer(behaviour) as server:
        await failure(hook_of(server, timeout=timedelta(seconds=1)))


@pytest.mark.parametrize(
    "behaviour",
    [
        repeats(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 10_000),
        stalls(b"HTTP/1.1 200 OK\r\n\r\n"),
        resets(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\nx"),
        says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
        answers(b"\x1f\x8b" * 100, headers="Content-Encoding: gzip\r\n"),
    ],
    ids=["endless", "stalls", "resets", "promises more", "interim", "not packed"],
)
async def test_who_has_said_2xx_has_the_message(behaviour: Behaviour) -> None:
    async with LyingServer(behaviour) as server:
        await hook_of(server, timeout=timedelta(seconds=1)).send(a_message())
    assert len(server.requests) == 1


async def test_an_endless_refusal_is_read_only_so_far() -> None:
    async with LyingServer(repeats(b"HTTP/1.1 400 X\r\n\r\n", b"no \x00\r\n" * 1000)) as server:
        said = await refusal(hook_of(server))
    assert said.startswith("the receiver answered 400 (Bad Request): no no")
    assert len(said) < 300
    assert said.isprintable()


async def test_errors_show_nothing_that_was_told_in_confidence() -> None:
    secrets = [
        "canary-path-71",
        "canary-query-72",
        "canary-user",
        "canary-word-73",
        "canary-head-74",
    ]
    echoed = f"{' '.join(secrets)} {SECRET}".encode()
    async with Receiver(400, body=echoed) as receiver:
        hook = WebhookNotifier(
            url=f"http://canary-user:canary-word-73@127.0.0.1:{receiver.port}"
            "/canary-path-71?token=canary-query-72",
            headers={"X-Api-Key": "Bearer canary-head-74"},
            secret=SECRET,
            allow_private_addresses=True,
        )
        said = await refusal(hook)
    assert receiver.only.headers["authorization"].startswith("Basic ")
    assert receiver.only.line == "POST /canary-path-71?token=canary-query-72 HTTP/1.1"
    assert "canary" not in said
    assert SECRET not in said
    assert "canary" not in repr(hook)
    assert SECRET not in repr(hook)
    assert "canary" not in str(await failure(hook))


async def test_a_certificate_must_hold(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    context = authority.issue("localhost").serving()
    async with Receiver(tls=context) as receiver:
        url = f"https://localhost:{receiver.port}/"
        trusting = WebhookNotifier(
            url=url, allow_private_addresses=True, ca_file=str(authority.ca_file)
        )
        await trusting.send(a_message())
        assert "certificate" in str(await failure(dataclasses.replace(trusting, ca_file=None)))


async def test_a_send_that_is_cancelled_lets_go_of_the_receiver() -> None:
    async with LyingServer(stalls()) as server:
        hook = hook_of(server, timeout=timedelta(seconds=50))
        sending = asyncio.create_task(hook.send(a_message()))
        await server.asked.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await wait_until_async(lambda: server.open_connections == 0, "the connection is closed")


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver() as receiver, LyingServer(answers(status="502 X")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await hook_of(receiver).send(a_message())
    assert len(receiver.received) == 1
    assert proxy.requests == []


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_hostile_texts_arrive_as_data(name: str) -> None:
    text = HOSTILE_TEXTS[name]
    notice = a_notice(text, reason=text, labels={text[:500]: text[:500]})
    async with Receiver() as receiver:
        hook = hook_of(receiver, link="https://s.example/{service}?e={event}")
        await hook.send(a_message(notice, channel=text))
    body = json.loads(receiver.only.body)
    STRICT.validate(body)
    [told] = body["notices"]
    assert told["service_name"] == text.replace("\ud800", "\ufffd")
    assert "\n" not in body["title"]
    assert len(body["title"]) <= 250
    assert len(told["reason"]) <= 510
    assert re.fullmatch(r"https://s\.example/[!-~]+", told["link"])
    assert "/../" not in told["link"]


@pytest.mark.parametrize(
    "details",
    [None, {}, {"reason": ["x"], "started_at": 7, "downtime_seconds": "9"}, {"a": float("nan")}],
)
async def test_details_of_any_shape_do_no_harm(details: Any) -> None:
    async with Receiver() as receiver:
        await hook_of(receiver).send(a_message(a_notice(details=details)))
    body = json.loads(receiver.only.body)
    STRICT.validate(body)
    assert datetime.fromisoformat(body["notices"][0]["started_at"]) == BEGAN


async def test_a_digest_of_2_800_is_one_request_with_the_list_inside() -> None:
    names = [f"db-{number}" for number in range(2_800)]
    async with Receiver() as receiver:
        hook = hook_of(receiver, timeout=timedelta(seconds=30))
        await hook.send(a_message(*(a_notice(name) for name in names)))
    body = json.loads(receiver.only.body)
    assert [one["service_name"] for one in body["notices"]] == names
    assert body["title"] == "2,800 services are down"
    assert body["text"].endswith("and 2,750 more")
    assert body["notices_left_out"] == 0


async def test_details_give_way_in_a_large_message() -> None:
    large = {"reason": "why", "dump": "x" * 60_000}
    async with Receiver() as receiver:
        await hook_of(receiver).send(a_message(*(a_notice(details=large) for _ in range(50))))
    assert len(receiver.only.body) < 512 * 1024
    notices = json.loads(receiver.only.body)["notices"]
    assert notices[0]["details"] == large
    assert notices[-1]["details"] is None
    assert notices[-1]["reason"] == "why"


async def test_a_receiver_that_takes_less_is_told_less() -> None:
    message = a_message(*(a_notice(f"db-{number}") for number in range(500)))
    async with Receiver(413, 200) as receiver:
        await hook_of(receiver, secret=SECRET).send(message)
    whole, part = receiver.received
    assert whole.headers["idempotency-key"] == part.headers["idempotency-key"]
    body = json.loads(part.body)
    STRICT.validate(body)
    assert len(body["notices"]) == 100
    assert body["notices_left_out"] == 400
    assert body["title"] == "500 services are down"
    stamp = part.headers["webhook-timestamp"]
    expected = expected_signature(str(message.id), stamp, part.body, KEY)
    assert part.headers["webhook-signature"] == expected


def test_the_published_schema_is_that_of_the_body() -> None:
    """If not, run: python -m pulsebase.notifiers.support.payload (see that file)."""
    Draft202012Validator.check_schema(webhook_schema())
    published = (REFERENCE / "webhook.schema.json").read_text("utf-8")
    made = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pulsebase.notifiers.support.payload"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout == published
    assert json.loads(published) == webhook_schema()
