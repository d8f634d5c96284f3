"""Sends log records from a process of a pool to its supervisor. Each record is one packet of JSON.

A packet arrives complete or not at all, even if several threads or forked processes write to the same socket at the
same time. If the supervisor reads slowly, ``send`` blocks. So only a process that writes many log records has to wait.
"""

from __future__ import annotations

import json
import logging
import socket
from contextlib import suppress
from typing import Any

LINE_BYTES_MAX = 65_536
# The largest number of characters for all attributes that the program has added to a record, and for each short text.
_EXTRA_CHARS_MAX = 16_384
_NAME_CHARS_MAX = 512
# The attributes of a log record that are sent, and their types. The supervisor derives all other attributes.
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
_STANDARD_ATTRIBUTES = frozenset({*vars(logging.makeLogRecord({})), *_TYPES, "message", "asctime"})
_NUMBERS_MAX = 2**63
# Without this flag, a write after the supervisor's death would kill a process that has the default action for SIGPIPE.
_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


def make_sockets() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new socket pair: the supervisor's end, which does not block, and the process's end."""
    ours, theirs = socket.socketpair(type=socket.SOCK_DGRAM)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * LINE_BYTES_MAX)
    ours.setblocking(False)
    return ours, theirs


class LogSender(logging.Handler):
    """Sends each log record of a pool's process to the supervisor."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self._socket = end

    def createLock(self) -> None:  # noqa: N802 - the base class logging.Handler defines this name
        """Create no lock, because the handler needs none, and a forked child could inherit a locked lock."""
        self.lock = None

    def handle(self, record: logging.LogRecord) -> Any:
        """Filter and emit the record as ``logging.Handler.handle`` does, but without a lock."""
        accepted = self.filter(record)
        if accepted:
            self.emit(accepted if isinstance(accepted, logging.LogRecord) else record)
        return accepted

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record. Blocks while the supervisor reads slowly. If the supervisor is dead, the record is
        dropped."""
        try:
            line = encode(record)
        except Exception:  # noqa: BLE001 - if a record cannot be formatted, logging prints the error
            self.handleError(record)
            return
        with suppress(OSError):
            self._socket.send(line, _FLAGS)


def encode(record: logging.LogRecord) -> bytes:
    """Return the record as JSON of at most ``LINE_BYTES_MAX`` bytes. Longer texts are cut, and a mark shows the cut."""
    texts = {"msg": record.getMessage(), "exc_text": record.exc_text, "stack_info": record.stack_info}
    if record.exc_info and not record.exc_text:
        texts["exc_text"] = logging.Formatter().formatException(record.exc_info)
    fields: dict[str, Any] = {}
    for name in _TYPES:
        value = getattr(record, name, None)
        fields[name] = value[:_NAME_CHARS_MAX] if isinstance(value, str) else value
    fields["extra"] = _extra(record)
    text_chars_max = LINE_BYTES_MAX
    while True:
        for name, text in texts.items():
            fields[name] = text and _cut(name, text, text_chars_max)
        line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(line) <= LINE_BYTES_MAX:
            return line
        text_chars_max = text_chars_max * 3 // 4


def _cut(name: str, text: str, chars_max: int) -> str:
    """Return a text cut to ``chars_max`` characters and a mark: the beginning of a message, or the end of a
    traceback."""
    if len(text) <= chars_max:
        return text
    mark = f"[{len(text) - chars_max} characters were cut]"
    return f"{text[:chars_max]}... {mark}" if name == "msg" else f"{mark} ...{text[-chars_max:]}"


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    """Return the attributes that the program has added to the record, except those that JSON cannot represent or that
    are too long."""
    extra = {}
    chars_left = _EXTRA_CHARS_MAX
    for name, value in vars(record).items():
        if name not in _STANDARD_ATTRIBUTES and isinstance(name, str):
            with suppress(TypeError, ValueError, RecursionError):
                size = len(json.dumps({name: value}))
                if size <= chars_left:
                    extra[name] = value
                    chars_left -= size
    return extra


def decode(line: bytes, process_name: str) -> logging.LogRecord:
    """Return the log record in an untrusted line. Raises ``ValueError`` if the line does not contain a log record."""
    if len(line) > LINE_BYTES_MAX:
        raise ValueError("too long")
    try:
        fields = json.loads(line.decode("utf-8", "surrogatepass"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("extra"), dict):
        raise ValueError("not an object")  # noqa: TRY004 - every invalid line raises ValueError
    attributes: dict[str, Any] = {name: _checked(name, fields.get(name)) for name in _TYPES}
    for name in _TEXTS:
        attributes[name] = fields.get(name)
        if not isinstance(attributes[name], (str, type(None))):
            raise ValueError(name)  # noqa: TRY004
    attributes["msg"] = attributes["msg"] or ""
    if not 0 <= attributes["created"] < 1e11:  # a log formatter could not show this time as a date
        raise ValueError("created")
    extra = {
        name: value
        for name, value in fields["extra"].items()
        if name not in _STANDARD_ATTRIBUTES and not hasattr(logging.LogRecord, name)
    }
    return logging.makeLogRecord({**extra, **attributes, "processName": process_name})


def _checked(name: str, value: Any) -> Any:
    if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
        raise ValueError(name)  # noqa: TRY004
    if isinstance(value, str) and len(value) > _NAME_CHARS_MAX:
        raise ValueError(name)
    if isinstance(value, (int, float)) and not abs(value) < _NUMBERS_MAX:  # the condition is also true for NaN
        raise ValueError(name)
    return value
