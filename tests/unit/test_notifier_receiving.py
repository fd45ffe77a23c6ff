"""The receiver that the page shows: it takes what is ours, acts on it once, and nothing else."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pulsebase.notifiers import DeliveryRefusedError
from pulsebase.notifiers.support.signature import signature_headers
from pulsebase.notifiers.webhook import WebhookNotifier
from tests.support.notices import a_message, a_notice
from tests.support.server_process import free_port
from tests.support.waiting import wait_until, wait_until_async

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "receive-webhooks.md"


def block(pattern: str) -> str:
    """The one block of the page that begins like this."""
    text = PAGE.read_text("utf-8")
    [found] = re.findall(rf"^```{pattern}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def secret() -> str:
    """A secret made as the page says."""
    [command] = re.findall(r"^python -c \"(.*)\"$", PAGE.read_text("utf-8"), re.MULTILINE)
    made = subprocess.run(
        [sys.executable, "-c", command], check=True, capture_output=True, text=True
    )
    return made.stdout.strip()


@pytest.fixture
def receiver(secret: str, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The program of the page while it runs: its URL, and the file with what it printed."""
    port, printed = free_port(), tmp_path / "printed"
    environment = {"WEBHOOK_SECRET": secret, "PORT": str(port), "RECEIVED": str(tmp_path / "db")}
    with printed.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", block("python")],
            env=os.environ | environment,
            stdout=output,
            stderr=output,
        )
    try:
        yield f"http://127.0.0.1:{port}/pulsebase", printed
    finally:
        process.terminate()
        process.wait()


def hook_of(url: str, secret: str | None) -> WebhookNotifier:
    return WebhookNotifier(url=url, secret=secret, allow_private_addresses=True)


async def until_it_listens(url: str) -> None:
    port = int(url.rpartition(":")[2].partition("/")[0])

    async def listens() -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

    await wait_until_async(listens, "the receiver listens", timeout_seconds=30)


async def test_it_acts_once_on_what_is_ours(receiver: tuple[str, Path], secret: str) -> None:
    url, printed = receiver
    await until_it_listens(url)
    notice = a_notice()
    message = a_message(notice, a_notice("db", "resolved"))
    hook = hook_of(url, secret)
    for attempt in (1, 2, 3):
        await hook.send(dataclasses.replace(message, attempt=attempt))
    await hook.send(a_message(a_notice("web")))
    wait_until(lambda: "web" in printed.read_text(), "the last message is told")
    lines = [line.split() for line in printed.read_text().splitlines() if "HTTP" not in line]
    assert [line[:2] for line in lines] == [
        ["opened", "checkout"],
        ["resolved", "db"],
        ["opened", "web"],
    ]
    assert lines[0][2] == str(notice.incident_id)


@pytest.mark.parametrize("other", [None, "whsec_" + "A" * 32, "another secret of ours"])
async def test_it_refuses_what_is_not(receiver: tuple[str, Path], other: str | None) -> None:
    url, _ = receiver
    await until_it_listens(url)
    with pytest.raises(DeliveryRefusedError, match="401"):
        await hook_of(url, other).send(a_message())


async def test_it_refuses_what_is_old(
    receiver: tuple[str, Path], secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def signed_long_ago(message_id: str, _: int, body: bytes, key: str) -> dict[str, str]:
        return signature_headers(message_id, int(time.time()) - 3_600, body, key)

    monkeypatch.setattr("pulsebase.notifiers.webhook.signature_headers", signed_long_ago)
    url, _ = receiver
    await until_it_listens(url)
    with pytest.raises(DeliveryRefusedError, match="401"):
        await hook_of(url, secret).send(a_message())
