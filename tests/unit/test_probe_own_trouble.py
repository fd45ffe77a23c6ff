"""A machine that is out of file descriptors knows nothing of a service, whatever its kind."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: a limit on files would end the test run itself.
PROGRAM = """
import asyncio, json, os, resource, sys
from pulsebase.probes import ProbeTools, UnknownHealthError, load_probe_kind
from tests.support.looking import a_look

async def look():
    kind, keys = sys.argv[1], json.loads(sys.argv[2])
    probe = load_probe_kind(kind)(**keys)
    async with ProbeTools() as tools:
        await probe.probe(a_look(tools, timeout_seconds=2))  # what is opened once, and kept
        highest = max(map(int, os.listdir("/proc/self/fd")))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, limits[1]))
        try:
            while True:
                os.dup(0)
        except OSError:
            pass
        try:
            outcome = await probe.probe(a_look(tools, timeout_seconds=2))
        except UnknownHealthError as error:
            print("unknown:", error)
        else:
            print(outcome)

asyncio.run(look())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("postgres", '{"url": "postgresql://a@127.0.0.1:1/b"}'),
        ("redis", '{"url": "redis://127.0.0.1:1"}'),
        ("websocket", '{"url": "ws://127.0.0.1:1"}'),
        ("grpc", '{"host": "127.0.0.1", "port": 1}'),
        ("supabase", '{"url": "http://127.0.0.1:1", "key": "sb_secret_a"}'),
    ],
)
def test_a_machine_out_of_file_descriptors_leaves_the_service_unknown(kind: str, keys: str) -> None:
    command = [sys.executable, "-c", PROGRAM, kind, keys]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.stdout.startswith("unknown: "), ended.stdout + ended.stderr
    assert "Too many open files" in ended.stdout
