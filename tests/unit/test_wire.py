"""Bytes over one connection: who floods it takes no turn away from others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from pulsebase.probes.support.network.wire import LARGEST_CHUNK, Wire
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

FLOOD = b"x" * (6 * LARGEST_CHUNK)


async def turns_of_others_during(wire: Wire) -> int:
    """Receive the flood, and count how often the loop came round to somebody else."""
    turns = 0

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(somebody_else())
    received = 0
    while received < len(FLOOD):
        received += len(await wire.receive())
    other.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await other
    return turns


async def test_others_have_their_turn_while_bytes_wait() -> None:
    near, far = socket.socketpair()
    near.settimeout(0)
    with far, near:
        far.sendall(FLOOD)
        assert await turns_of_others_during(Wire(near)) >= len(FLOOD) // LARGEST_CHUNK


async def test_others_have_their_turn_while_bytes_wait_in_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    context = authority.issue("localhost").serving()
    near, far = socket.socketpair()
    near.settimeout(0)

    def floods() -> None:
        with context.wrap_socket(far, server_side=True) as server:
            server.sendall(FLOOD)

    flooding = threading.Thread(target=floods)
    flooding.start()
    with near:
        wire = Wire(near)
        trusting = ssl.create_default_context(cafile=str(authority.ca_file))
        await wire.start_tls(trusting, server_name="localhost")
        await asyncio.to_thread(flooding.join)
        assert await turns_of_others_during(wire) >= len(FLOOD) // LARGEST_CHUNK
