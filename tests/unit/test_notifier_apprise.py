"""Apprise: real mail servers and real HTTP receivers, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import logging
import re
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

import pytest

from pulsebase.errors import InvalidValueError, MissingExtraError
from pulsebase.notifiers import DeliveryFailedError, load_notifier_kind
from pulsebase.notifiers.apprise import AppriseNotifier
from tests.support.lying_server import LyingServer, repeats, resets, stalls
from tests.support.mail_server import MailServer
from tests.support.notices import HOSTILE_TEXTS, Receiver, a_message, a_notice
from tests.support.raw_server import RawServer, silent
from tests.support.server_process import free_port
from tests.support.waiting import wait_until_async

if TYPE_CHECKING:
    from email.message import EmailMessage

    from pulsebase.notifiers import Message


class Mailbox:
    """Keeps what arrives, as aiosmtpd hands it over."""

    def __init__(self, refusing: str = "") -> None:
        self.envelopes: list[Any] = []
        self._refusing = refusing

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self, _: object, __: object, envelope: Any, address: str, ___: object
    ) -> str:
        if self._refusing and address.startswith(self._refusing):
            return "550 no such user: canary-71"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _: object, __: object, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"


def only_mail(mailbox: Mailbox) -> EmailMessage:
    """The one that arrived."""
    [envelope] = mailbox.envelopes
    return email.message_from_bytes(envelope.content, policy=email.policy.default)


def mail_to(server: MailServer, more: str = "", **keys: Any) -> AppriseNotifier:
    place = f"mailto://127.0.0.1:{server.port}?from=pulse@shop.example&to=ops@shop.example"
    return AppriseNotifier(url=place + more, link="https://s.example/{service}", **keys)


def json_to(server: LyingServer, more: str = "", **keys: Any) -> AppriseNotifier:
    return AppriseNotifier(url=f"json://127.0.0.1:{server.port}/hook{more}", **keys)


def parts_of(mail: EmailMessage) -> dict[str, str]:
    return {
        part.get_content_type(): part.get_content()
        for part in mail.walk()
        if not part.is_multipart()
    }


async def failure(notifier: AppriseNotifier, message: Message | None = None) -> str:
    with pytest.raises(DeliveryFailedError) as caught:
        await notifier.send(message or a_message())
    assert caught.value.retry_after_seconds is None
    return str(caught.value)


async def test_a_mail_arrives_with_its_key_in_every_attempt() -> None:
    mailbox, message = Mailbox(), a_message()
    async with MailServer(mailbox) as server:
        await mail_to(server).send(message)
        await mail_to(server).send(message)
    for envelope in mailbox.envelopes:
        assert envelope.rcpt_tos == ["ops@shop.example"]
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert mail["Subject"] == "checkout is down"
        assert mail["X-Idempotency-Key"] == str(message.id)
        parts = parts_of(mail)
        for said in parts.values():
            assert f"Message {message.id}" in said
            assert "has been down since 2026-11-25 06:00 UTC" in said
            assert "https://s.example/checkout" in said
        assert "<b>checkout has been down" in parts["text/html"]


async def test_a_header_of_the_url_goes_along() -> None:
    mailbox = Mailbox()
    async with MailServer(mailbox) as server:
        await mail_to(server, "&+X-Team=ai").send(a_message())
    assert only_mail(mailbox)["X-Team"] == "ai"


@pytest.mark.parametrize("form", ["text", "html"])
@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_hostile_texts_neither_break_the_head_nor_the_page(name: str, form: str) -> None:
    text = HOSTILE_TEXTS[name]
    mailbox = Mailbox()
    notice = a_notice(text, reason=text, labels={text: text})
    async with MailServer(mailbox) as server:
        notifier = mail_to(server, f"&format={form}", title="{{ notice.service }}")
        await notifier.send(a_message(notice, a_notice(text, "resolved"), channel=text))
    [envelope] = mailbox.envelopes
    assert envelope.rcpt_tos == ["ops@shop.example"]
    mail = only_mail(mailbox)
    usual = {"Content-Type", "MIME-Version", "X-Application", "X-Idempotency-Key", "Subject",
             "From", "To", "Message-ID", "Date", "Content-Transfer-Encoding"}  # fmt: skip
    assert set(mail.keys()) <= usual
    assert "49" not in mail["Subject"]
    body = "".join(parts_of(mail).values())
    assert "<script" not in body or form == "text" or "&lt;script" in body
    assert not re.search(r"<(img|a href=\"http://evil)", parts_of(mail).get("text/html", ""))
    assert "\u202e" not in body


async def test_a_json_receiver_gets_the_key_as_a_header() -> None:
    message = a_message()
    async with Receiver() as receiver:
        await json_to(receiver, "?+X-Team=ai").send(message)
    assert receiver.only.headers["idempotency-key"] == str(message.id)
    assert receiver.only.headers["x-team"] == "ai"
    body = json.loads(receiver.only.body)
    assert body["title"] == "checkout is down"
    assert body["type"] == "failure"
    assert body["message"].endswith(f"Message {message.id}")


@pytest.mark.parametrize("scheme", ["xml", "form"])
async def test_other_receivers_over_http_get_it_as_well(scheme: str) -> None:
    message = a_message()
    async with Receiver() as receiver:
        url = f"{scheme}://127.0.0.1:{receiver.port}/hook"
        await AppriseNotifier(url=url).send(message)
    assert receiver.only.headers["idempotency-key"] == str(message.id)
    assert str(message.id) in receiver.only.body.decode()


@pytest.mark.parametrize(
    ("kind", "parts", "said"),
    [
        ("opened", {}, "failure"),
        ("opened", {"alert_type": "service_degraded"}, "warning"),
        ("reminder", {}, "failure"),
        ("flapping_started", {}, "failure"),
        ("flapping_ended", {}, "info"),
        ("resolved", {}, "success"),
        ("resolved", {"details": {"resolved_by": "person"}}, "info"),
    ],
)
async def test_apprise_is_told_how_bad_it_is(kind: str, parts: dict[str, Any], said: str) -> None:
    async with Receiver() as receiver:
        await json_to(receiver).send(a_message(a_notice(kind=kind, **parts)))
    assert json.loads(receiver.only.body)["type"] == said


@pytest.mark.parametrize("form", ["text", "markdown", "html"])
async def test_the_format_of_the_url_is_that_of_the_text(form: str) -> None:
    async with Receiver() as receiver:
        notifier = json_to(receiver, f"?format={form}", body="<*{{ notice.service }}*>")
        await notifier.send(a_message(a_notice("a*b<c")))
    said = json.loads(receiver.only.body)["message"]
    escaped = {"text": "a*b<c", "markdown": r"a\*b\<c", "html": "a*b&lt;c"}[form]
    assert said.startswith(f"<*{escaped}*>")


async def test_a_digest_fits_into_what_a_service_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a list that says what it leaves out, in one request, whatever overflow would do."""
    from apprise.plugins.custom_json import NotifyJSON

    message = a_message(*(a_notice(f"db-{number}", reason="r" * 500) for number in range(2_800)))
    for limit, listed in ((32_768, 50), (2_000, 25), (600, 5), (200, 1), (120, 0)):
        monkeypatch.setattr(NotifyJSON, "body_maxlen", limit)
        async with Receiver() as receiver:
            await json_to(receiver, "?overflow=split").send(message)
        said = json.loads(receiver.only.body)["message"]
        assert len(said) <= limit
        assert said.startswith("2,800 services are down")
        assert said.count("- db-") >= listed
        assert not listed or f"and {2_800 - said.count('- db-'):,} more" in said
        assert (f"Message {message.id}" in said) == (limit > 150)


