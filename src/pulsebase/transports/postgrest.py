"""The HTTPS transport: `POST /rpc/<function>` over httpx, to PostgREST or a Supabase project.

The connection pool and the TLS context belong to the transport; making them costs as much as many
requests. A legacy JWT key travels in `apikey` and `Authorization`, an `sb_…` key in `apikey` only.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx

from pulsebase import errors
from pulsebase.transports.request import JsonText, Request, decode_json

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from pulsebase.settings import Target

SUPABASE_PATH = "/rest/v1"
_PROBED_PATH = f"{SUPABASE_PATH}/rpc/pulsebase"  # a function that nobody has
_SUPABASE_HOSTS = (".supabase.co", ".supabase.in", ".supabase.red")
_USER_AGENT = "pulsebase"  # secret keys are refused to anything that looks like a browser
_SUCCESS, _REDIRECTION = 2, 3  # the first digit of a status
_JSON_HEADERS = {"Content-Type": "application/json"}


class PostgrestTransport:
    """Calls functions over HTTP with a pooled client."""

    retries = True

    def __init__(self, target: Target, client: httpx.Client | None = None) -> None:
        self._target = target
        self._owned = client is None
        self._client = client or httpx.Client(**_client_arguments(target))
        self._base = known_base(target.url)

    def send(self, request: Request) -> Any:
        """Call one function; PostgREST runs it in a transaction of its own."""
        url = f"{self._base or self.find_base()}/rpc/{request.function}"
        with translated(self._target):
            response = self._client.post(url, content=encode(request), headers=_JSON_HEADERS)
        return read(response)

    def get(self, path: str, parameters: Mapping[str, str]) -> Any:
        """Read rows of a table: `path` below the base, with PostgREST's query parameters."""
        with translated(self._target):
            url = f"{self._base or self.find_base()}/{path}"
            response = self._client.get(url, params=dict(parameters))
        return read(response)

    def serves(self, path: str) -> bool:
        """Whether the API knows a table, or a function that needs no arguments; calls nothing."""
        with translated(self._target):
            response = self._client.options(f"{self._base or self.find_base()}/{path}")
        return response.status_code != HTTPStatus.NOT_FOUND

    def find_base(self) -> str:
        """Ask once whether `/rest/v1` or the bare URL answers, and remember."""
        with translated(self._target):
            response = self._client.get(
                f"{self._target.url}{_PROBED_PATH}", timeout=self._target.connect_timeout_seconds
            )
        self._base = base_for(self._target.url, response)
        return self._base

    def close(self) -> None:
        """Close the client, unless it was handed over."""
        if self._owned:
            self._client.close()


class AsyncPostgrestTransport:
    """The same for asyncio."""

    retries = True

    def __init__(self, target: Target, client: httpx.AsyncClient | None = None) -> None:
        self._target = target
        self._owned = client is None
        self._client = client or httpx.AsyncClient(**_client_arguments(target))
        self._base = known_base(target.url)

    async def send(self, request: Request) -> Any:
        """Call one function; PostgREST runs it in a transaction of its own."""
        url = f"{self._base or await self.find_base()}/rpc/{request.function}"
        with translated(self._target):
            response = await self._client.post(url, content=encode(request), headers=_JSON_HEADERS)
        return read(response)

    async def find_base(self) -> str:
        """Ask once whether `/rest/v1` or the bare URL answers, and remember."""
        with translated(self._target):
            response = await self._client.get(
                f"{self._target.url}{_PROBED_PATH}", timeout=self._target.connect_timeout_seconds
            )
        self._base = base_for(self._target.url, response)
        return self._base

    async def close(self) -> None:
        """Close the client, unless it was handed over."""
        if self._owned:
            await self._client.aclose()


class Response(Protocol):
    """What we read of an HTTP answer; httpx's own and recorded ones both have it."""

    @property
    def status_code(self) -> int: ...  # noqa: D102 -- httpx's names
    @property
    def headers(self) -> Mapping[str, str]: ...  # noqa: D102 -- httpx's names
    @property
    def content(self) -> bytes: ...  # noqa: D102 -- httpx's names


def headers_for(key: str) -> dict[str, str]:
    """The headers that carry a key; an `sb_…` key is no JWT and must not be sent as a bearer."""
    headers = {"apikey": key, "User-Agent": _USER_AGENT}
    if not key.startswith("sb_"):
        headers["Authorization"] = f"Bearer {key}"
    return headers


