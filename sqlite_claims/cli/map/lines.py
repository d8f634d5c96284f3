"""Lines of input and their task names. Lines are read as they arrive, and are not kept in memory.

Duplicate lines are separate tasks. Therefore a task's name consists of the hash of the line and a number that counts
equal lines. Each different line takes 12 bytes of memory, in a hash table that is at most two thirds full.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

from ...errors import InvalidArgumentError

# The longest argument on Linux, without the final NUL. A longer line is cut to one byte more than this, so that it is
# recognized as too long.
LINE_BYTES_MAX = 131_071
_READ_BYTES = 65_536
_DIGEST_BYTES = 16
_SHARDS = 256


@dataclass(frozen=True, slots=True)
class Line:
    """A line of input without the line ending, and the hash of the whole line.

    If the line is longer than ``LINE_BYTES_MAX``, ``data`` is only the beginning of the line.
    """

    data: bytes
    digest: bytes


class TaskNameParts(NamedTuple):
    """The parts of a task name: the hash of a line, and the number of this line among equal lines, from 1."""

    digest: bytes
    ordinal: int


def line_digest(line: bytes) -> bytes:
    """Return the hash that identifies a line."""
    return blake2b(line, digest_size=_DIGEST_BYTES).digest()


def task_name(digest: bytes, ordinal: int) -> str:
    """Return the task name of the ``ordinal``-th line with this hash, counted from 1."""
    return f"{digest.hex()}-{ordinal}"


def parse_task_name(task_id: str) -> TaskNameParts | None:
    """Split a task name into its parts. Return ``None`` if the function ``task_name`` never makes such a name."""
    digest, dash, ordinal = task_id.partition("-")
    try:
        parts = TaskNameParts(bytes.fromhex(digest), int(ordinal))
    except ValueError:
        return None
    return parts if dash and task_name(parts.digest, parts.ordinal) == task_id else None


def is_map_task(task_id: str) -> bool:
    """Return whether ``map`` has made the name of a task."""
    parsed = parse_task_name(task_id)
    return parsed is not None and len(parsed.digest) == _DIGEST_BYTES


class Counts:
    """A counter that counts how often each digest was added. Only the first 64 bits of two digests are compared.

    The counter is a hash table with open addressing in plain arrays, because a dictionary takes about 100 bytes per
    entry. The table is divided into shards, because enlarging one shard takes less time than enlarging the whole table.
    If the digests of two lines share their first 64 bits, the lines count as equal. The only effect is a larger number
    in a task name.
    """

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(_SHARDS)]

    def add(self, digest: bytes) -> int:
        """Add one occurrence of a digest, and return the number of occurrences of this digest so far."""
        return self._shards[digest[0]].add(int.from_bytes(digest[:8], "big") or 1)

    def put(self, digest: bytes, value: int) -> None:
        """Set the number that is stored for a digest."""
        self._shards[digest[0]].put(int.from_bytes(digest[:8], "big") or 1, value)

    def get(self, digest: bytes) -> int:
        """Return the number of occurrences of a digest so far."""
        return self._shards[digest[0]].get(int.from_bytes(digest[:8], "big") or 1)


class _Shard:
    __slots__ = ("_counts", "_keys", "_mask", "_used")

    def __init__(self) -> None:
        self._allot(16)

    def _allot(self, size: int) -> None:
        self._mask = size - 1
        self._used = 0
        self._keys = array("Q", bytes(8 * size))
        self._counts = array("I", bytes(4 * size))

    def _slot(self, key: int) -> int:
        keys, mask = self._keys, self._mask
        slot = key & mask
        while keys[slot] != key and keys[slot]:
            slot = (slot + 1) & mask
        return slot

    def get(self, key: int) -> int:
        return self._counts[self._slot(key)]

    def add(self, key: int) -> int:
        slot = self._reserve(key)
        self._counts[slot] += 1
        return self._counts[slot]

    def put(self, key: int, value: int) -> None:
        self._counts[self._reserve(key)] = value

    def _reserve(self, key: int) -> int:
        slot = self._slot(key)
        if not self._keys[slot]:
            if 3 * (self._used + 1) > 2 * (self._mask + 1):
                self._grow()
                slot = self._slot(key)
            self._keys[slot] = key
            self._used += 1
        return slot

    def _grow(self) -> None:
        keys, counts, used = self._keys, self._counts, self._used
        self._allot(2 * (self._mask + 1))
        self._used = used
        for key, count in zip(keys, counts, strict=True):
            if key:
                slot = self._slot(key)
                self._keys[slot] = key
                self._counts[slot] = count


class Splitter:
    """Splits data into lines, and drops empty lines.

    The splitter holds at most one line in memory, and only the beginning of a very long line. If the delimiter is a
    newline, a carriage return before the newline is removed, too.
    """

    def __init__(self, delimiter: bytes = b"\n") -> None:
        self._delimiter = delimiter
        self._crlf = delimiter == b"\n"
        self._tail = b""
        self._long: Line | None = None
        self._hash = blake2b(digest_size=_DIGEST_BYTES)

    def feed(self, data: bytes) -> Iterator[Line]:
        """Add data, and yield each line that is complete now, because its delimiter has arrived."""
        first, *rest = data.split(self._delimiter)
        self._append(first)
        for part in rest:
            yield from self.end()
            self._append(part)

    def _append(self, part: bytes) -> None:
        if self._long is not None:
            self._hash.update(part)
            return
        self._tail = self._tail + part if self._tail else part
        if len(self._tail) > LINE_BYTES_MAX + 1:  # one extra byte is allowed, because it may be a carriage return
            self._long = Line(self._tail[: LINE_BYTES_MAX + 1], b"")
            self._hash = blake2b(self._tail, digest_size=_DIGEST_BYTES)
            self._tail = b""

    def end(self) -> Iterator[Line]:
        """End the data. Yield the last line, which has no delimiter, unless the line is empty."""
        if self._long is not None:
            yield Line(self._long.data, self._hash.digest())
            self._long = None
            return
        tail, self._tail = self._tail, b""
        if self._crlf and tail.endswith(b"\r"):
            tail = tail[:-1]
        if tail:
            yield Line(tail, line_digest(tail))


class LineSource:
    """The lines of several open descriptors, which are read one after the other."""

    def __init__(self, descriptors: Sequence[int], delimiter: bytes = b"\n", names: Sequence[str] = ()) -> None:
        self._descriptors = descriptors
        self._names = names
        self._current = 0
        self._splitter = Splitter(delimiter)
        self._lines: Iterator[Line] = iter(())
        self._ahead: Line | None = None

    def fileno(self) -> int:
        """Return the descriptor that is being read, or -1 at the end. Only ``close`` closes descriptors."""
        return self._descriptors[self._current] if self._current < len(self._descriptors) else -1

    @property
    def holds_lines(self) -> bool:
        """True if there are lines that have been read but not yet returned by ``take``."""
        return self._ahead is not None

    @property
    def at_end(self) -> bool:
        """True if ``take`` has returned every line."""
        return self._ahead is None and self.fileno() < 0

    def take(self, limit: int) -> list[Line]:
        """Return up to ``limit`` lines. Read at most once. The call does not block if the descriptor is readable.

        Raises:
            InvalidArgumentError: The descriptor cannot be read.
        """
        if self._ahead is None and self.fileno() >= 0:
            self._read()
        taken: list[Line] = []
        while self._ahead is not None and len(taken) < limit:
            taken.append(self._ahead)
            self._ahead = next(self._lines, None)
        return taken

    def _read(self) -> None:
        try:
            data = os.read(self.fileno(), _READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            name = repr(self._names[self._current]) if self._names else "the input"
            raise InvalidArgumentError(f"cannot read {name}: {error.strerror}") from None
        if data:
            self._lines = self._splitter.feed(data)
        else:
            self._lines = self._splitter.end()
            self._current += 1
        self._ahead = next(self._lines, None)

    def close(self) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = ()


def open_inputs(paths: Sequence[str]) -> list[int]:
    """Open all input files, and return their descriptors.

    All files are opened at the start, so that a wrong name is reported before any task is stored.

    Args:
        paths: Paths of the files. ``-`` means standard input. An empty sequence also means standard input.

    Raises:
        InvalidArgumentError: A file cannot be opened.
    """
    descriptors: list[int] = []
    for path in paths or ["-"]:
        try:
            descriptors.append(os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            if stat.S_ISDIR(os.fstat(descriptors[-1]).st_mode):
                raise IsADirectoryError(0, "it is a folder")
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            raise InvalidArgumentError(f"cannot read {path!r}: {error.strerror}") from None
    return descriptors