async def test_a_service_without_titles_is_told_them_in_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from apprise.plugins.custom_json import NotifyJSON

    monkeypatch.setattr(NotifyJSON, "title_maxlen", 0)
    for keys, begins in (
        ({}, "<p><b>a&lt;b has been down"),
        ({"title": "<{{ notice.service }}>"}, "<p><b>&lt;a&lt;b&gt;</b></p>\n\n<p><b>a&lt;b has"),
    ):
        async with Receiver() as receiver:
            await json_to(receiver, "?format=html", **keys).send(a_message(a_notice("a<b")))
        body = json.loads(receiver.only.body)
        assert body["title"] == ""
        assert body["message"].startswith(begins)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_apprise_does_not_tell_what_is_for_good(status: int) -> None:
    async with Receiver(status) as receiver:
        assert f"error={status}" in await failure(json_to(receiver))
    assert len(receiver.received) == 1


async def test_one_refused_recipient_is_a_failure_that_says_so() -> None:
    mailbox = Mailbox(refusing="nobody")
    async with MailServer(mailbox) as server:
        said = await failure(mail_to(server, ",nobody@shop.example"))
    assert "550" in said
    assert "nobody@shop.example" in said


async def test_nobody_there_is_a_failure() -> None:
    for scheme in ("json", "mailto"):
        more = "?from=a@b.example&to=c@d.example" if scheme == "mailto" else ""
        url = f"{scheme}://127.0.0.1:{free_port()}/{more}"
        assert "refused" in (await failure(AppriseNotifier(url=url))).lower()


