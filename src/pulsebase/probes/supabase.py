"""The kind `supabase`: ask the parts of a project, and look for a row that must be there."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, assert_never
from urllib.parse import quote, urlsplit

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.curl.driver import CurlDriver
from pulsebase.probes.support.curl.request import Request, shape_of, tls_options
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.fields import port_problem, text_problem
from pulsebase.probes.support.latency import LatencyLimits
from pulsebase.probes.support.network.connecting import travel
from pulsebase.probes.support.network.tls_contexts import TlsContexts, TlsFiles
from pulsebase.probes.support.network.wire import ServiceError
from pulsebase.probes.support.outcome import Outcome
from pulsebase.probes.support.redaction import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pulsebase.probes.support.curl.driver import Response
    from pulsebase.probes.support.network.connecting import Journey, Verdict
    from pulsebase.probes.support.outcome import Look, Status

__all__ = ["Part", "SupabaseProbe"]

Part = Literal["rest", "auth", "storage", "realtime"]

_URL_RULE: Final = "the http:// or https:// URL of a project, such as https://ref.supabase.co"
_KEY_RULE: Final = "a key such as sb_secret_… or sb_publishable_…, or a JWT"
_PATH: Final = re.compile(r"(/[\w.~-]+)*/?", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}", re.ASCII)
_NEW_KEY: Final = re.compile(r"sb_[a-z]+_[\x21-\x7e]+")
_JWT: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HEARTBEAT: Final = {"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "1"}
_NO_ROW: Final = "no row; it is gone, or row level security hides it from this key"
_PAUSED: Final = 540
_REFUSED: Final = frozenset({401, 403})
# What PostgREST answers where the key is good and a GRANT is missing.
_PERMISSION_DENIED: Final = "42501"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What one part of a project answered."""

    part: Part
    latency_ms: int | None
    http_status: int | None
    details: dict[str, Any]

    @property
    def shown(self) -> dict[str, Any]:
        """The entry of this part in the details."""
        seen = {"http_status": self.http_status, "latency_ms": self.latency_ms}
        status: Status = "down" if self.details else "healthy"
        return {
            "status": status,
            **{name: value for name, value in seen.items() if value is not None},
            **self.details,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SupabaseProbe(LatencyLimits):
    """Ask the parts of a project at the same time; one that is down makes the project down.

    `degraded_above` and `down_above` are compared with the time until all have answered.
    """

    __pydantic_config__: ClassVar[Any] = CLOSED

    url: str
    key: str
    checks: tuple[Part, ...] = ("rest", "auth")
    rest_path: str = "/rest/v1"
    table: str | None = None
    column: str | None = None
    value: str | None = None
    ca_file: str | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    def __repr__(self) -> str:
        """Name the project, and nothing of its key."""
        return f"SupabaseProbe({redact_url(self.url)})"

    @property
    def host(self) -> str | None:
        """The host of the URL."""
        return urlsplit(self.url).hostname

    async def probe(self, look: Look) -> Outcome:
        """Ask every part once; the timeout is the same for all."""
        checked_at = datetime.now(UTC)
        loop = asyncio.get_running_loop()
        started = loop.time()
        seen = await self._ask_all(look)
        elapsed_seconds = loop.time() - started
        wrong = next((one for one in seen if one.details), None)
        if wrong is None:
            status, details = self.judge_latency(elapsed_seconds)
        else:
            status, details = "down", wrong.details
        return Outcome(
            status=status,
            latency_ms=None if "error" in details else round(elapsed_seconds * 1000),
            checked_at=checked_at,
            details={**details, "parts": {one.part: one.shown for one in seen}},
        )

    async def _ask_all(self, look: Look) -> list[_Seen]:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(part, look)) for part in self.checks]
        except BaseExceptionGroup as several:
            # Such as our own trouble, which is to be known by its class.
            raise several.exceptions[0] from several
        return [task.result() for task in tasks]

    async def _ask(self, part: Part, look: Look) -> _Seen:
        match part:
            case "rest":
                return await self._fetch(part, self._rest_target, look)
            case "auth":
                return await self._fetch(part, "/auth/v1/health", look)
            case "storage":
                return await self._fetch(part, "/storage/v1/status", look)
            case "realtime":
                return await self._listen(look)
            case _:
                assert_never(part)

    @property
    def _rest_target(self) -> str:
        path = self.rest_path.rstrip("/")
        if self.table is None:
            return f"{path}/"
        row = f"{self.column}=eq.{quote(self.value or '', safe='')}&" if self.column else ""
        return f"{path}/{self.table}?select={self.column or '*'}&{row}limit=1"

    async def _fetch(self, part: Part, target: str, look: Look) -> _Seen:
        shape = shape_of(
            headers=tuple(self._headers().items()),
            follow_redirects=False,
            tls=tls_options(ca_file=self.ca_file),
            keep_body=True,
        )
        request = Request(self.url.rstrip("/") + target, shape)
        driver = look.tools.use(CurlDriver)
        response = await driver.fetch(request, timeout_seconds=look.timeout_seconds)
        details = self._judge(part, response)
        return _Seen(
            part=part,
            latency_ms=None if "error" in details else round(response.total_seconds * 1000),
            http_status=response.status or None,
            details=details,
        )

    def _judge(self, part: Part, response: Response) -> dict[str, Any]:
        """What is wrong with an answer; nothing where nothing is."""
        if (failure := response.failure) is not None:
            # The description of a large schema; that it begins is answer enough.
            if failure.kind == "body_too_large" and self._is_description(part, response):
                return {}
            return self._error(part, failure.kind, failure.message)
        if not _is_good(response.status):
            return self._refusal(part, response.status, _json_of(response.body))
        return self._judge_body(part, response)

    def _judge_body(self, part: Part, response: Response) -> dict[str, Any]:
        match part:
            case "rest" if self.table is not None:
                return self._judge_rows(_json_of(response.body))
            case "rest" | "auth" if not isinstance(_json_of(response.body), dict):
                got = excerpt(response.body.decode("utf-8", "replace"), [self.key])
                return failed(f"{part}.answer", "a JSON object", got)
            case "storage" if b"html" in response.content_type:
                return failed("storage.answer", "the status of the storage", "a web page")
            case _:
                return {}

    def _is_description(self, part: Part, response: Response) -> bool:
        return part == "rest" and self.table is None and _is_good(response.status)

    def _judge_rows(self, answer: Any) -> dict[str, Any]:
        if isinstance(answer, list) and answer and isinstance(answer[0], dict):
            return {}
        row = f" with {self.column} = {self.value}" if self.column else ""
        got = _NO_ROW if answer == [] else excerpt(json.dumps(answer), [self.key])
        return failed("known_row", f"a row of {self.table}{row}", got)

    def _refusal(self, part: Part, status: int, answer: Any) -> dict[str, Any]:
        said = answer if isinstance(answer, dict) else {}
        code, message = said.get("code"), said.get("message") or said.get("msg") or ""
        told = f"{status} {message}".strip() + (f" ({code})" if code else "")
        if status == _PAUSED:
            return self._error(part, "other", "540: the project is paused; restore it")
        if code == _PERMISSION_DENIED:
            return self._error(part, "query", told)
        if status in _REFUSED:
            return self._error(part, "authentication", told)
        return failed(f"{part}.status", "200", excerpt(told, [self.key]))

    def _error(self, part: Part, kind: str, message: str) -> dict[str, Any]:
        return {"error": {"kind": kind, "message": excerpt(f"{part}: {message}", [self.key])}}

    async def _listen(self, look: Look) -> _Seen:
        outcome = await travel(look, self._beat, secrets=[self.key])
        details: dict[str, Any] = {
            name: outcome.details[name] for name in ("error", "failed") if name in outcome.details
        }
        if "error" in details:
            kind, message = details["error"]["kind"], details["error"]["message"]
            details = self._error("realtime", kind, message)
        return _Seen(
            part="realtime",
            latency_ms=outcome.latency_ms,
            http_status=outcome.details.get("http_status"),
            details=details,
        )

    async def _beat(self, journey: Journey) -> Verdict:
        """Open Realtime's WebSocket and wait for the answer to a heartbeat, as its clients do."""
        # Imported here: only this part needs the extra `websocket`.
        from pulsebase.probes.support.websocket_session import RefusedUpgradeError, open_websocket

        context = None
        if self.url.startswith("https:"):
            context = journey.look.tools.use(TlsContexts).use(TlsFiles(ca_file=self.ca_file))
        base = "ws" + self.url.rstrip("/").removeprefix("http")
        url = f"{base}/realtime/v1/websocket?apikey={quote(self.key)}&vsn=1.0.0"
        try:
            session = await open_websocket(journey, url, headers={}, context=context)
        except RefusedUpgradeError as error:
            journey.details["http_status"] = error.status
            journey.answered()
            if error.status in _REFUSED:
                raise ServiceError(str(error), kind="authentication") from error
            return "down", failed("realtime.status", "101", str(error.status))
        async with session:
            await session.send(json.dumps(_HEARTBEAT))
            while not _is_reply(answer := _json_of(await session.receive())):
                continue
            journey.answered()
            await session.say_goodbye()
        status = answer["payload"].get("status") if isinstance(answer["payload"], dict) else None
        if status != "ok":
            return "down", failed("realtime.heartbeat", "ok", excerpt(str(status), [self.key]))
        return "healthy", {}

    def _headers(self) -> dict[str, str]:
        """A JWT goes into both; a new key into `apikey` alone, since it is no JWT."""
        if self.key.startswith("sb_"):
            return {"apikey": self.key, "Accept": "application/json"}
        bearer = f"Bearer {self.key}"
        return {"apikey": self.key, "Authorization": bearer, "Accept": "application/json"}

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from _url_problems(self.url)
        if not (_NEW_KEY.fullmatch(self.key) or _JWT.fullmatch(self.key)):
            yield InvalidValueError("key", "***", _KEY_RULE)
        if not self.checks or len(set(self.checks)) != len(self.checks):
            yield InvalidValueError("checks", self.checks, "some of the parts, each once")
        if not _PATH.fullmatch(self.rest_path):
            yield InvalidValueError("rest_path", self.rest_path, "a path such as /rest/v1, or /")
        if "realtime" in self.checks and find_spec("websockets") is None:
            bound = 'without "realtime" until you run: pip install "pulsebase[websocket]"'
            yield InvalidValueError("checks", "realtime", bound)
        yield from self._row_problems()
        yield from TlsFiles(ca_file=self.ca_file).problems()
        yield from self.latency_problems()

    def _row_problems(self) -> Iterator[InvalidValueError]:
        for name in ("table", "column"):
            given = getattr(self, name)
            if given is not None and not _NAME.fullmatch(given):
                yield InvalidValueError(name, given, "a name of letters, digits and _")
        yield from text_problem(self.value, "value")
        if self.column is not None and self.table is None:
            yield InvalidValueError("table", None, "given, since a column is")
        if (self.column is None) != (self.value is None):
            yield InvalidValueError("column", self.column, "given together with value")
        if self.table is not None and "rest" not in self.checks:
            yield InvalidValueError("checks", self.checks, 'with "rest", since a table is given')


def _url_problems(url: str) -> Iterator[InvalidValueError]:
    shown = redact_url(url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    plain = url.isascii() and url.isprintable() and " " not in url and "@" not in parts.netloc
    is_web = url.startswith(("http://", "https://")) and bool(parts.hostname)
    if not (plain and is_web) or parts.query or parts.fragment or not _PATH.fullmatch(parts.path):
        yield InvalidValueError("url", shown, _URL_RULE)
        return
    yield from port_problem(_DEFAULT_PORTS[parts.scheme] if port is None else port, "url")


def _is_good(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 -- as in RFC 9110


def _json_of(body: bytes) -> Any:
    """The value that a body holds; None for what is no JSON, however deep it is nested."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_reply(answer: Any) -> bool:
    return (
        isinstance(answer, dict)
        and answer.get("event") == "phx_reply"
        and answer.get("ref") == _HEARTBEAT["ref"]
        and "payload" in answer
    )
