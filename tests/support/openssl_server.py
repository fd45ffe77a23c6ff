"""The `openssl` program as a TLS server that insists on a client's certificate."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from shutil import which
from typing import TYPE_CHECKING, Self

from tests.support.requirement import require
from tests.support.server_process import ServerProcess, free_port, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Identity

__all__ = ["OpensslServer"]


class OpensslServer:
    """Serves one identity to whoever shows a certificate of the authority.

    asyncio's own servers close without saying why they refuse a client.
    """

    def __init__(self, identity: Identity, *, ca_file: Path, version: str) -> None:
        require("the program `openssl` is not installed", which("openssl"))
        self._options: tuple[str | Path, ...] = (
            *("-cert", identity.certificate, "-cert_chain", identity.certificate),
            *("-key", identity.key, "-CAfile", ca_file, f"-{version}"),
            *("-Verify", "1", "-verify_return_error", "-quiet"),
        )
        self._resources = ExitStack()
        self.port = free_port()

    def __enter__(self) -> Self:
        folder = self._resources.enter_context(scratch_folder("openssl"))
        command = ["openssl", "s_server", "-accept", f"127.0.0.1:{self.port}", *self._options]
        process = ServerProcess(command, folder=folder)
        self._resources.callback(process.stop)
        process.start(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0
