"""The real PostgREST, as a hosted project runs it: JWT keys, and answers cut at 1000 rows."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import httpx
import jwt
import psycopg
from psycopg.conninfo import make_conninfo

from tests.support.node_parts import POSTGREST
from tests.support.server_process import ServerProcess, free_port, scratch_folder
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROW_CAP", "PostgrestServer"]

ROW_CAP = 1000

_JWT_SECRET = "a secret of these tests, at least 32 bytes long"  # noqa: S105  # opens only this
_KEY_LIFE_SECONDS = 3600


class PostgrestServer:
    """PostgREST over one database, which has Supabase's roles; it serves the schema `public`."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._port, self._admin_port = free_port(), free_port()
        self._resources = ExitStack()
        self.process: ServerProcess
        self.url = f"http://127.0.0.1:{self._port}"
        self.service_key = _key("service_role", _KEY_LIFE_SECONDS)
        self.anon_key = _key("anon", _KEY_LIFE_SECONDS)
        self.authenticated_key = _key("authenticated", _KEY_LIFE_SECONDS)
        self.expired_key = _key("service_role", -_KEY_LIFE_SECONDS)

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("postgrest"))
            self.process = ServerProcess([POSTGREST, self._configure(folder)], folder=folder)
            resources.callback(self.stop)
            self.start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def start(self) -> None:
        """Start, or start again after `stop`, on the same port."""
        self.process.start(self._is_ready)

    def stop(self) -> None:
        """End the server."""
        self.process.stop()

    def reload_schema(self, awaited_path: str) -> None:
        """Ask for a fresh schema cache; returns when it knows a path such as `/rpc/prune`."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute("notify pgrst, 'reload schema'")
        wait_until(lambda: awaited_path in self.paths(), f"PostgREST serves {awaited_path}")

    def paths(self) -> set[str]:
        """What the service key may call, such as `/alert_events` and `/rpc/prune`."""
        key = self.service_key
        headers = {"apikey": key, "Authorization": f"Bearer {key}"}
        answer = httpx.get(self.url, headers=headers, timeout=10)
        return set(answer.raise_for_status().json()["paths"])

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._admin_port}/ready", timeout=5)
        except httpx.TransportError:
            return False
        return answer.is_success

    def _configure(self, folder: Path) -> Path:
        settings = {
            "db-uri": make_conninfo(self.database_url, user="authenticator"),
            "db-schemas": "public",
            "db-anon-role": "anon",
            "db-max-rows": ROW_CAP,
            "db-channel-enabled": True,
            "db-pool": 20,
            "jwt-secret": _JWT_SECRET,
            "server-host": "127.0.0.1",
            "server-port": self._port,
            "admin-server-port": self._admin_port,
            "log-level": "warn",
        }
        path = folder / "postgrest.conf"
        path.write_text(
            "".join(f"{name} = {_written(value)}\n" for name, value in settings.items())
        )
        return path


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | int) else f'"{value}"'


def _key(role: str, life_seconds: int) -> str:
    now = int(time.time())
    claims = {"iss": "supabase", "role": role, "iat": now, "exp": now + life_seconds}
    return jwt.encode(claims, _JWT_SECRET, algorithm="HS256")
