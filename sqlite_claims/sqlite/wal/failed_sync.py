"""Failed syncs: a mark that all processes of a store read, and the recovery from a failed sync.

If the kernel can't write pages of a file, the kernel reports the failure once to each descriptor. Then the kernel
treats the pages as written, and no later sync writes these pages. A power cut would then undo later commits together
with the lost pages, even commits that were synced. A checkpoint could write pages to the database that the -wal file on
the disk does not contain. So the process whose sync fails sets a mark for the store. Until the frames have been written
again and synced, no process acknowledges a result or runs a checkpoint.

The failed sync may have been a sync of the database. SQLite syncs the database only at the end of a checkpoint that has
copied the whole -wal file. But SQLite counts pages as copied before that sync. So the next checkpoint has to copy all
pages again.

The mark is the first 16 bytes of the ``-sessions`` file. The first 8 bytes are a random number for the latest failure.
The other 8 bytes are the number of the latest failure from which a process has recovered. The mark remains if the
process is killed. Reading the mark costs one system call.
"""

from __future__ import annotations

import os
import struct
import time
from array import array
from contextlib import suppress

from ...errors import StoreUnavailableError
from ..open_files import descriptor_of
from ..sessions.locks import SUPPORTED, locked

_NUMBER_LEN = 8
# The layout of a -wal file, from SQLite's file format.
_HEADER = struct.Struct(">8I")  # magic, version, page size, sequence, salts, checksum
_FRAME_HEADER = struct.Struct(">6I")  # page, pages of the database, salts, checksum
_MAGIC = 0x377F0682  # the value is one larger if the checksums are computed from big-endian numbers
_CHUNK = 1 << 20
# The layout of a -shm file, from SQLite's file format: the number of frames that are copied into the database, and the
# byte that a checkpoint locks.
_COPIED = struct.Struct("=I")
_COPIED_AT, _CHECKPOINT_AT = 96, 121
_CHECKPOINT_WAIT_S = 60.0


class UnsyncedMark:
    """The mark of a failed sync for one store. The methods raise ``OSError`` if the file can't be read."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._descriptor = -1
        self._seen = b""  # the bytes of the mark at the last read
        self._unwritten = False  # true if a mark could not be written to the file

    def _read(self) -> bytes:
        if self._descriptor < 0:
            try:
                self._descriptor = os.open(f"{self._store}-sessions", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return b""
            self._seen = os.pread(self._descriptor, 2 * _NUMBER_LEN, 0)
        return os.pread(self._descriptor, 2 * _NUMBER_LEN, 0)

    def is_set(self) -> bool:
        """Return whether there is a failed sync from which no process has recovered yet."""
        seen = self._seen = self._read()
        return seen[:_NUMBER_LEN] != seen[_NUMBER_LEN:] or self._unwritten

    def set(self) -> bool:
        """Set the mark. Return whether a process has recovered from a failure since the mark was last read. That
        failure may be the failure that the kernel has just reported to this process."""
        self._unwritten = True
        with suppress(OSError):
            now = self._read()
            os.pwrite(self._descriptor, os.urandom(_NUMBER_LEN), 0)
            self._unwritten = False
            return self._seen[_NUMBER_LEN:] != now[_NUMBER_LEN:]
        return False

    def failure(self) -> bytes:
        """Return the number of the latest failure. Call this method before the recovery begins."""
        return self._read()[:_NUMBER_LEN]

    def clear(self, failure: bytes) -> None:
        """Record the recovery from a failure. If there was a later failure, the mark remains set."""
        os.pwrite(self._descriptor, failure, _NUMBER_LEN)
        self._unwritten = False

    def close(self) -> None:
        """Close the ``-sessions`` file. The next method call opens the ``-sessions`` file again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):  # other code in this process has closed the descriptor
                os.close(descriptor)


def copy_again(store: str) -> None:
    """Make the next checkpoint copy the -wal file into the database from the first frame on. Call this function only
    after a connection of this process has read from the store. On a platform without /proc, or without locks of open
    file descriptions, the function does nothing. A checkpoint then continues after the frames that SQLite has already
    copied."""
    descriptor = descriptor_of(f"{store}-shm")
    if descriptor < 0 or not SUPPORTED:
        return
    deadline = time.monotonic() + _CHECKPOINT_WAIT_S
    while True:
        with locked(descriptor, _CHECKPOINT_AT) as free:
            if free:
                os.pwrite(descriptor, _COPIED.pack(0), _COPIED_AT)
                return
        if time.monotonic() >= deadline:
            raise StoreUnavailableError(
                f"{store}: a sync failed, and the unsynced pages can't be written again, because a checkpoint has been "
                f"running for {_CHECKPOINT_WAIT_S:g} s; find out which process hangs in the checkpoint"
            )
        time.sleep(0.001)


def write_again(descriptor: int, path: str, frames: int) -> None:
    """Write the first ``frames`` frames to the -wal file again, so that the next sync writes these frames to the disk.
    The caller holds the write lock. Raise ``StoreUnavailableError`` if a frame can't be read or is not intact."""
    if not frames:
        return
    intact, end = _intact(descriptor, frames)
    if intact < frames:
        raise StoreUnavailableError(
            f"{path}: a sync failed, and only {intact} of {frames} pages can still be read as they were written, so "
            "the last commits are lost. Find out what is wrong with the disk, end all processes that have the store "
            "open, and restore a backup"
        )
    for at in range(0, end, _CHUNK):
        os.pwrite(descriptor, os.pread(descriptor, min(_CHUNK, end - at), at), at)


def _intact(descriptor: int, frames: int) -> tuple[int, int]:
    """Return how many of the first ``frames`` frames are intact, and the offset where the last intact frame ends. The
    checksum of a frame shows whether this frame and all earlier frames are intact."""
    header = os.pread(descriptor, _HEADER.size, 0)
    if len(header) < _HEADER.size:
        return 0, 0
    magic, _, page_size, _, salt_1, salt_2, *checksum = _HEADER.unpack(header)
    swap = (magic & 1 == 1) == (struct.pack("=I", 1) == struct.pack("<I", 1))
    if magic & ~1 != _MAGIC or _checksum(header[:24], (0, 0), swap) != tuple(checksum):
        return 0, 0
    running = (checksum[0], checksum[1])
    size = _FRAME_HEADER.size + page_size
    for number in range(frames):
        at = _HEADER.size + number * size
        frame = os.pread(descriptor, size, at)
        if len(frame) < size:
            return number, at
        *_, first, second, sum_1, sum_2 = _FRAME_HEADER.unpack_from(frame)
        running = _checksum(frame[:8] + frame[_FRAME_HEADER.size :], running, swap)
        if (first, second) != (salt_1, salt_2) or running != (sum_1, sum_2):
            return number, at
    return frames, _HEADER.size + frames * size


def _checksum(data: bytes, start: tuple[int, int], swap: bool) -> tuple[int, int]:
    """Return SQLite's checksum of data in a -wal file. ``start`` is the checksum of the preceding data."""
    words = array("I", data)
    if swap:
        words.byteswap()
    first, second = start
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
