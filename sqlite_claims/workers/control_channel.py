"""The socket between a supervisor and a process of its pool. Each message on the socket is one line with a JSON object.

The process sends ``Ready`` at its start, ``HasTimeout`` if a task has its own timeout, and ``Ended`` at its end. A
process that cannot run tasks sends ``Failed``. The supervisor sends ``Stop``.
"""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, dataclass
from typing import Literal

from . import typed_json
from .context import Reason

# The longest line that the reader accepts, in bytes. A longer line is skipped.
LINE_BYTES_MAX = 65_536
_READ_BYTES = 65_536

Stage = Literal["main file", "handlers", "store", "lifespan", "run"]


@dataclass(frozen=True, slots=True)
class Ready:
    """A message from a process that has imported its handlers, opened its store and entered its lifespans, and now
    begins to claim tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A message from a process that ends because of an error. ``text`` describes the error. ``stage`` names the part of
    the process's work that raised the error."""

    stage: Stage
    text: str


@dataclass(frozen=True, slots=True)
class HasTimeout:
    """A message from a process that has started a task with its own timeout, which is shorter than the timeouts in
    earlier messages. The supervisor then checks the running tasks often enough."""

    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A message from a process whose worker has ended, and which is about to exit.

    ``by_handler``: true if a handler wants to end the pool's run. ``abandoned_handlers``: the number of handlers that
    have not returned.
    """

    reason: Reason
    by_handler: bool
    abandoned_handlers: int


@dataclass(frozen=True, slots=True)
class Stop:
    """A message to a process, which must claim no more tasks and end within ``timeout_s`` seconds. ``None``: the
    process ends when its running tasks have ended."""

    timeout_s: float | None


Message = Ready | Failed | HasTimeout | Ended | Stop

_TYPES: dict[str, type[Message]] = {
    "ready": Ready,
    "failed": Failed,
    "has timeout": HasTimeout,
    "ended": Ended,
    "stop": Stop,
}
_NAMES = {kind: name for name, kind in _TYPES.items()}


def encode(message: Message) -> bytes:
    """Return a message as one line of JSON."""
    return json.dumps({"type": _NAMES[type(message)], **asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message in an untrusted line. Raises ``ValueError`` if the line does not contain a message."""
    if len(line) > LINE_BYTES_MAX:
        raise ValueError("too long")
    try:
        fields = json.loads(line)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    name = fields.pop("type", None) if isinstance(fields, dict) else None
    if not isinstance(name, str) or name not in _TYPES:
        raise ValueError("not a message")
    return typed_json.build(_TYPES[name], fields)


class ControlChannel:
    """One end of the socket.

    A handler may write to the socket. So ``receive`` drops each line that does not contain a message, and
    ``unreadable`` counts the dropped lines. ``ended`` is true if the other end is closed, so that no more messages
    will arrive.
    """

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._partial = bytearray()
        self._skips_line = False  # true while the current line is longer than LINE_BYTES_MAX
        self.unreadable = 0
        self.ended = False

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, message: Message) -> bool:
        """Send a message. Return ``False`` if either end is closed, or if a nonblocking socket has no room for the
        message."""
        try:
            self._socket.sendall(encode(message))
        except OSError:
            return False
        return True

    def receive(self) -> list[Message] | None:
        """Read once from the socket, and return the messages. Return ``None`` if there was nothing to read."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.ended = not data
        messages = []
        *line_ends, rest = data.split(b"\n")
        for line_end in line_ends:
            message = self._message(line_end)
            if message is not None:
                messages.append(message)
        if not self._skips_line:
            self._partial += rest
        if len(self._partial) > LINE_BYTES_MAX:
            self._partial.clear()
            self._skips_line = True
        return messages

    def _message(self, line_end: bytes) -> Message | None:
        """Return the message in the line that ends with these bytes, or ``None`` if the line contains no message."""
        line, skips = bytes(self._partial) + line_end, self._skips_line
        self._partial.clear()
        self._skips_line = False
        if not skips:
            try:
                return decode(line)
            except ValueError:
                pass
        self.unreadable += 1
        return None

    def close(self) -> None:
        """Close this end of the socket."""
        self._socket.close()
