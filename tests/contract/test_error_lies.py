"""What a broken server or gateway says over HTTP becomes a typed error, or is tried again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

import pulsebase
from pulsebase import HealthCheckModel, errors
from tests.contract.callers import AsyncCaller, Caller, Door, SyncCaller
from tests.contract.lying_postgrest import LyingPostgrest, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID = UUID("01890000-0000-7000-8000-000000000000")
ROW = json.dumps(
    {
        "id": str(ID),
        "service_name": "openai",
        "status": "healthy",
        "latency_ms": 5,
        "checked_at": "2026-11-23 20:33:22.148911+00",
        "probe_details": None,
        "created_at": "2026-11-23T20:33:22.148911+00:00",
        "a column of the future": {},
    }
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
GZIPPED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 12\r\n\r\n"


@pytest.fixture(params=[SyncCaller, AsyncCaller], ids=["sync", "async"])
def lie(request: pytest.FixtureRequest) -> Iterator[Callable[..., tuple[LyingPostgrest, Caller]]]:
    """A function that starts a server with the given answers, and opens a caller of it."""
    opened: list[Any] = []

    def start(*answers: bytes | None, **options: Any) -> tuple[LyingPostgrest, Caller]:
        server = LyingPostgrest(answers).__enter__()  # closed below, after its callers
        caller: Caller = request.param(Door(server.url, "", "sb_secret_lie"), **options)
        opened.append((caller, server))
        return server, caller

    yield start
    for caller, server in opened:
        caller.close()
        server.__exit__()


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (answer(200), errors.MalformedResponseError, "empty body"),
        (
            answer(200, "<html>", Content_Type="text/html"),
            errors.MalformedResponseError,
            "text/html",
        ),
        (answer(200, '{"id": "0'), errors.MalformedResponseError, "bytes of"),
        (answer(200, "[" * 100_000), errors.MalformedResponseError, "bytes of"),
        (answer(200, "[]"), errors.MalformedResponseError, "not a row"),
        (answer(200, '"text"'), errors.MalformedResponseError, "not a row"),
        (answer(200, '{"id": "x"}'), errors.MalformedResponseError, "not a row"),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"\xff"',
            errors.MalformedResponseError,
            "bytes of",
        ),
        (GZIPPED + b"no gzip here", errors.MalformedResponseError, "not encoded as it says"),
        (
            answer(301, Location="https://x.example/a"),
            errors.MalformedResponseError,
            "https://x.example/a",
        ),
        (answer(302), errors.MalformedResponseError, "another address"),
        (answer(540), errors.ProjectPausedError, "restore the project"),
        (
            answer(401, '{"message": "Invalid API key"}'),
            errors.AuthenticationError,
            "check the key",
        ),
        (
            answer(404, '{"code": "PGRST202", "message": "m"}'),
            errors.StaleSchemaCacheError,
            "migrate",
        ),
        (answer(429, Retry_After="3600"), errors.RateLimitedError, "429"),
        (answer(429, Retry_After="Fri, 31 Dec 2999 23:59:59 GMT"), errors.RateLimitedError, "429"),
        (answer(499), errors.DatabaseError, "499"),
    ],
    ids=lambda value: "" if isinstance(value, bytes | type) else value,
)
def test_a_lie_is_a_typed_error_at_once(
    lie: Any, said: bytes, kind: type[errors.DatabaseError], words: str
) -> None:
    server, call = lie(said)
    with pytest.raises(kind, match=words):
        call(HealthCheckModel.find_by_id, ID)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        answer(502, "<html><body>Bad Gateway</body></html>", Content_Type="text/html"),
        answer(503, '{"code": "PGRST002", "message": "cache"}', Retry_After="1"),
        answer(504),
        answer(522, "error code: 522"),
        answer(500, '{"code": "40001", "message": "could not serialize access"}'),
        answer(429, Retry_After="1"),
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        CHUNKED + b"ff\r\n{",
        b"nonsense\r\n\r\n",
    ],
    ids=[
        *("502 with HTML", "503", "504", "522", "serialization", "429 in seconds", "hangs up"),
        *("half written", "half chunked", "no HTTP"),
    ],
)
def test_what_may_pass_is_tried_again(lie: Any, said: bytes) -> None:
    server, call = lie(said, answer(200, ROW))
    check = call(HealthCheckModel.create, service_name="openai", status="healthy", id=ID)
    assert (check.id, check.latency_ms) == (ID, 5)
    first, second = server.requests
    assert first == second


def test_a_retry_after_is_waited_for(lie: Any) -> None:
    _, call = lie(answer(429, Retry_After="1"), answer(200, "null"))
    started = time.monotonic()
    assert call(HealthCheckModel.find_by_id, ID) is None
    assert 1 <= time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(502, "<html>"), errors.GatewayError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", errors.UnavailableError),
    ],
    ids=["502", "half written"],
)
def test_what_does_not_pass_is_raised_in_the_end(
    lie: Any, said: bytes, kind: type[errors.DatabaseError]
) -> None:
    server, call = lie(said)
    with pytest.raises(kind) as caught:
        call(HealthCheckModel.find_by_id, ID)
    assert len(server.requests) == 4
    assert "<html>" not in str(caught.value)


def test_silence_ends_with_the_statement_timeout_and_is_not_repeated(lie: Any) -> None:
    server, call = lie(None, statement_timeout_seconds=0.5)
    started = time.monotonic()
    with pytest.raises(errors.StatementTimeoutError, match="unknown"):
        call(HealthCheckModel.create, service_name="openai", status="healthy")
    assert time.monotonic() - started < 3
    assert len(server.requests) == 1


def test_silence_at_the_first_question_ends_with_the_connect_timeout(lie: Any) -> None:
    """Where the URL does not tell the API's base, asking for it is part of connecting."""
    server, call = lie(None)
    started = time.monotonic()
    bare = server.url.removesuffix("/rest/v1")
    with (
        pulsebase.connect(bare, key="sb_secret_lie", connect_timeout_seconds=0.5) as connection,
        pytest.raises(errors.DatabaseError),
    ):
        HealthCheckModel.find_by_id(connection, ID)
    assert time.monotonic() - started < 3
    assert call.door.url == server.url


@pytest.mark.parametrize(
    ("key", "bearer"), [("sb_secret_0123456789", False), ("a.legacy.jwt", True)]
)
def test_a_key_travels_as_its_kind_must(key: str, bearer: bool) -> None:
    with LyingPostgrest([answer(200, "null")]) as server:
        with pulsebase.connect(server.url, key=key) as connection:
            HealthCheckModel.find_by_id(connection, ID)
        (request,) = server.requests
    head = request.decode().lower()
    assert f"apikey: {key}" in head
    assert ("authorization: bearer" in head) is bearer
    assert "mozilla" not in head
    assert "prefer: return" not in head