@pytest.mark.parametrize(
    "behaviour",
    [resets(), stalls(), repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 50)],
    ids=["resets", "stalls", "endless headers"],
)
async def test_a_receiver_that_does_not_behave_is_a_failure(behaviour: Any) -> None:
    async with LyingServer(behaviour) as server:
        await failure(json_to(server, timeout=timedelta(seconds=1)))


async def test_a_call_that_hangs_holds_nobody_up() -> None:
    async with RawServer(silent) as server, Receiver() as other:
        url = f"mailto://127.0.0.1:{server.port}?from=a@b.example&to=c@d.example&cto=30"
        hanging = AppriseNotifier(url=url, timeout=timedelta(seconds=1))
        sending = [asyncio.create_task(failure(hanging)) for _ in range(40)]
        await wait_until_async(lambda: server.connections == 40, "all of them hang")
        await json_to(other).send(a_message())
        for said in await asyncio.gather(*sending):
            assert "not done within 1s" in said
            assert "unknown" in said
        names = [one.name for one in threading.enumerate() if one.name == "pulsebase-notifier"]
        assert len(names) >= 40
    # Its threads end with the server that held them.
    await wait_until_async(
        lambda: not [one for one in threading.enumerate() if one.name == "pulsebase-notifier"],
        "the threads have ended",
    )


SECRETS = ("canary-word-71", "canary-path-72", "canary-head-73", "canary-arg-74", "canary user")


async def test_errors_show_nothing_that_was_told_in_confidence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    echoed = " ".join((*SECRETS, *map(quote, SECRETS))).encode()
    async with Receiver(400, body=echoed) as receiver:
        notifier = AppriseNotifier(
            url=f"json://canary%20user:canary-word-71@127.0.0.1:{receiver.port}/canary-path-72"
            "?+X-Key=canary-head-73&-token=canary-arg-74"
        )
        said = await failure(notifier)
    assert receiver.only.headers["x-key"] == "canary-head-73"
    assert parse_qs(receiver.only.line.split()[1].partition("?")[2])["token"] == ["canary-arg-74"]
    gone = await failure(notifier)
    for text in (said, gone, repr(notifier), caplog.text):
        assert "canary" not in text
    assert "error=400" in said
    assert "127.0.0.1" in gone


def test_what_apprise_logs_for_others_is_as_before(caplog: pytest.LogCaptureFixture) -> None:
    AppriseNotifier(url="json://127.0.0.1/")
    logger = logging.getLogger("apprise")
    with caplog.at_level(logging.WARNING):
        logger.debug("of no interest")
        logger.warning("of interest")
    assert [record.getMessage() for record in caplog.records] == ["of interest"]


async def test_no_service_is_optional() -> None:
    """Apprise would report what it could not deliver as delivered."""
    async with Receiver(500) as receiver:
        await failure(json_to(receiver, "?optional=yes"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "nosuchscheme://canary-71/canary-72",
        "slack://canary-71",
        "discord://canary-71/",
        "mailto://",
        "mailto://canary-71",
        "json://",
        "json://[canary-71/",
        "https://canary-71.example/",
        "HTTP://canary-71.example/",
        "json://127.0.0.1/\n",
        "json://127.0.0.1/\x00",
        "json://127.0.0.1/\ud800",
    ],
)
def test_a_url_that_apprise_does_not_understand_is_refused_at_load(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidValueError) as caught:
        AppriseNotifier(url=url)
    assert caught.value.field == "url"
    assert "canary" not in str(caught.value)
    assert "Apprise understands" in str(caught.value)
    assert caplog.records == []


def test_the_extra_is_named_where_apprise_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "pulsebase.notifiers.apprise")
    for name in [name for name in sys.modules if name.partition(".")[0] == "apprise"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "site-packages" not in path])
    with pytest.raises(MissingExtraError, match=r'pip install "pulsebase\[apprise\]"') as caught:
        load_notifier_kind("slack")
    assert "slack://…" in str(caught.value)
    with pytest.raises(MissingExtraError) as caught:
        load_notifier_kind("canary71T1JJ3T3L2A1BRTD4JTIIIITTTs")
    assert "canary" not in str(caught.value)
