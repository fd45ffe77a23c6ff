"""The kind `smtp`: greet a mail server, turn to TLS, log in if wanted, and leave."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from aiosmtplib import SMTP
from aiosmtplib.errors import (
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
)

from pulsebase.errors import InvalidValueError
from pulsebase.kinds import CLOSED, refuse
from pulsebase.probes.support.faults import excerpt, failed
from pulsebase.probes.support.network.connecting import (
    Journey,
    NetworkTarget,
    Verdict,
    server_name_problem,
    travel,
)
from pulsebase.probes.support.network.start_tls import explain_refusal, note_tls
from pulsebase.probes.support.network.tls_contexts import TlsContexts, TlsFiles, Verification
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Iterator

    from pulsebase.probes.support.faults import ErrorKind
    from pulsebase.probes.support.outcome import Look, Outcome

__all__ = ["SmtpProbe", "StarttlsUse"]

StarttlsUse: TypeAlias = Literal["required", "optional", "none"]

_QUIT_SECONDS: Final = 1
_SHARE_FOR_QUIT: Final = 0.95
_CLEAR_RULE: Final = '"required" where a password is sent, or "none" to send it in the clear'


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpProbe(NetworkTarget):
    """Talk to a mail server until a message could be sent, and judge the time that took."""

    __pydantic_config__: ClassVar[Any] = CLOSED

    port: int = 25
    tls: bool = False
    starttls: StarttlsUse | None = None
    verify: Verification = "full"
    ca_file: str | None = None
    server_name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Refuse what could only fail at probe time."""
        refuse(self._problems())

    async def probe(self, look: Look) -> Outcome:
        """Talk once; the timeout covers all of it."""
        context = look.tools.use(TlsContexts).use(self._files(), self.verify)
        return await travel(
            look, lambda journey: self._way(journey, context), secrets=self._secrets()
        )

    async def _way(self, journey: Journey, context: ssl.SSLContext) -> Verdict:
        endpoint = await journey.connect_socket(self)
        client = self._client(endpoint, context)
        try:
            async with _leaving(client, endpoint, journey):
                await self._talk(client, journey)
                elapsed_seconds = journey.answered()
        except ssl.SSLCertVerificationError as error:
            raise await explain_refusal(
                journey,
                error,
                self,
                self._files(),
                server_name=self._name,
                starttls=None if self.tls else "smtp",
            ) from error
        except _Refused as refused:
            journey.answered()
            journey.details["smtp_code"] = refused.code
            said = excerpt(refused.said, self._secrets())
            return "down", failed(refused.step, refused.expected, said)
        return self.judge_latency(elapsed_seconds)

    async def _talk(self, client: SMTP, journey: Journey) -> None:
        """Everything that comes before a message, in its order."""
        with journey.phase("tls" if self.tls else "first_byte"), _understood("banner", "220"):
            banner = await client.connect()
        journey.details["banner"] = excerpt(f"{banner.code} {banner.message}")
        await _greet(client, journey)
        if self._turns_to_tls(client):
            with journey.phase("tls"), _understood("starttls", "220"):
                await client.starttls(server_hostname=self._name)
            await _greet(client, journey)
        if (tls := client.get_transport_info("ssl_object")) is not None:
            note_tls(journey, tls)
        if self.username is not None and self.password is not None:
            with _understood("login", "235"):
                answer = await client.login(self.username, self.password)
                journey.details["smtp_code"] = answer.code

    def _turns_to_tls(self, client: SMTP) -> bool:
        if self.tls or self.starttls == "none":
            return False
        offered = client.supports_extension("starttls")
        if not offered and self._starttls == "required":
            message = "the server does not offer STARTTLS"
            raise ServiceError(message, kind="tls")
        return offered

    @property
    def _starttls(self) -> StarttlsUse:
        # Where a password is to be sent, whoever hides the offer shall not get it.
        return self.starttls or ("optional" if self.password is None else "required")

    def _client(self, endpoint: socket.socket, context: ssl.SSLContext) -> SMTP:
        return SMTP(
            hostname=self._name,
            sock=endpoint,
            use_tls=self.tls,
            start_tls=False,
            tls_context=context,
            timeout=None,
            # An address in brackets stands for a name, and asks no name server for ours.
            local_hostname=_own_address(endpoint),
        )

    @property
    def _name(self) -> str:
        return self.server_name or self.tls_name

    def _files(self) -> TlsFiles:
        return TlsFiles(ca_file=self.ca_file)

    def _secrets(self) -> tuple[str, ...]:
        user, password = self.username or "", self.password or ""
        told = (user, password, f"\0{user}\0{password}")
        return (*told, *(base64.b64encode(one.encode()).decode() for one in told))

    def _problems(self) -> Iterator[InvalidValueError]:
        yield from self.target_problems()
        yield from server_name_problem(self.server_name)
        yield from self._files().problems()
        if self.verify == "none" and self.ca_file is not None:
            yield InvalidValueError("ca_file", self.ca_file, 'left out where verify is "none"')
        if self.tls and self.starttls is not None:
            yield InvalidValueError("starttls", self.starttls, "left out where tls is true")
        for name, other in (("username", "password"), ("password", "username")):
            if getattr(self, name) is None and getattr(self, other) is not None:
                yield InvalidValueError(name, None, f"given together with {other}")
            elif getattr(self, name) == "":
                yield InvalidValueError(name, "", "at least one character")
        if self.starttls == "optional" and self.password is not None:
            yield InvalidValueError("starttls", self.starttls, _CLEAR_RULE)


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    """The server answered a step with another code than it takes to go on."""

    def __init__(self, step: str, expected: str, response: SMTPResponseException) -> None:
        self.step = step
        self.expected = expected
        self.code = response.code
        self.said = f"{response.code} {response.message}"
        super().__init__(self.said)


