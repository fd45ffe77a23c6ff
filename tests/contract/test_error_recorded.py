"""What servers of several kinds and versions really answer becomes the right typed error.

`recorded/` holds answers: those of PostgREST 12 and `@supabase/lite` taken from the real servers,
those of newer versions from their documentation, those of gateways by their status alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pulsebase import errors
from pulsebase.transports.postgrest import base_for, read

RECORDED = Path(__file__).parent / "recorded"


def _examples() -> list[Any]:
    return [
        pytest.param(example, id=f"{path.stem}: {example['name']}")
        for path in sorted(RECORDED.glob("*.json"))
        for example in json.loads(path.read_text())
    ]


def _response(example: dict[str, Any]) -> httpx.Response:
    content = example["text"] if "text" in example else json.dumps(example["body"])
    headers = example.get("headers", {"content-type": "application/json; charset=utf-8"})
    return httpx.Response(example["status"], headers=headers, content=content.encode())


@pytest.mark.parametrize("example", _examples())
def test_an_answer_becomes_its_typed_error(example: dict[str, Any]) -> None:
    with pytest.raises(errors.DatabaseError) as caught:
        read(_response(example))
    error = caught.value
    assert type(error).__name__ == example["error"]
    assert error.http_status == example["status"]
    asked = 0 if "retry-after" in example.get("headers", {}) and "body" in example else None
    assert error.retry_after_seconds == example.get("retry_after_seconds", asked)
    text = str(error)
    assert "\n" not in text
    assert "c4n4ry" not in text
    assert "<" not in text
    if message := example.get("body", {}).get("message"):
        assert message in text
    else:
        assert str(example["status"]) in text


def test_a_retry_after_date_is_turned_into_seconds() -> None:
    from datetime import UTC, datetime, timedelta
    from email.utils import format_datetime

    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    with pytest.raises(errors.RateLimitedError) as caught:
        read(httpx.Response(429, headers={"retry-after": date}))
    assert caught.value.retry_after_seconds == pytest.approx(90, abs=5)


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (404, '{"code": "PGRST202", "message": "no such function"}', "https://h/rest/v1"),
        (401, '{"message": "Invalid API key"}', "https://h/rest/v1"),
        (404, "{}", "https://h"),
        (404, '{"code": "PGRST125", "message": "Invalid path"}', "https://h"),
        (404, "404 Not Found", "https://h"),
        (405, "", "https://h"),
    ],
)
def test_the_base_of_the_api_is_found(status: int, body: str, found: str) -> None:
    assert base_for("https://h", httpx.Response(status, content=body.encode())) == found


def test_the_base_is_not_guessed_while_the_server_is_ill() -> None:
    with pytest.raises(errors.GatewayError):
        base_for("https://h", httpx.Response(502))
    with pytest.raises(errors.ProjectPausedError):
        base_for("https://h", httpx.Response(540))
