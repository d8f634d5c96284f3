"""Lines of input: read as they come, named, and not kept.

A task is a line and its place among equal lines, so its name is the line's hash and that ordinal. What is remembered
of a line is 12 bytes in a table that is at most two thirds full.
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from ...errors import InvalidArgumentError

# What Linux lets one argument hold, its final NUL aside. Longer lines are kept to one byte more, which tells them.
LINE_BYTES_MAX = 131_071
_READ_BYTES = 65_536
_DIGEST_BYTES = 16
_SHARDS = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its ending, and its hash. ``data`` of a line over ``LINE_BYTES_MAX`` is its beginning only."""

    data: bytes
    digest: bytes


def line_digest(line: bytes) -> bytes:
    """What a line is known by."""
    return blake2b(line, digest_size=_DIGEST_BYTES).digest()


def task_name(digest: bytes, ordinal: int) -> str:
    """The task of the ``ordinal``-th (from 1) of the lines that have this hash."""
    return f"{digest.hex()}-{ordinal}"


def parse_task_name(task_id: str) -> tuple[bytes, int] | None:
    """The reverse of ``task_name``; ``None`` for a name that it didn't make."""
    digest, dash, ordinal = task_id.partition("-")
    try:
        found = bytes.fromhex(digest), int(ordinal)
    except ValueError:
        return None
    return found if dash and task_name(*found) == task_id else None


class Counts:
    """How often each digest has been counted, by its first 64 bits.

    Open addressing in plain arrays, because a dictionary takes some 100 bytes an entry. In shards, so that growing
    stops nobody for long. Two lines that share 64 bits count as equal here, which only makes an ordinal larger.
    """

    def __init__(self) -> None:
        self._shards = [_Shard() for _ in range(_SHARDS)]

    def add(self, digest: bytes) -> int:
        """Count it, and return how often it has been counted by now."""
        return self._shards[digest[0]].add(int.from_bytes(digest[:8], "big") or 1)

    def get(self, digest: bytes) -> int:
        """How often it has been counted."""
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
        slot = self._slot(key)
        if not self._keys[slot]:
            if 3 * (self._used + 1) > 2 * (self._mask + 1):
                self._grow()
                slot = self._slot(key)
            self._keys[slot] = key
            self._used += 1
        self._counts[slot] += 1
        return self._counts[slot]

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
    """Cuts what is read into lines; holds no more than one line, and of a very long one only its beginning.

    With ``delimiter`` newline, a carriage return before it belongs to the line's ending. Empty lines are no lines.
    """

    def __init__(self, delimiter: bytes = b"\n") -> None:
        self._delimiter = delimiter
        self._crlf = delimiter == b"\n"
        self._tail = b""
        self._long: Line | None = None
        self._hash = blake2b(digest_size=_DIGEST_BYTES)

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that end in ``data``."""
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
        if len(self._tail) > LINE_BYTES_MAX + 1:  # the one more may be a carriage return
            self._long = Line(self._tail[: LINE_BYTES_MAX + 1], b"")
            self._hash = blake2b(self._tail, digest_size=_DIGEST_BYTES)
            self._tail = b""

    def end(self) -> Iterator[Line]:
        """The line that ends here, if it is one."""
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
    """The lines of some open descriptors, one after the other. Reads only what is there, when it is asked."""

    def __init__(self, descriptors: Sequence[int], delimiter: bytes = b"\n", names: Sequence[str] = ()) -> None:
        self._descriptors = descriptors
        self._names = names
        self._current = 0
        self._splitter = Splitter(delimiter)
        self._lines: Iterator[Line] = iter(())
        self._ahead: Line | None = None

    def fileno(self) -> int:
        """What is being read now; -1 at the end. No descriptor is closed before ``close()``."""
        return self._descriptors[self._current] if self._current < len(self._descriptors) else -1

    @property
    def holds_lines(self) -> bool:
        """Whether lines that have been read wait to be taken."""
        return self._ahead is not None

    @property
    def at_end(self) -> bool:
        """Whether every line has been taken."""
        return self._ahead is None and self.fileno() < 0

    def take(self, limit: int) -> list[Line]:
        """Up to ``limit`` lines out of at most one read, which doesn't wait where the descriptor is ready. Raises
        ``InvalidArgumentError`` where it can't be read."""
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
    """Descriptors of all files (``-`` or none at all: standard input), opened now, so that a wrong name shows before
    anything has been done. Raises ``InvalidArgumentError``."""
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