def known_base(url: str) -> str:
    """The base of the API where the URL tells it, else nothing: then the server is asked."""
    parts = urlsplit(url)
    if parts.path.rstrip("/").endswith(SUPABASE_PATH):
        return url
    if (parts.hostname or "").endswith(_SUPABASE_HOSTS):
        return f"{url}{SUPABASE_PATH}"
    return ""


def base_for(url: str, response: Response) -> str:
    """The base, from what a call of an unknown function under `/rest/v1` was answered.

    A project says that it knows no such function (or refuses the key). A bare PostgREST says 404
    without a code, or since version 13 that the path is invalid.
    """
    if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise typed_error(response)
    code = _error_body(response).get("code")
    missing = response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)
    return url if missing and code in (None, "PGRST125") else f"{url}{SUPABASE_PATH}"


def encode(request: Request) -> bytes:
    """The JSON body; arguments that are JSON already go in as they are."""
    members = (f"{json.dumps(name)}:{_encoded(value)}" for name, value in request.given().items())
    return f"{{{','.join(members)}}}".encode()


def _encoded(value: str | int) -> str:
    return value if isinstance(value, JsonText) else json.dumps(value)


def read(response: Response) -> Any:
    """The JSON of a good answer; raises the typed error of any other."""
    if response.status_code == HTTPStatus.NO_CONTENT:
        return None
    if not HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
        raise typed_error(response)
    try:
        return decode_json(response.content)
    except (ValueError, RecursionError):
        message = f"the server answered {response.status_code} with {_described(response)}"
        status = response.status_code
        raise errors.MalformedResponseError(message, http_status=status) from None


def typed_error(response: Response) -> errors.DatabaseError:
    """The typed error for an answer: by its code, else by its message, else by its status."""
    body = _error_body(response)
    status = response.status_code
    if status // 100 == _REDIRECTION:
        msg = f"the server answered {status} and points to {_redirection(response)}"
        return errors.MalformedResponseError(msg, http_status=status)
    if not body:
        message = f"the server answered {status} with {_described(response)}"
    else:
        message = str(body.get("message") or body.get("msg") or body.get("error") or status)
    return errors.database_error(
        message,
        code=_text(body.get("code")),
        http_status=status,
        details=_text(body.get("details")),
        hint=_text(body.get("hint")),
        retry_after_seconds=_retry_after_seconds(response),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _error_body(response: Response) -> dict[str, Any]:
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _described(response: Response) -> str:
    if not response.content:
        return "an empty body"
    kind = response.headers.get("content-type", "no content type").partition(";")[0]
    return f"{len(response.content)} bytes of {kind}"


def _redirection(response: Response) -> str:
    parts = urlsplit(response.headers.get("location", ""))
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return place if parts.netloc else "another address"


def _retry_after_seconds(response: Response) -> float | None:
    value = response.headers.get("retry-after", "")
    try:
        if value.isascii() and value.isdigit():
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Raise httpx's errors as ours."""
    try:
        yield
    except httpx.ConnectTimeout:
        limit = target.connect_timeout_seconds
        msg = f"cannot reach {target.address}: no connection within {limit:g} s"
        raise errors.ConnectTimeoutError(msg) from None
    except httpx.ReadTimeout:
        msg = (
            f"{target.address} did not answer in time; whether the call was carried out is unknown"
        )
        raise errors.StatementTimeoutError(msg) from None
    except httpx.DecodingError:
        msg = f"the answer of {target.address} is not encoded as it says"
        raise errors.MalformedResponseError(msg) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
        msg = "the URL cannot be used; expected https://<ref>.supabase.co or a PostgREST server's"
        raise errors.ConfigurationError(msg) from None
    except httpx.LocalProtocolError:  # its words may quote the header that carries the key
        msg = "the request breaks the rules of HTTP; look for strange characters in the key"
        raise errors.ConfigurationError(msg) from None
    except httpx.RemoteProtocolError as error:
        msg = f"{target.address} broke off its answer: {error}"
        raise errors.UnavailableError(msg) from None
    except httpx.HTTPError as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        msg = f"cannot reach {target.address}: {reason}"
        raise errors.UnavailableError(msg) from None


def _client_arguments(target: Target) -> dict[str, Any]:
    timeout = httpx.Timeout(
        target.statement_timeout_seconds, connect=target.connect_timeout_seconds
    )
    return {
        "headers": headers_for(target.key or ""),
        "timeout": timeout,
        "verify": tls_context() if target.scheme == "https" else False,
        "limits": httpx.Limits(max_connections=20, max_keepalive_connections=10),
        "follow_redirects": False,
    }


@cache
def tls_context() -> ssl.SSLContext:
    """The process's TLS context; reading the CA bundle takes longer than several requests."""
    return httpx.create_ssl_context()
