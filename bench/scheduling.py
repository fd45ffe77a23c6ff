"""Whether 50,000 services at 60 s are probed in time by the real process, and what that costs.

Judged by what is in the database and not by what the monitor says of itself: each row's
`checked_at` beside the places where the service's turns lie by the wall clock. `BENCH_SERVICES` and
`BENCH_SECONDS` make it smaller.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg

from pulsebase.monitor.looking.schedule import phase_seconds
from tests.support.server_process import ServerProcess, free_port
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SERVICES: Final = int(os.environ.get("BENCH_SERVICES", "50000"))
_SECONDS: Final = float(os.environ.get("BENCH_SECONDS", "300"))
_INTERVAL_SECONDS: Final = 60.0
_IN_TIME_SECONDS: Final = 1.0
_READY_SECONDS: Final = 120

_NGINX: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "well"; }}
    }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the process used while it was watched."""

    cores: float
    cores_with_start: float
    peak_megabytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Punctuality:
    """What the rows say: turns that were due, and what became of them."""

    rows: int
    due: int
    in_time: int
    missing: int
    down: int
    latest_seconds: float


def scheduling(url: str) -> None:
    """Run the monitor for so long, and print what the database and the machine saw."""
    with tempfile.TemporaryDirectory(prefix="pulsebase-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        nginx = _nginx(folder)
        try:
            begins_at, ends_at, cost = _watch(url, _configuration(folder, nginx[1]))
        finally:
            nginx[0].stop()
    _print(cost, _punctuality(url, begins_at, ends_at))


def _nginx(folder: Path) -> tuple[ServerProcess, int]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port))
    server = ServerProcess(["nginx", "-c", config, "-p", folder], folder=folder)
    server.start(lambda: _listens(port))
    return server, port


def _listens(port: int) -> bool:
    return any(
        connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
        for connection in psutil.net_connections("tcp4")
        if connection.laddr
    )


def _configuration(folder: Path, port: int) -> Path:
    path = folder / "pulsebase.toml"
    services = "".join(
        f'[[services]]\nname = "service-{number:05}"\nurl = "http://127.0.0.1:{port}/{number}"\n'
        for number in range(_SERVICES)
    )
    spool = folder / "spool"
    path.write_text(
        f'[monitor]\nname = "bench"\nconcurrency = 1000\nhost_concurrency = 1000\n'
        f'spool = "{spool}"\n[defaults]\ninterval = "{_INTERVAL_SECONDS:g}s"\ntimeout = "10s"\n'
        + services
    )
    return path


def _watch(url: str, config: Path) -> tuple[float, float, Cost]:
    command = [sys.executable, "-m", "pulsebase", "run", "-c", str(config)]
    environment = {**os.environ, "PULSEBASE_URL": url}
    with subprocess.Popen(command, env=environment) as child:
        try:
            wait_until(lambda: _has_rows(url), "the first checks are stored", _READY_SECONDS)
            process = psutil.Process(child.pid)
            begins_at, before = time.time(), process.cpu_times()
            time.sleep(_SECONDS)
            ends_at, after = time.time(), process.cpu_times()
            peak = _peak_megabytes(child.pid)
        finally:
            child.send_signal(signal.SIGTERM)
    used = after.user + after.system
    lived = ends_at - process.create_time()
    cost = Cost(
        cores=(used - before.user - before.system) / (ends_at - begins_at),
        cores_with_start=used / lived,
        peak_megabytes=peak,
    )
    return begins_at, ends_at, cost


def _has_rows(url: str) -> bool:
    with psycopg.connect(url) as connection:
        return bool(connection.execute("select 1 from service_health_checks limit 1").fetchone())


def _peak_megabytes(process_id: int) -> float:
    status = Path(f"/proc/{process_id}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _punctuality(url: str, begins_at: float, ends_at: float) -> Punctuality:
    # A turn that begins late is in its time, too, when a second later is still watched.
    seen, down = _rows(url)
    due = in_time = missing = 0
    latest = 0.0
    for number in range(_SERVICES):
        name = f"service-{number:05}"
        moments = seen.get(name, [])
        for turn_at in _turns(name, begins_at, ends_at - _IN_TIME_SECONDS):
            due += 1
            # The two clocks of the process were read one after the other.
            at = bisect_left(moments, turn_at - 0.01)
            if at == len(moments) or moments[at] - turn_at >= _INTERVAL_SECONDS / 2:
                missing += 1
                continue
            latest = max(latest, moments[at] - turn_at)
            in_time += moments[at] - turn_at <= _IN_TIME_SECONDS
    return Punctuality(
        rows=sum(map(len, seen.values())),
        due=due,
        in_time=in_time,
        missing=missing,
        down=down,
        latest_seconds=latest,
    )


def _rows(url: str) -> tuple[Mapping[str, list[float]], int]:
    seen: dict[str, list[float]] = defaultdict(list)
    down = 0
    with psycopg.connect(url) as connection, connection.cursor("rows") as cursor:
        cursor.itersize = 20_000
        cursor.execute(
            "select service_name, extract(epoch from checked_at)::float8, status"
            " from service_health_checks order by checked_at"
        )
        for name, checked_at, status in cursor:
            seen[name].append(checked_at)
            down += status != "healthy"
    return seen, down


def _turns(name: str, begins_at: float, ends_at: float) -> Iterator[float]:
    phase = phase_seconds(name, _INTERVAL_SECONDS)
    first = begins_at + (phase - begins_at) % _INTERVAL_SECONDS
    return takewhile(
        lambda turn_at: turn_at < ends_at, (first + _INTERVAL_SECONDS * n for n in count())
    )


def _print(cost: Cost, found: Punctuality) -> None:
    share = found.in_time / found.due if found.due else 0.0
    print(
        f"{_SERVICES:,} services at {_INTERVAL_SECONDS:g} s, watched for {_SECONDS:g} s",
        f"in time       {share:.4%} of {found.due:,} turns began within {_IN_TIME_SECONDS:g} s",
        f"missing       {found.missing:,} turns; the latest was {found.latest_seconds:.3f} s late",
        f"rows          {found.rows:,}, of which not healthy: {found.down:,}",
        f"CPU           {cost.cores:.3f} cores; {cost.cores_with_start:.3f} with the start",
        f"peak memory   {cost.peak_megabytes:.0f} MB",
        sep="\n  ",
    )
