"""Forwarding of the output of commands in whole lines."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import stat
import tempfile
from collections.abc import Callable
from typing import IO, Protocol

from .signals import Signals

# An unfinished line with more bytes than this is stored in a temporary file.
_BUFFER_BYTES_MAX = 1 << 20
_READ_BYTES = 1 << 16
# Size of the largest pipe that a process without privileges can create. When a command ends, its pipe contains at most
# this many unread bytes.
_PIPE_BYTES_MAX = 1 << 20


class Writable(Protocol):
    """An object that takes output."""

    def write(self, data: bytes, /) -> bool:
        """Write all of the data, and return whether the write succeeded."""


class Sink:
    """Standard output or standard error of ``map``.

    If ``error`` is set (for example after a closed pipe or a full disk), all further output is dropped.
    """

    def __init__(self, descriptor: int, signals: Signals, before_write: Callable[[], None] | None = None) -> None:
        """Create a sink. ``before_write`` is called before each write, to remove a progress bar from the
        terminal."""
        self._descriptor = descriptor
        self._signals = signals
        self._before_write = before_write
        status = os.fstat(descriptor)
        self._is_file = stat.S_ISREG(status.st_mode)
        self._has_written = self._to_sync = self._cannot_sync = False
        self.began_empty = self._is_file and status.st_size == 0
        self.error: OSError | None = None

    def write(self, data: bytes) -> bool:
        """Write all of the data, and return whether the write succeeded. If the reader is slow, the call waits without
        a time limit.

        Raises:
            Interrupted: A second interrupt arrived during the write.
        """
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
                except BlockingIOError:  # a different process made the shared descriptor non-blocking
                    poll = select.poll()
                    poll.register(self._descriptor, select.POLLOUT)
                    poll.poll()
                except OSError as error:
                    self.error = error
                    return False
        return True

    def sync(self) -> bool:
        """Sync the output file to disk, and return whether the sync succeeded.

        Some file systems report a full disk only at a sync.
        """
        if self._to_sync and not self._cannot_sync:
            try:
                os.fsync(self._descriptor)
                self._to_sync = False
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # the output is a pipe, for example
                    self.error, self._cannot_sync = error, True
        return not self._cannot_sync


def _ends_within_a_line(descriptor: int) -> bool:
    """Return whether output is appended to a file that ends with an unfinished line.

    After a killed process or a power cut, a file can end with such a line.
    """
    try:
        size = os.fstat(descriptor).st_size
        if not fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND and os.lseek(descriptor, 0, os.SEEK_CUR) != size:
            return False
        # The file is opened again, because the descriptor may be for writing only.
        with open(f"/dev/fd/{descriptor}", "rb", buffering=0) as file:
            return size > 0 and os.pread(file.fileno(), 1, size - 1) not in (b"\n", b"")
    except OSError:
        return False


class Relay:
    """A relay that passes one output of a command on to a sink in whole lines.

    The relay also stores an excerpt: the first or the last bytes of the output.
    """

    def __init__(
        self,
        descriptor: int,
        sink: Writable,
        *,
        keep_first: int = 0,
        keep_last: int = 0,
        tag: bytes = b"",
        copy: Writable | None = None,
    ) -> None:
        """Create a relay.

        Args:
            descriptor: The descriptor to read.
            sink: The sink of whole lines.
            keep_first: Size of the excerpt in bytes, from the beginning of the output.
            keep_last: Size of the excerpt in bytes, to the end of the output.
            tag: Text to write before each line.
            copy: A sink that gets the output unchanged.
        """
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._sink = sink
        self._keep_first = keep_first
        self._keep_last = keep_last
        self._tag = tag
        self._is_line_start = True
        self._copy = copy
        self.size = 0  # number of bytes read
        self._line = bytearray()  # the part of the unfinished line that is not in the temporary file
        self._file: IO[bytes] | None = None
        self.excerpt = bytearray()
        self.at_end = False
        self.is_written = True  # True if all output was read and written

    def fileno(self) -> int:
        """Return the descriptor that the relay reads, or -1 after ``close``."""
        return self._descriptor

    def pump(self) -> bool:
        """Read once, and pass the data on. Return ``False`` if no data can be read now, or if the output has ended."""
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.at_end = True
            return False
        self.size += len(data)
        self._add_to_excerpt(data)
        if self._copy is not None and not self._copy.write(data):
            self.is_written = False
        end = data.rfind(b"\n") + 1
        if end:
            self._flush(data[:end])
        self._buffer(data[end:])
        return True

    def drain(self) -> None:
        """After the command has ended, pass on all data that is left in the pipe."""
        for _ in range(_PIPE_BYTES_MAX // _READ_BYTES):
            if not self.pump():
                return

    def close(self) -> None:
        """Stop reading. A newline is added to an unfinished last line.

        Before this call, the caller must unregister the descriptor from all selectors. A command that is just being
        started has a copy of the descriptor for a moment, so a selector would still report the descriptor.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            if self._line or self._file is not None:
                self._flush(b"\n")

    def abandon(self) -> None:
        """Stop reading the command's output, and drop the unfinished line."""
        self.is_written = self.is_written and self._descriptor < 0
        self._line.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self.close()

    def _add_to_excerpt(self, data: bytes) -> None:
        if self._keep_last:
            self.excerpt += data
            if len(self.excerpt) > 2 * self._keep_last + _READ_BYTES:
                del self.excerpt[: -self._keep_last]
        elif len(self.excerpt) < self._keep_first:
            self.excerpt += data[: self._keep_first - len(self.excerpt)]

    def _buffer(self, data: bytes) -> None:
        self._line += data
        if len(self._line) <= _BUFFER_BYTES_MAX:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed at the end of the line
            while self._line:
                del self._line[: self._file.write(self._line)]
        except OSError:  # no space for the temporary file, so pass on the unfinished line in parts
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
        if self._tag and data:
            start = self._tag if self._is_line_start else b""
            self._is_line_start = data.endswith(b"\n")
            data = start + data[:-1].replace(b"\n", b"\n" + self._tag) + data[-1:]
        before, self.is_written = self.is_written, False  # if an interrupt ends the write, is_written stays False
        self.is_written = self._sink.write(data) and before
