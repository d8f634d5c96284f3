"""What commands print, passed on whole line by whole line."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import tempfile
from collections.abc import Callable
from typing import IO

from .signals import Signals

# More of an unfinished line than this waits in a temporary file.
_HELD_BYTES_MAX = 1 << 20
_READ_BYTES = 1 << 16
# What a pipe can hold at the most without privileges: all that a command can have left in one.
_PIPE_BYTES_MAX = 1 << 20


class Sink:
    """One of our own outputs. What is written after an ``error`` (its reader has gone, the disk is full) is dropped."""

    def __init__(self, descriptor: int, signals: Signals, before_write: Callable[[], None] | None = None) -> None:
        """``before_write`` clears the way where a progress bar stands on the same terminal."""
        self._descriptor = descriptor
        self._signals = signals
        self._before_write = before_write
        status = os.fstat(descriptor)
        self._is_file = stat.S_ISREG(status.st_mode)
        self._has_written = self._to_sync = self._cannot_sync = False
        self.began_empty = self._is_file and status.st_size == 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> bool:
        """Write all of it, however long the reader takes, and return whether it could be written. A second interrupt
        meanwhile raises ``Interrupted``."""
        if self.error is not None or not data:
            return self.error is None
        if self._before_write is not None:
            self._before_write()
        if self._is_file:
            if not self._has_written and _ends_within_a_line(self._descriptor):
                data = b"\n" + data
            self._has_written = self._to_sync = True
        rest = memoryview(data)
        with self._signals.raising():
            while rest:
                try:
                    rest = rest[os.write(self._descriptor, rest) :]
                except BlockingIOError:  # somebody made the terminal or pipe that we share non-blocking
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
                except OSError as error:
                    self.error = error
                    return False
        return True

    def sync(self) -> bool:
        """Let what was written survive a power cut, where it is a file, and return whether that could be done: some
        file systems tell only now that there is no room."""
        if self._to_sync and not self._cannot_sync:
            try:
                os.fsync(self._descriptor)
                self._to_sync = False
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # nothing that can be synced
                    self.error, self._cannot_sync = error, True
        return not self._cannot_sync


def _ends_within_a_line(descriptor: int) -> bool:
    """Whether a file that is appended to ends within a line, as a killed process or a power cut may leave it."""
    try:
        size = os.fstat(descriptor).st_size
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND and os.lseek(descriptor, 0, os.SEEK_CUR) != size:
            return False
        # Opened anew, since ours may be for writing alone.
        with open(f"/dev/fd/{descriptor}", "rb", buffering=0) as file:
            return size > 0 and os.pread(file.fileno(), 1, size - 1) not in (b"\n", b"")
    except OSError:
        return False


class Relay:
    """One output of one command: its whole lines go to the sink, its first or last bytes are kept as well."""

    def __init__(self, descriptor: int, sink: Sink, *, keep_first: int = 0, keep_last: int = 0) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._sink = sink
        self._keep_first = keep_first
        self._keep_last = keep_last
        self._line = bytearray()  # the unfinished line, or what of it came after that in the file
        self._file: IO[bytes] | None = None
        self.kept = bytearray()
        self.at_end = False
        self.is_written = True  # whether all that was read has been written, and nothing was left unread

    def fileno(self) -> int:
        """Where it reads from; -1 once closed."""
        return self._descriptor

    def pump(self) -> bool:
        """Pass on what is there, in one read. ``False`` where nothing is, for now or ``at_end``."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.at_end = True
            return False
        self._keep(data)
        end = data.rfind(b"\n") + 1
        if end:
            self._flush(data[:end])
        self._hold(data[end:])
        return True

    def drain(self) -> None:
        """Pass on all that the command left behind when it ended."""
        for _ in range(_PIPE_BYTES_MAX // _READ_BYTES):
            if not self.pump():
                return

    def close(self) -> None:
        """Read no more; a last line without an ending gets one. Selectors must have let go of it before: a command that
        is being started has the descriptor for a moment, so that closing it here doesn't end it for them."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._line or self._file is not None:
                self._flush(b"\n")

    def abandon(self) -> None:
        """Read no more and forget the unfinished line."""
        self.is_written = self.is_written and self._descriptor < 0
        self._line.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.close()

    def _keep(self, data: bytes) -> None:
        if self._keep_last:
            self.kept += data
            if len(self.kept) > 2 * self._keep_last + _READ_BYTES:
                del self.kept[: -self._keep_last]
        elif len(self.kept) < self._keep_first:
            self.kept += data[: self._keep_first - len(self.kept)]

    def _hold(self, data: bytes) -> None:
        self._line += data
        if len(self._line) <= _HELD_BYTES_MAX:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # ends with the line
            while self._line:
                del self._line[: self._file.write(self._line)]
        except OSError:  # no room for it: better in pieces than not at all
            self._flush(b"")

    def _flush(self, end: bytes) -> None:
        if self._file is not None:
            self._file.seek(0)
            while piece := self._file.read(_READ_BYTES):
                self._write(piece)
            self._file.close()
            self._file = None
        self._write(bytes(self._line) + end if self._line else end)
        self._line.clear()

    def _write(self, data: bytes) -> None:
        before, self.is_written = self.is_written, False  # and so it stays where an interrupt comes in between
        self.is_written = self._sink.write(data) and before
