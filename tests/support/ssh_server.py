"""Debian's real sshd on a free loopback port, with a configuration and host keys of its own."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path
from shutil import which
from typing import TYPE_CHECKING, Literal, Self

from tests.support.requirement import require
from tests.support.server_process import ServerProcess, free_port, scratch_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["SshServer", "sshd_program"]

KeyType = Literal["ed25519", "ecdsa", "rsa"]

# Where sshd, started as root, locks itself in before anybody has logged in.
_SEPARATION = Path("/run/sshd")


def sshd_program() -> str | None:
    """The program, which is on nobody's PATH but root's."""
    return which("sshd") or which("/usr/sbin/sshd")


class SshServer:
    """Nobody can log in; `fingerprint` is what `ssh-keygen` says of a host key."""

    def __init__(self, *key_types: KeyType, options: Sequence[str] = ()) -> None:
        require("sshd is not installed: apt-get install openssh-server", sshd_program())
        self._key_types = key_types or ("ed25519",)
        self._options = options
        self._resources = ExitStack()
        self._folder: Path
        self.port = free_port()

    def __enter__(self) -> Self:
        self._folder = self._resources.enter_context(scratch_folder("sshd"))
        if not _SEPARATION.exists():
            _SEPARATION.mkdir(mode=0o755)
            self._resources.callback(_SEPARATION.rmdir)
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            "PidFile none",
            "UsePAM no",
            "PasswordAuthentication no",
            "MaxStartups 1000",
            *(f"HostKey {self._key(one)}" for one in self._key_types),
            *self._options,
        ]
        configuration = self._folder / "sshd_config"
        configuration.write_text("".join(f"{line}\n" for line in lines))
        command = [str(sshd_program()), "-D", "-e", "-f", str(configuration)]
        self._process = ServerProcess(command, folder=self._folder)
        self._resources.callback(self._process.stop)
        self._process.start(self._answers)
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def fingerprint(self, key_type: KeyType) -> str:
        """As people compare it: `SHA256:…`."""
        command = ["ssh-keygen", "-l", "-f", f"{self._folder / key_type}.pub"]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        return answer.stdout.split()[1]

    def log(self) -> str:
        """What it has printed so far."""
        return self._process.log()

    def _key(self, key_type: KeyType) -> Path:
        file = self._folder / key_type
        command = ["ssh-keygen", "-q", "-t", key_type, "-N", "", "-f", str(file)]
        subprocess.run(command, check=True, capture_output=True)
        return file

    def _answers(self) -> bool:
        with socket.socket() as client:
            client.settimeout(1)
            return client.connect_ex(("127.0.0.1", self.port)) == 0 and bool(client.recv(4))
