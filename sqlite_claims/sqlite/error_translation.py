"""The translation of SQLite's exceptions into the store's exceptions. No exception of SQLite reaches the caller."""

from __future__ import annotations

import contextlib
import errno
import logging

import apsw

from ..errors import (
    BackendError,
    InvalidArgumentError,
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreFullError,
    StoreUnavailableError,
)

log = logging.getLogger("sqlite_claims.storage")

_KINDS: list[tuple[tuple[type[apsw.Error], ...], type[BackendError], str]] = [
    ((apsw.BusyError, apsw.LockedError), StoreBusyError, "another writer holds the file's write lock"),
    ((apsw.ProtocolError,), StoreBusyError, "too many processes accessed the file at the same moment"),
    ((apsw.FullError,), StoreFullError, "the disk is full"),
    ((apsw.NotADBError,), StoreCorruptError, "the file is not an SQLite database"),
    ((apsw.CorruptError,), StoreCorruptError, "the file is damaged"),
    ((apsw.CantOpenError, apsw.PermissionsError), StoreUnavailableError, "the file cannot be opened"),
    ((apsw.ReadOnlyError,), StoreUnavailableError, "the file cannot be written"),
    ((apsw.IOError,), StoreUnavailableError, "the file cannot be read or written"),
    ((apsw.TooBigError,), InvalidArgumentError, "a value is larger than SQLite can store"),
    ((apsw.ConnectionClosedError,), StoreClosedError, "the store is closed"),
    ((apsw.NoMemError,), BackendError, "out of memory"),
    # These errors come from the store's own statements, and only a damaged file causes them.
    (
        (apsw.SQLError, apsw.ConstraintError, apsw.MismatchError),
        StoreCorruptError,
        "contains values that no store writes",
    ),
]
_REFUSED = (
    "the commit was refused, and none of its changes are stored. If this program sets a commit hook with "
    "apsw.connection_hooks, the hook has refused the commit. Otherwise the C core has, because it could not verify "
    "that an earlier commit was written correctly: run check(), and please report the problem "
    "(SQLITE_CLAIMS_PLAIN_WAL=1 turns this verification off)"
)
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""The error numbers of a full disk, of a used-up quota, and of this process's limit on the size of a file."""


TRANSLATED = (apsw.Error, OSError, LookupError, ArithmeticError, ValueError, TypeError)
"""The exceptions that become a ``BackendError``: the exceptions of SQLite, of the operating system, and of Python for
column values that an undamaged store never contains."""


def translate(error: BaseException, path: str, system_errno: int = 0, culprit: str = "") -> BackendError:
    """Return the ``BackendError`` for an exception. ``system_errno``: the operating system's last error number on the
    connection, which shows a full disk when SQLite reports only that I/O failed. ``culprit``: a description of the
    value in the file that caused the exception."""
    if culprit:
        return StoreCorruptError(f"{path}: {culprit} ({type(error).__name__}: {error})")
    if not isinstance(error, (apsw.Error, OSError)):
        return StoreCorruptError(f"{path}: contains values that no store writes ({type(error).__name__}: {error})")
    if isinstance(error, OSError):
        kind = StoreFullError if error.errno in DISK_FULL else StoreUnavailableError
        return kind(f"{error.filename or path}: {error.strerror or error}")
    # If SQLite can't extend the -shm file, SQLite reports only SQLITE_IOERR_SHMSIZE, and not the reason.
    full = system_errno in DISK_FULL or getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE
    if isinstance(error, (apsw.IOError, apsw.CantOpenError)) and full:
        return StoreFullError(f"{path}: the disk is full ({error})")
    if getattr(error, "extendedresult", 0) == apsw.SQLITE_CONSTRAINT_COMMITHOOK:
        return BackendError(f"{path}: {_REFUSED}")
    for kinds, ours, meaning in _KINDS:
        if isinstance(error, kinds):
            return ours(f"{path}: {meaning} ({error})")
    return BackendError(f"{path}: {type(error).__name__}: {error}")


def log_after_commit(path: str, message: str, error: BaseException) -> None:
    """Log an error that occurred after a commit. The caller's operation has taken effect, so this function raises no
    exception, even if a logging handler of the program raises one."""
    with contextlib.suppress(Exception):
        # A traceback is useful only for unexpected errors.
        expected = isinstance(error, (BackendError, apsw.Error, OSError))
        trace = None if expected else error
        log.warning("%s: %s (%s: %s)", path, message, type(error).__name__, error, exc_info=trace)
