"""The socket between a supervisor and a process of its pool: one JSON object a line, both ways."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import Any

# Neither side keeps more than this of a line that has no end.
LINE_BYTES_MAX = 65_536
_READ_BYTES = 65_536


class ControlChannel:
    """One end of the socket. The peer is not trusted: ``receive`` drops messages that aren't JSON objects of an
    acceptable length, and counts them in ``unreadable``. ``ended``: no message will come any more."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._rest = bytearray()
        self._skips = False  # up to the next line end, since this line is too long
        self.unreadable = 0
        self.ended = False

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def send(self, **message: Any) -> bool:
        """Send one message. ``False`` if either side is closed, or the other one has not read for a long time."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages from one read; ``None`` if there was nothing to read."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        self.ended = not data
        found = []
        first, *others = data.split(b"\n")
        for piece in others:
            found += self._line(first)
            first = piece
        if not self._skips:
            self._rest += first
        if len(self._rest) > LINE_BYTES_MAX:
            self._rest.clear()
            self._skips = True
        return found

    def _line(self, end: bytes) -> list[dict[str, Any]]:
        line, skips = bytes(self._rest) + end, self._skips
        self._rest.clear()
        self._skips = False
        if not skips and len(line) <= LINE_BYTES_MAX:
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    return [message]
        self.unreadable += 1
        return []

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
