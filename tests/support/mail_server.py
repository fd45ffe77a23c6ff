"""A real SMTP server (aiosmtpd) on a free local port, on the test's own event loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    import ssl

__all__ = ["MailServer"]


class MailServer:
    """Serves a handler of aiosmtpd; `implicit_tls` is for TLS from the first byte."""

    def __init__(
        self, handler: Any, *, implicit_tls: ssl.SSLContext | None = None, **options: Any
    ) -> None:
        self._handler = handler
        self._implicit_tls = implicit_tls
        self._options = options
        self._server: asyncio.Server | None = None
        self._conversations: list[SMTP] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._conversation, "127.0.0.1", 0, ssl=self._implicit_tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for conversation in self._conversations:
            if isinstance(transport := conversation.transport, asyncio.WriteTransport):
                transport.abort()

    def _conversation(self) -> SMTP:
        conversation = SMTP(
            self._handler, enable_SMTPUTF8=True, hostname="mail.example", **self._options
        )
        self._conversations.append(conversation)
        return conversation
