"""Backups: a copy of one snapshot in a new file."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable

import apsw

from ...errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    StoreClosedError,
    StoreUnavailableError,
)
from ..database import Database
from ..error_translation import translate
from ..files.paths import SUFFIXES
from ..statements import sql
from .long_read import LongRead

# The number of pages that a backup copies at a time. After each copy, the backup checks whether the backup has to stop.
# Copying this number of pages takes a few milliseconds.
PAGES_PER_STEP = 1000


def backup(db: Database, target: str) -> LongRead[None]:
    """Copy a snapshot to a new file. The copy contains a mark. Because of the mark, a store that opens the copy issues
    tokens that are larger than the tokens of the original."""
    if db.store_closed:
        raise StoreClosedError(f"{db.path}: the store is closed")
    if os.path.exists(target):
        raise AlreadyExistsError(f"{target}: the file exists already, and a backup does not overwrite files")
    if not os.path.isdir(os.path.dirname(target)):
        raise StoreUnavailableError(f"{target}: there is no folder {os.path.dirname(target)}")
    if target in {db.path + suffix for suffix in SUFFIXES}:
        raise InvalidArgumentError(f"path must not be the name of one of the store's own files: {target}")
    if db.has_transaction():
        raise InvalidStateError(
            "this thread has a transaction open: a backup contains only committed data, so end the transaction first"
        )

    def copy(source: apsw.Connection, go_on: Callable[[], None]) -> None:
        made = make_beside(target, os.stat(db.path))
        try:
            copy_to(made, source, between=go_on)
            go_on()
            os.rename(made, target)
            try:
                sync_folder(target)
            except BaseException:
                os.unlink(target)
                raise
        finally:
            for suffix in ("", "-journal", "-wal", "-shm"):
                with contextlib.suppress(OSError):
                    os.unlink(made + suffix)

    return LongRead(db, copy)


def copy_to(new: str, source: apsw.Connection, token_floor: int = 0, between: Callable[[], None] | None = None) -> None:
    """Fill a new file, which no other process uses yet, with a marked copy of ``source``. The tokens that a store later
    issues for the copy are also larger than ``token_floor``. If ``between`` is ``None``, the copy is made in one step.
    Otherwise the copy is made in many steps, and ``between`` is called after each step. In this case, ``source`` must
    have a transaction open, since otherwise a commit between two steps would make the copy start over."""
    copy = apsw.Connection(new)
    # If the application has added triggers to the store's tables, the triggers are copied, but do not run.
    copy.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 0)
    try:
        with copy.backup("main", source, "main") as job:
            while not job.step(-1 if between is None else PAGES_PER_STEP):
                if between is not None:
                    between()
        copy.pragma("journal_mode", "delete")
        copy.execute(sql.synchronous_full)
        copy.execute(sql.mark_copy)
        copy.execute(sql.raise_token_floor, (token_floor,))
    except apsw.Error as error:
        raise translate(error, new, copy.system_errno) from error
    finally:
        copy.close(True)


_numbers = itertools.count()


def make_beside(target: str, like: os.stat_result) -> str:
    """Create a temporary file next to ``target``, for data that is later moved or copied to ``target``. Return the path
    of the temporary file. ``make_new`` creates the file."""
    made = f"{target}.{os.getpid()}-{next(_numbers)}.partial"  # two threads may create files at the same time
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made)  # a killed process with the same process id may have left this file
    make_new(made, like)
    return made


def make_new(path: str, like: os.stat_result) -> None:
    """Create a new file with the permissions of the file that ``like`` describes; the owner may always read and write.
    If root creates the new file, give the new file the owner of the described file."""
    mode = like.st_mode & 0o777 | 0o600
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with contextlib.suppress(OSError):  # some file systems don't support permissions and owners
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.close(descriptor)


def sync_folder(path: str) -> None:
    """Sync the folder of a file, so that the names in the folder survive power loss."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
