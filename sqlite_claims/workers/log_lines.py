"""Log records on their way from a process of a pool to its supervisor: one packet of JSON each.

A packet comes whole or not at all, whoever else writes to the same socket: threads, or processes that a handler has
forked. If the supervisor is slow to read, sending blocks, so that the process that logs much is the one that waits.
"""

from __future__ import annotations

import json
import logging
import math
import socket
from contextlib import suppress
from typing import Any

LINE_BYTES_MAX = 65_536
# Of a line: for the program's own attributes, and for each of the texts that no one writes at length.
_EXTRA_CHARS_MAX = 16_384
_NAME_CHARS_MAX = 512
# A record's attributes that are sent, and their types. The others are made anew, or are what logging makes of these.
_TYPES: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "levelno": (int,),
    "levelname": (str,),
    "pathname": (str,),
    "filename": (str,),
    "module": (str,),
    "lineno": (int,),
    "funcName": (str, type(None)),
    "created": (float, int),
    "msecs": (float, int),
    "process": (int, type(None)),
    "thread": (int, type(None)),
    "threadName": (str, type(None)),
    "taskName": (str, type(None)),
}
_TEXTS = ("msg", "exc_text", "stack_info")
_LOGGINGS_OWN = frozenset({*vars(logging.makeLogRecord({})), *_TYPES, "message", "asctime"})
_NUMBERS_MAX = 2**63
# Without this, a process with the default action for SIGPIPE would die of a line that nobody reads.
_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


def make_sockets() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end, which doesn't block, and the process's."""
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LINE_BYTES_MAX)
    ours.setblocking(False)
    return ours, theirs


class LogSender(logging.Handler):
    """Sends each log record of a pool's process to the supervisor."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self._socket = end

    def createLock(self) -> None:  # noqa: N802 - logging's name
        """Create no lock: none is needed, and none can be left locked by a fork."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """As ``Handler.handle``, without a lock."""
        kept = self.filter(record)
        if kept:
            self.emit(kept if isinstance(kept, logging.LogRecord) else record)
        return kept

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record. Blocks while the supervisor is behind; does nothing if it is gone."""
        try:
            line = encode(record)
        except Exception:  # noqa: BLE001 - a record that can't be made into text is reported as logging does it
            self.handleError(record)
            return
        with suppress(OSError):
            self._socket.send(line, _FLAGS)


def encode(record: logging.LogRecord) -> bytes:
    """The record as at most ``LINE_BYTES_MAX`` bytes; longer texts are cut, and say so."""
    texts = {"msg": record.getMessage(), "exc_text": record.exc_text, "stack_info": record.stack_info}
    if record.exc_info and not record.exc_text:
        texts["exc_text"] = logging.Formatter().formatException(record.exc_info)
    shown: dict[str, Any] = {}
    for name in _TYPES:
        value = getattr(record, name, None)
        shown[name] = value[:_NAME_CHARS_MAX] if isinstance(value, str) else value
    shown["extra"] = _extra(record)
    room = LINE_BYTES_MAX
    while True:
        for name, text in texts.items():
            shown[name] = text and _cut(name, text, room)
        line = json.dumps(shown, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(line) <= LINE_BYTES_MAX:
            return line
        room = room * 3 // 4


def _cut(name: str, text: str, room: int) -> str:
    """The beginning of a message, or the end of a traceback."""
    if len(text) <= room:
        return text
    mark = f"[{len(text) - room} characters were cut]"
    return f"{text[:room]}... {mark}" if name == "msg" else f"{mark} ...{text[-room:]}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """The program's own attributes that can be written as JSON and are not too long."""
    found = {}
    left = _EXTRA_CHARS_MAX
    for name, value in vars(record).items():
        if name not in _LOGGINGS_OWN and isinstance(name, str):
            with suppress(TypeError, ValueError, RecursionError):
                size = len(json.dumps({name: value}))
                if size <= left:
                    found[name] = value
                    left -= size
    return found


def decode(line: bytes, process_name: str) -> logging.LogRecord:
    """The record in an untrusted line. Raises ``ValueError`` if it is no record."""
    if len(line) > LINE_BYTES_MAX:
        raise ValueError("too long")
    try:
        shown = json.loads(line.decode("utf-8", "surrogatepass"))
    except RecursionError:
        raise ValueError("too deep") from None
    if not isinstance(shown, dict) or not isinstance(shown.get("extra"), dict):
        raise ValueError("no object")  # noqa: TRY004 - all that is wrong with a line is one error
    found: dict[str, Any] = {name: _checked(name, shown.get(name)) for name in _TYPES}
    for name in _TEXTS:
        found[name] = shown.get(name)
        if not isinstance(found[name], (str, type(None))):
            raise ValueError(name)  # noqa: TRY004
    found["msg"] = found["msg"] or ""
    if not 0 <= found["created"] < 1e11:  # no time that can be shown
        raise ValueError("created")
    extra = {
        name: value
        for name, value in shown["extra"].items()
        if name not in _LOGGINGS_OWN and not hasattr(logging.LogRecord, name)
    }
    return logging.makeLogRecord({**extra, **found, "processName": process_name})


def _checked(name: str, value: Any) -> Any:
    if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
        raise ValueError(name)  # noqa: TRY004
    if isinstance(value, str) and len(value) > _NAME_CHARS_MAX:
        raise ValueError(name)
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) < _NUMBERS_MAX):
        raise ValueError(name)
    return value
