"""What SSH says before it is encrypted: lines, packets and their fields (RFC 4251 and 4253)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pulsebase.probes.support.faults import excerpt
from pulsebase.probes.support.network.wire import ServiceError

if TYPE_CHECKING:
    from pulsebase.probes.support.network.wire import Wire

__all__ = ["Fields", "as_integer", "as_string", "read_banner", "read_message", "send_message"]

DISCONNECT: Final = 1

# RFC 4253 sets the bound of a packet; a banner is shorter still.
_LARGEST_PACKET: Final = 35_000
_LONGEST_BANNER: Final = 255
_LONGEST_LINE: Final = 1024
_MOST_LINES: Final = 64
_MOST_IDLE_MESSAGES: Final = 64
_BLOCK: Final = 8
_LEAST_PADDING: Final = 4
# IGNORE, UNIMPLEMENTED and DEBUG may come at any time and mean nothing to us.
_IDLE: Final = frozenset({2, 3, 4})


class Fields:
    """Reads the fields of a message one after the other; raises ServiceError past its end."""

    def __init__(self, message: bytes) -> None:
        self._rest = memoryview(message)

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > len(self._rest):
            told = "a message of the key exchange is shorter than it says"
            raise ServiceError(told)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return bytes(taken)

    def string(self) -> bytes:
        """Bytes with their length before them."""
        return self.take(int.from_bytes(self.take(4)))

    def integer(self) -> int:
        """A whole number of any size."""
        return int.from_bytes(self.string(), signed=True)

    def names(self) -> list[str]:
        """A list of names, separated by commas."""
        return self.string().decode("ascii", "replace").split(",")


def as_string(value: bytes) -> bytes:
    """Bytes with their length before them."""
    return len(value).to_bytes(4) + value


def as_integer(value: int) -> bytes:
    """A whole number, not negative, of any size: with a zero before a first bit that is set."""
    return as_string(value.to_bytes(value.bit_length() // 8 + 1) if value else b"")


async def read_banner(wire: Wire) -> bytes:
    """What the server says that it is; lines before that are passed over.

    Raises ServiceError where it does not speak SSH 2.
    """
    for _ in range(_MOST_LINES):
        line = await wire.receive_line(longest=_LONGEST_LINE)
        if line.startswith(b"SSH-"):
            if line.startswith((b"SSH-2.0-", b"SSH-1.99-")) and len(line) <= _LONGEST_BANNER:
                return line
            told = f"SSH 2 was to come; got {excerpt(line.decode('utf-8', 'replace'))!r}"
            raise ServiceError(told)
    told = f"no SSH banner among the first {_MOST_LINES} lines"
    raise ServiceError(told)


async def send_message(wire: Wire, message: bytes) -> None:
    """Send a message in a packet of its own, in the clear."""
    padding = _BLOCK - (5 + len(message)) % _BLOCK
    padding += _BLOCK if padding < _LEAST_PADDING else 0
    length = 1 + len(message) + padding
    await wire.send(length.to_bytes(4) + bytes([padding]) + message + bytes(padding))


async def read_message(wire: Wire, wanted: int) -> bytes:
    """The next message, which must be of the kind that is wanted, without its number."""
    for _ in range(_MOST_IDLE_MESSAGES):
        message = await _read_packet(wire)
        number = message[0]
        if number == wanted:
            return message[1:]
        if number == DISCONNECT:
            raise ServiceError(_farewell(message[1:]))
        if number not in _IDLE:
            told = f"message {wanted} was to come; got {number}"
            raise ServiceError(told)
    told = "only messages without a meaning came"
    raise ServiceError(told)


async def _read_packet(wire: Wire) -> bytes:
    length = int.from_bytes(await wire.receive_exactly(4))
    if not _LEAST_PADDING < length <= _LARGEST_PACKET:
        told = f"a packet says that it has {length} bytes, which none may have"
        raise ServiceError(told)
    packet = await wire.receive_exactly(length, begun=True)
    message = packet[1 : max(0, length - packet[0])]
    if not message:
        told = "a packet has nothing in it"
        raise ServiceError(told)
    return message


def _farewell(message: bytes) -> str:
    fields = Fields(message)
    fields.take(4)  # the reason's number
    return f"the server disconnected: {fields.string().decode('utf-8', 'replace')}"
