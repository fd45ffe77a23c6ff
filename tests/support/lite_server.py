"""Supabase's own small stand-in for a project, `@supabase/lite`: the new `sb_…` keys."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import httpx

from tests.support.node_parts import LITE, node
from tests.support.server_process import ServerProcess, free_port, scratch_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LiteServer"]

_CONFIGURATION = """\
[api]
port = {port}

[db]
driver = "postgres"
url = "{database_url}"

[auth]
enabled = true
jwt_secret = "{jwt_secret}"
publishable_key = "{anon_key}"
secret_key = "{service_key}"
"""


class LiteServer:
    """`@supabase/lite` over one database, which has Supabase's roles.

    It reads the schema once, for the first request: `restart` after a migration. With that request
    it also grants every table in `public` to `anon`, `authenticated` and `service_role`, and those
    to come: over it, row level security and the grants on functions count, those on tables do not.
    """

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._port = free_port()
        self._resources = ExitStack()
        self.process: ServerProcess
        self.url = f"http://127.0.0.1:{self._port}"
        self.service_key = f"sb_secret_{secrets.token_urlsafe(24)}"
        self.anon_key = f"sb_publishable_{secrets.token_urlsafe(24)}"

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            folder = resources.enter_context(scratch_folder("lite"))
            self._configure(folder)
            self.process = ServerProcess(
                [node() or "node", LITE, "start", "--no-admin", "--no-telemetry"],
                folder=folder,
                environment={"LITE_TELEMETRY": "0"},
            )
            resources.callback(self.stop)
            self.start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def start(self) -> None:
        """Start, or start again after `stop`, on the same port."""
        self.process.start(self._answers)

    def stop(self) -> None:
        """End the server."""
        self.process.stop()

    def restart(self) -> None:
        """Read the schema anew."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        headers = {"apikey": self.service_key}
        try:
            return httpx.get(f"{self.url}/rest/v1/", headers=headers, timeout=5).is_success
        except httpx.TransportError:
            return False

    def _configure(self, folder: Path) -> None:
        (folder / "supabase").mkdir()
        (folder / "supabase" / "config.toml").write_text(
            _CONFIGURATION.format(
                port=self._port,
                database_url=self.database_url,
                jwt_secret=secrets.token_urlsafe(48),
                anon_key=self.anon_key,
                service_key=self.service_key,
            )
        )
