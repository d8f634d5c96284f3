"""The order of outputs with ``--keep-order``: outputs are held back until all earlier lines have ended."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterable

from .output import Writable

_MEMORY_BYTES_MAX = 1 << 16
_COPY_BYTES = 1 << 16


class HeldOutput:
    """One output of a command. The output is held back until ``release``, and then goes directly to the sink."""

    def __init__(self, sink: Writable) -> None:
        self._sink = sink
        self._file: tempfile.SpooledTemporaryFile[bytes] | None = tempfile.SpooledTemporaryFile(_MEMORY_BYTES_MAX)  # noqa: SIM115
        self.error: OSError | None = None

    def write(self, data: bytes, /) -> bool:
        """Write or hold back the data, and return whether that succeeded."""
        if self._file is None:
            return self._sink.write(data)
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
        return self.error is None

    def release(self) -> bool:
        """Write the data that was held back, and return whether that succeeded."""
        if self._file is None:
            return True
        file, self._file = self._file, None
        with file:
            file.seek(0)
            is_written = True
            while piece := file.read(_COPY_BYTES):
                is_written = self._sink.write(piece) and is_written
            return is_written

    def drop(self) -> None:
        """Forget the data that was held back."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Order:
    """The numbers of lines whose outputs are still to come, and the first of these numbers."""

    def __init__(self) -> None:
        self._expected = bytearray(1)  # one byte per number
        self._next = 1
        self.out_of_turn: deque[str] = deque()
        """Names of tasks that the store would offer later than their number says, since they were claimed before."""

    def expect(self, number: int) -> None:
        """Add a number whose output is to come."""
        if number >= len(self._expected):
            self._expected.extend(bytes(number + 1 - len(self._expected)))
        self._expected[number] = 1

    def settle(self, number: int) -> None:
        """Remove a number, because its output has been written, or does not come in this run."""
        if number < len(self._expected):
            self._expected[number] = 0

    def has_turn(self, number: int) -> bool:
        """Return whether the output of this number may be written now."""
        while self._next < len(self._expected) and not self._expected[self._next]:
            self._next += 1
        return number <= self._next

    def skip_to(self, numbers: Iterable[int]) -> None:
        """Stop waiting for numbers before the first of these ones."""
        self._next = max(self._next, min(numbers, default=self._next))
