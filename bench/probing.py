"""Probes per second, recorded in PostgreSQL, beside blackbox_exporter on the same nginx.

blackbox_exporter probes when it is asked, so `wrk` asks it, at the concurrency that suits it best;
it stores nothing. Ours is the whole `pulsebase run`, with more services than it can probe, and what
counts is the rows that arrive in the database. Both turn about, each with the machine to itself.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil
import psycopg

from bench.harness import Comparison, in_turn
from tests.support.server_process import ServerProcess, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAMS: Final = ("nginx", "prometheus-blackbox-exporter", "wrk")

_ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "5"))
_WINDOW_SECONDS: Final = 6.0
_WARM_UP_SECONDS: Final = 4.0
_READY_SECONDS: Final = 120.0
_SERVICES: Final = 20_000
_CONCURRENCY: Final = 128
_CONCURRENCIES_OF_BLACKBOX: Final = (8, 32, 64, 128)

# It shares the cores with both sides, and should take as little of them as it can.
_NGINX: Final = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; multi_accept on; }}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port} backlog=4096 deferred;
        location / {{ return 200 "well"; }}
    }}
}}
"""
_BLACKBOX: Final = """
modules:
  http_2xx:
    prober: http
    timeout: 5s
    http: {preferred_ip_protocol: ip4}
"""


@dataclass(slots=True)
class _Costs:
    """Milliseconds of CPU for each probe, one entry for each round."""

    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)


def probing(url: str) -> list[Comparison]:
    """Probes per second, and the CPU that each of them takes."""
    costs = _Costs()
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="pulsebase-")))
        folder.chmod(0o711)
        target = resources.enter_context(_nginx(folder))
        configuration = _configuration(folder, target)
        with _blackbox(folder, target) as (_, probe_url):
            best = max(_CONCURRENCIES_OF_BLACKBOX, key=lambda number: _wrk(probe_url, number, 3))

        def ours() -> float:
            return _monitor(folder, configuration, url, costs)

        def theirs() -> float:
            with _blackbox(folder, target) as (process, probe_url):
                _wrk(probe_url, best, 2)
                before = _cpu_seconds(process)
                rate = _wrk(probe_url, best, _WINDOW_SECONDS)
                spent = _cpu_seconds(process) - before
            costs.theirs.append(spent * 1000 / (rate * _WINDOW_SECONDS))
            return rate

        rates = in_turn(_ROUNDS, ours, theirs)
    peer = f"blackbox_exporter, wrk -c{best}"
    return [
        Comparison(
            name="http probes, recorded",
            peer=peer,
            unit="probes/s",
            ours=rates[0],
            theirs=rates[1],
            target=3.0,
        ),
        Comparison(
            name="… CPU of the process",
            peer=peer,
            unit="ms/probe",
            ours=costs.ours[1:],  # the first round of `in_turn` does not count
            theirs=costs.theirs[1:],
            target=None,
            less_is_better=True,
        ),
    ]


def _monitor(folder: Path, configuration: Path, url: str, costs: _Costs) -> float:
    """Rows per second that arrive from a monitor that runs just for this."""
    with psycopg.connect(url, autocommit=True) as database:
        database.execute("truncate service_health_checks")
        process = ServerProcess(
            [sys.executable, "-m", "pulsebase", "run", "-c", configuration],
            folder=folder,
            environment={"PULSEBASE_URL": url},
        )
        process.start(lambda: _rows(database) > 0, _READY_SECONDS)
        try:
            time.sleep(_WARM_UP_SECONDS)
            spent, began_at = _cpu_seconds(process), _now(database)
            time.sleep(_WINDOW_SECONDS)
            spent, ended_at = _cpu_seconds(process) - spent, _now(database)
        finally:
            process.stop()
        # By when they arrived: a batch that was under way at either end counts where it landed.
        rows, wrong = database.execute(
            "select count(*), count(*) filter (where status <> 'healthy')"
            " from service_health_checks where created_at >= %s and created_at < %s",
            (began_at, ended_at),
        ).fetchone() or (0, 0)
        if wrong:
            message = f"{wrong} of {rows} probes were not healthy"
            raise RuntimeError(message)
    costs.ours.append(spent * 1000 / rows)
    return float(rows / (ended_at - began_at).total_seconds())


def _rows(database: psycopg.Connection[Any]) -> int:
    found = database.execute("select count(*) from service_health_checks").fetchone()
    return found[0] if found else 0


def _now(database: psycopg.Connection[Any]) -> datetime:
    """By the clock that dates the rows."""
    (now,) = database.execute("select clock_timestamp()").fetchone() or (None,)
    if not isinstance(now, datetime):
        message = "the database does not know the time"
        raise TypeError(message)
    return now


def _wrk(url: str, connections: int, seconds: float) -> float:
    """Answers per second."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([0-9.]+)", said)
    if found is None or "Non-2xx" in said or "Socket errors" in said:
        message = f"wrk was not answered well: {said}"
        raise RuntimeError(message)
    return float(found.group(1))


def _cpu_seconds(process: ServerProcess) -> float:
    """User and system time of a process and of what it started."""
    root = psutil.Process(process.process_id)
    times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


@contextmanager
def _nginx(folder: Path) -> Iterator[str]:
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, port=port))
    target = f"http://127.0.0.1:{port}/"
    with _served(["nginx", "-c", str(config), "-p", str(folder)], folder, target):
        yield target


@contextmanager
def _blackbox(folder: Path, target: str) -> Iterator[tuple[ServerProcess, str]]:
    """The exporter, and the URL at which it probes the target; it must find it well."""
    port = free_port()
    config = folder / "blackbox.yml"
    config.write_text(_BLACKBOX)
    base = f"http://127.0.0.1:{port}"
    probe_url = f"{base}/probe?{urlencode({'module': 'http_2xx', 'target': target})}"
    flags = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    command = ["prometheus-blackbox-exporter", *flags]
    with _served(command, folder, base) as process:
        if "\nprobe_success 1" not in (_fetched(probe_url) or ""):
            message = "blackbox_exporter cannot probe nginx"
            raise RuntimeError(message)
        yield process, probe_url


@contextmanager
def _served(command: Sequence[str], folder: Path, url: str) -> Iterator[ServerProcess]:
    process = ServerProcess(command, folder=folder)
    process.start(lambda: _fetched(url) is not None)
    try:
        yield process
    finally:
        process.stop()


def _fetched(url: str) -> str | None:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 -- our own servers
            return str(answer.read(), "utf-8")
    except OSError:
        return None


def _configuration(folder: Path, target: str) -> Path:
    """More services than can be probed, so that there is always one that is due."""
    path = folder / "pulsebase.toml"
    services = "".join(
        f'[[services]]\nname = "service-{number:05}"\nurl = "{target}{number}"\n'
        for number in range(_SERVICES)
    )
    path.write_text(
        f'[monitor]\nname = "bench"\nspool = "{folder / "spool"}"\n'
        f"concurrency = {_CONCURRENCY}\nhost_concurrency = {_CONCURRENCY}\n"
        f'[defaults]\ninterval = "1s"\ntimeout = "1s"\n{services}'
    )
    return path
