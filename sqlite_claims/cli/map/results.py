"""The files that ``--results`` writes: for each line a folder with the files ``stdout``, ``stderr`` and ``seq``."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ...errors import InvalidArgumentError
from .template import UnusableLineError

_NAME_BYTES_MAX = 255


def result_folder(root: str, columns: Sequence[bytes], ordinal: int) -> bytes:
    """Return the folder of a line's result: ``1/VALUE``, or ``1/VALUE/2/VALUE`` and so on with columns.

    As in GNU parallel, a backslash, a slash and a tab in a value become ``\\\\``, ``\\_`` and ``\\t``. A folder's name
    cannot be empty, ``.`` or ``..``, so these values become ``\\e``, ``\\.`` and ``\\..``. The second of two equal
    lines gets the suffix ``\\2``, and so on, so that no result replaces another.

    Raises:
        UnusableLineError: A value is too long for the name of a folder.
    """
    path = os.fsencode(root)
    for index, column in enumerate(columns, 1):
        name = column.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"/", b"\\_")
        if name in (b"", b".", b".."):
            name = b"\\" + (name or b"e")
        if index == len(columns) and ordinal > 1:
            name += b"\\%d" % ordinal
        if len(name) > _NAME_BYTES_MAX:
            raise UnusableLineError(f"the line is too long for the name of a folder ({_NAME_BYTES_MAX} bytes)")
        path = os.path.join(path, b"%d" % index, name)
    return path


class ResultFile:
    """One file of a line's result. After the first error, ``error`` is set, and nothing more is written."""

    def __init__(self, path: bytes) -> None:
        """Create the file, or empty the file of an earlier attempt. Raises ``OSError``."""
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self.error: OSError | None = None

    def write(self, data: bytes, /) -> bool:
        """Write all of the data, and return whether the write succeeded."""
        rest = memoryview(data)
        try:
            while rest and self.error is None:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, os.fsdecode(self._path))
        return self.error is None

    def finish(self, *, durable: bool) -> bool:
        """Close the file, after a sync if ``durable``, and return whether everything was written."""
        try:
            if durable and self.error is None:
                os.fsync(self._descriptor)
        except OSError as error:
            self.error = OSError(error.errno, error.strerror, os.fsdecode(self._path))
        os.close(self._descriptor)
        return self.error is None


class Result:
    """The files of one line's result."""

    def __init__(self, folder: bytes, number: int) -> None:
        """Create the folder and its files. Raises ``OSError``."""
        os.makedirs(folder, exist_ok=True)
        self._folder = folder
        self._files: list[ResultFile] = []
        try:
            for name in (b"stdout", b"stderr", b"seq"):
                self._files.append(ResultFile(os.path.join(folder, name)))
        except OSError:
            self.finish(durable=False)
            raise
        self.stdout, self.stderr, seq = self._files
        seq.write(b"%d" % number)

    @property
    def error(self) -> OSError | None:
        """The first error of a write."""
        return next((file.error for file in self._files if file.error is not None), None)

    def finish(self, *, durable: bool) -> bool:
        """Close all files, and return whether everything was written. With ``durable``, sync the files before."""
        are_written = [file.finish(durable=durable) for file in self._files]
        self._files = [file for file in self._files if file.error is not None]
        return all(are_written)


def check_results_folder(path: str) -> None:
    """Refuse a value of ``--results`` that has a different meaning in GNU parallel."""
    if path.endswith((".csv", ".tsv", ".json")) or "{" in path:
        raise InvalidArgumentError(
            f"--results {path!r}: give the name of a folder; files in CSV or JSON and names with placeholders are not "
            "supported"
        )