async def _greet(client: SMTP, journey: Journey) -> None:
    with _understood("ehlo", "250"):
        answer = await client.ehlo()
    journey.details["smtp_code"] = answer.code


@contextmanager
def _understood(step: str, expected: str) -> Iterator[None]:
    """Turn aiosmtplib's errors into what they mean."""
    try:
        yield
    except SMTPAuthenticationError as error:
        said = f"{error.code} {error.message}"
        raise ServiceError(said, kind="authentication") from error
    except SMTPResponseException as error:
        if error.code < 0:  # aiosmtplib's own code for what is no answer
            raise ServiceError(str(error.message)) from error
        raise _Refused(step, expected, error) from error
    except (TimeoutError, ssl.SSLError):
        raise
    except ConnectionError as error:
        raise _cause(error) from error
    except (SMTPException, ValueError) as error:
        kind: ErrorKind = "authentication" if step == "login" else "protocol"
        raise ServiceError(str(error), kind=kind) from error


def _cause(error: BaseException) -> BaseException:
    """The operating system's error, or TLS's, behind aiosmtplib's."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and not isinstance(behind, SMTPException):
            return behind
        behind = behind.__cause__
    return ConnectionResetError("the connection was closed without a whole answer")


@asynccontextmanager
async def _leaving(client: SMTP, endpoint: socket.socket, journey: Journey) -> AsyncIterator[None]:
    """Say goodbye after a talk that went well, and close in any case, at once."""
    transport: asyncio.BaseTransport | None = None
    try:
        yield
        transport = client.transport  # aiosmtplib forgets it when it says goodbye
        patience_seconds = min(_QUIT_SECONDS, journey.seconds_left * _SHARE_FOR_QUIT)
        with suppress(SMTPException, OSError):
            async with asyncio.timeout(patience_seconds):
                await client.quit()
    finally:
        transport = transport or client.transport
        # Not only client.close(): TLS would wait for the server's goodbye for half a minute.
        if isinstance(transport, asyncio.WriteTransport):
            transport.abort()
        client.close()
        endpoint.close()


def _own_address(endpoint: socket.socket) -> str:
    address = endpoint.getsockname()[0].partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
