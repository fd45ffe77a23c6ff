"""Debian's Redis as a child process: in the clear, in TLS, or in the file system."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from redis import Redis
from redis.exceptions import AuthenticationError, RedisError

from tests.support.requirement import require
from tests.support.server_process import ServerProcess, Unprivileged, free_port, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import trustme

__all__ = ["RedisServer"]


class RedisServer:
    """An empty Redis on free loopback ports and on a socket; nothing of it reaches a disk.

    With an authority it also speaks TLS, with a certificate of that authority for 127.0.0.1.
    """

    def __init__(self, *options: str, authority: trustme.CA | None = None) -> None:
        self._options: Sequence[str] = options
        self._authority = authority
        self._resources = ExitStack()
        self.port, self.tls_port = free_port(), free_port()
        self.socket_path: Path
        self.process: ServerProcess

    def __enter__(self) -> Self:
        program = shutil.which("redis-server")
        require("Redis is not installed: apt-get install redis-server", program)
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("redis"))
            self.socket_path = folder / "redis.sock"
            options = ["--port", str(self.port), "--save", "", "--dir", str(folder)]
            options += ["--bind", "127.0.0.1", "-::1", "--unixsocket", str(self.socket_path)]
            options += self._tls_options(folder)
            self.process = ServerProcess(
                [program or "redis-server", *options, *self._options],
                folder=folder,
                unprivileged=True,
            )
            resources.callback(self.process.stop)
            self.process.start(self._answers)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    @property
    def url(self) -> str:
        """Its address in the clear."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """Its address in TLS."""
        return f"rediss://127.0.0.1:{self.tls_port}"

    def client(self) -> Redis:
        """Redis's own client, to prepare what a test looks at; close it."""
        return Redis(host="127.0.0.1", port=self.port)

    def _tls_options(self, folder: Path) -> list[str]:
        if self._authority is None:
            return []
        issued = self._authority.issue_cert("127.0.0.1")
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        (folder / "certificate.pem").write_bytes(chain)
        issued.private_key_pem.write_to_path(folder / "key.pem")
        self._authority.cert_pem.write_to_path(folder / "authority.pem")
        for name in ("certificate.pem", "key.pem", "authority.pem"):
            Unprivileged.give(folder / name)
        files = {"cert": "certificate", "key": "key", "ca-cert": "authority"}
        options = ["--tls-port", str(self.tls_port), "--tls-auth-clients", "optional"]
        for option, name in files.items():
            options += [f"--tls-{option}-file", str(folder / f"{name}.pem")]
        return options

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                client.ping()
        except AuthenticationError:  # it asks for a password, so it is there
            return True
        except RedisError:
            return False
        return True
