"""A server in a thread that answers HTTP requests with whatever bytes it is told to."""

from __future__ import annotations

import socketserver
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LyingPostgrest", "answer"]


def answer(status: int, body: str = "", **headers: str) -> bytes:
    """A correct answer."""
    fields = {"Content-Length": str(len(body.encode())), "Connection": "close", **headers}
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items()]
    return f"HTTP/1.1 {status} Reason\r\n{''.join(lines)}\r\n{body}".encode()


class LyingPostgrest(socketserver.ThreadingTCPServer):
    """Says one answer after another, the last one for ever; None is silence until the end."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, answers: Sequence[bytes | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.ended = threading.Event()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        """The base of the API."""
        return f"http://127.0.0.1:{self.server_address[1]}/rest/v1"

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving."""
        self.ended.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        head = b""
        while line := self.rfile.readline().rstrip():
            head += line + b"\n"
        length = [
            int(line[15:])
            for line in head.split(b"\n")
            if line.lower().startswith(b"content-length:")
        ]
        server.requests.append(head + self.rfile.read(sum(length)))
        answers: list[Any] = server.answers
        said = answers.pop(0) if len(answers) > 1 else answers[0]
        if said is None:
            server.ended.wait(60)
        else:
            self.wfile.write(said)
