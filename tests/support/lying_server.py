"""A small HTTP(S) server on a free local port that answers with whatever bytes it is told to.

It knows no HTTP beyond the end of a request's head, so that it can break every rule of it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
from shutil import which
from typing import TYPE_CHECKING

from tests.support.raw_server import RawServer
from tests.support.requirement import require

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


class LyingServer(RawServer):
    """Serves one behaviour and remembers what it was asked, one entry for each connection."""

    def __init__(
        self, behaviour: Behaviour, *, tls: ssl.SSLContext | None = None, patient: bool = True
    ) -> None:
        super().__init__(self._answer, tls=tls)
        self._scheme = "https" if tls else "http"
        self._lie = behaviour
        # One who is not answers to the first byte of a TLS handshake.
        self._patient = patient
        self.requests: list[bytes] = []
        self.asked = asyncio.Event()

    @property
    def url(self) -> str:
        """The address of its root."""
        return f"{self._scheme}://127.0.0.1:{self.port}/"

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n" if self._patient else b"\x16")
        self.requests.append(request)
        self.asked.set()
        await self._lie(reader, writer, request)


def says(answer: bytes) -> Behaviour:
    """Answer with these bytes, then close."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(answer)

    return behave


def answers(body: bytes = b"ok", *, status: str = "200 OK", headers: str = "") -> Behaviour:
    """Answer correctly."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return says(head.encode("latin-1") + body)


def repeats(head: bytes, chunk: bytes) -> Behaviour:
    """Say the head, then the chunk for as long as somebody listens."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()

    return behave


def stalls(head: bytes = b"") -> Behaviour:
    """Say the head, and then nothing for as long as the client waits."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: bytes) -> None:
        writer.write(head)
        await writer.drain()
        await reader.read()

    return behave


def resets(head: bytes = b"") -> Behaviour:
    """Say the head, then break the connection."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: bytes) -> None:
        writer.write(head)
        await writer.drain()
        endpoint = writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return behave


def make_expired_certificate(folder: Path, subject: str) -> tuple[Path, Path]:
    """Make a certificate that ended in 2020, with any version of the `openssl` program."""
    certificate, key = make_certificate(folder)
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca = it\n[it]\ndatabase = index\nserial = serial\nnew_certs_dir = .\n"
        f"default_md = sha256\npolicy = any\n[any]\n[ext]\nsubjectAltName = {subject}\n"
    )
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    request = ["openssl", "req", "-new", "-key", str(key), "-subj", "/CN=test", "-out", "csr.pem"]
    dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]
    sign = ["openssl", "ca", "-batch", "-selfsign", "-notext", "-config", "ca.cnf", *dates]
    files = ["-extensions", "ext", "-keyfile", str(key), "-in", "csr.pem", "-out", str(certificate)]
    for command in (request, [*sign, *files]):
        subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return certificate, key


def make_certificate(folder: Path, *arguments: str) -> tuple[Path, Path]:
    """Make a self-signed certificate with the `openssl` program; return certificate and key."""
    require("the program `openssl`, which makes certificates, is not installed", which("openssl"))
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files, *arguments], check=True, capture_output=True)
    return certificate, key
