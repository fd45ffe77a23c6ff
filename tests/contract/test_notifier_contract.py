"""Every kind of channel keeps the same promises; a new kind is held to them by its file alone."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import pkgutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import TypeAdapter, ValidationError

import pulsebase.notifiers
from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, InvalidFieldsError
from pulsebase.notifiers import (
    DeliveryFailedError,
    DeliveryRefusedError,
    Notifier,
    load_notifier_kind,
    notifier_kinds,
)
from tests.support.lying_server import LyingServer, stalls
from tests.support.notices import HOSTILE_TEXTS, Receiver, a_message, a_notice
from tests.support.server_process import free_port

if TYPE_CHECKING:
    from pulsebase.notifiers import Message

SCHEMES = {"apprise": "json", "webhook": "http"}
# What a kind needs beside a URL to talk to a receiver on this machine.
NEEDED: dict[str, dict[str, Any]] = {"webhook": {"allow_private_addresses": True}}
# Keys of `[[channels]]` that are not the kind's.
SHARED = {"name", "group_window", "rate", "remind_every", "give_up_after"}
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "channels.md"

each_kind = pytest.mark.parametrize("kind", notifier_kinds())


def kind_class(kind: str) -> Any:
    return load_notifier_kind(SCHEMES[kind])


def notifier_to(kind: str, port: int, **keys: Any) -> Notifier:
    """A notifier of the kind that talks to a port of this machine."""
    url = f"{SCHEMES[kind]}://user:canary-word@127.0.0.1:{port}/canary-path"
    made: Notifier = kind_class(kind)(**{"url": url} | NEEDED.get(kind, {}) | keys)
    return made


def key_of(received: Any) -> str:
    return str(received.headers["idempotency-key"])


def test_every_file_is_a_kind() -> None:
    modules = list(pkgutil.iter_modules(pulsebase.notifiers.__path__))
    assert {module.name for module in modules if not module.ispkg} == set(notifier_kinds())
    assert set(notifier_kinds()) == SCHEMES.keys()


def test_naming_the_kinds_imports_none_of_them() -> None:
    program = (
        "import sys, pulsebase.notifiers as n; n.notifier_kinds(); "
        "sys.exit(bool({'pycurl', 'pydantic', 'apprise', 'jinja2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_web_addresses_are_webhooks_and_all_others_are_apprises() -> None:
    for scheme in ("http", "https", "HTTPS"):
        assert load_notifier_kind(scheme).__name__ == "WebhookNotifier"
    for scheme in ("mailto", "slack", "json", "jsons", ""):
        assert load_notifier_kind(scheme).__name__ == "AppriseNotifier"


@each_kind
def test_a_kind_is_a_frozen_dataclass_that_is_its_configuration(kind: str) -> None:
    notifier: Any = notifier_to(kind, 1)
    assert isinstance(notifier, Notifier)
    assert notifier == notifier_to(kind, 1)
    assert "canary" not in repr(notifier)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(notifier, dataclasses.fields(kind_class(kind))[0].name, None)


@each_kind
def test_a_kind_reads_its_keys_and_refuses_others(kind: str) -> None:
    assert kind_class(kind).__pydantic_config__ is CLOSED
    adapter: TypeAdapter[Any] = TypeAdapter(kind_class(kind))
    table = {"url": f"{SCHEMES[kind]}://hook.example/", "timeout": "20s"}
    assert adapter.validate_python(table) == kind_class(kind)(
        url=table["url"], timeout=timedelta(seconds=20)
    )
    with pytest.raises(ValidationError):
        adapter.validate_python(table | {"no_such_key": 1})


@each_kind
def test_a_kind_has_a_json_schema_and_takes_no_key_of_the_channel(kind: str) -> None:
    schema = TypeAdapter(kind_class(kind)).json_schema()
    assert schema["additionalProperties"] is False
    assert {"url", "timeout", "title", "body", "link"} <= schema["properties"].keys()
    assert not SHARED & schema["properties"].keys()


@each_kind
def test_every_key_has_its_heading_in_the_reference(kind: str) -> None:
    page = PAGE.read_text("utf-8")
    for key in {*TypeAdapter(kind_class(kind)).json_schema()["properties"], *SHARED}:
        assert f"### `{key}`\n" in page, key


@each_kind
@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"url": "canary"}, "url"),
        ({"url": ""}, "url"),
        ({"url": "http://[canary"}, "url"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"timeout": timedelta(seconds=51)}, "timeout"),
        ({"title": "{{"}, "title"),
        ({"body": "{% if %}"}, "body"),
        ({"link": "canary"}, "link"),
    ],
)
def test_what_is_wrong_with_a_key_is_found_at_load(
    kind: str, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        notifier_to(kind, 1, **wrong)
    assert caught.value.field == field
    assert "canary" not in str(caught.value)


@each_kind
def test_all_that_is_wrong_is_found_at_once(kind: str) -> None:
    wrong = {"url": "canary", "timeout": timedelta(0), "title": "{{", "link": "canary"}
    with pytest.raises(InvalidFieldsError) as caught:
        notifier_to(kind, 1, **wrong)
    assert {error.field for error in caught.value.errors} == wrong.keys()
    assert "canary" not in str(caught.value)


@each_kind
async def test_a_message_arrives_with_the_same_key_in_every_attempt(kind: str) -> None:
    message = a_message()
    async with Receiver(500, 200) as receiver:
        notifier = notifier_to(kind, receiver.port)
        with pytest.raises(DeliveryFailedError) as caught:
            await notifier.send(message)
        await notifier.send(dataclasses.replace(message, attempt=2))
    assert [key_of(one) for one in receiver.received] == [str(message.id)] * 2
    assert "canary" not in str(caught.value)


@each_kind
async def test_nobody_there_is_a_failure_without_a_secret(kind: str) -> None:
    with pytest.raises(DeliveryFailedError) as caught:
        await notifier_to(kind, free_port()).send(a_message())
    assert "canary" not in str(caught.value)
    assert str(caught.value)


@each_kind
async def test_an_attempt_ends_in_its_time(kind: str) -> None:
    """And leaves the event loop to others meanwhile."""
    async with LyingServer(stalls()) as server:
        notifier = notifier_to(kind, server.port, timeout=timedelta(seconds=1))
        sending = asyncio.create_task(notifier.send(a_message()))
        await server.asked.wait()
        with pytest.raises(DeliveryFailedError):
            await sending


@each_kind
async def test_many_are_told_at_once(kind: str) -> None:
    messages = [a_message(a_notice(f"db-{number}")) for number in range(60)]
    async with Receiver() as receiver:
        notifier = notifier_to(kind, receiver.port, timeout=timedelta(seconds=50))
        await asyncio.gather(*map(notifier.send, messages))
    assert {key_of(one) for one in receiver.received} == {str(one.id) for one in messages}
    assert len(receiver.received) == 60


@each_kind
@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_hostile_texts_arrive(kind: str, name: str) -> None:
    """Whatever a service is called and says of itself, people are told."""
    text = HOSTILE_TEXTS[name]
    parts: dict[str, Any] = {"reason": text, "labels": {text: text}}
    message = a_message(a_notice(text, **parts), a_notice(text, "resolved"), channel=text)
    templates = {"title": "{{ channel }} {{ notice.service }}", "body": "{{ notice }}"}
    async with Receiver() as receiver:
        await notifier_to(kind, receiver.port, link="https://s.example/{service}").send(message)
        await notifier_to(kind, receiver.port, **templates).send(message)
    assert [key_of(one) for one in receiver.received] == [str(message.id)] * 2
    usual = {*receiver.received[0].headers}
    assert not {"bcc", "x-evil"} & usual


@each_kind
async def test_a_failing_template_keeps_nobody_from_being_told(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Receiver() as receiver:
        notifier = notifier_to(kind, receiver.port, title="{{ 1 / 0 }}", body="{{ 1 / 0 }}")
        await notifier.send(a_message())
    assert b"checkout has been down since" in receiver.only.body
    failed = [one for one in caplog.records if one.name == "pulsebase.notifiers"]
    assert len(failed) == 2


@each_kind
async def test_the_largest_digest_is_one_message(kind: str) -> None:
    message: Message = a_message(*(a_notice(f"db-{number}") for number in range(5_000)))
    async with Receiver() as receiver:
        await notifier_to(kind, receiver.port, timeout=timedelta(seconds=50)).send(message)
    assert len(receiver.received) == 1
    assert b"5,000 services are down" in receiver.only.body
    assert b"and 4,950 more" in receiver.only.body


def test_errors_cross_the_borders_of_processes() -> None:
    failed = pickle.loads(pickle.dumps(DeliveryFailedError("why", 7)))  # noqa: S301 - our own
    assert (str(failed), failed.retry_after_seconds) == ("why", 7)
    refused = pickle.loads(pickle.dumps(DeliveryRefusedError("why")))  # noqa: S301 - our own
    assert str(refused) == "why"
