"""Restoring a backup to the path of a store. Three things must not happen: a process goes on with the old file, an old
-wal is taken for the new file's, or a token is given a second time.

SQLite itself writes into the file, in one transaction, which is on the disk, names and all, when it has ended; and
no other process has the file open meanwhile. With a rename instead, a process that is just opening the old file would
keep a file without a name, and a -wal under the name of the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import apsw

from ...errors import (
    AlreadyExistsError,
    BackendError,
    InvalidArgumentError,
    StoreBusyError,
    StoreCorruptError,
    StoreUnavailableError,
)
from ...validate import store_path
from .. import forks, schema
from ..connection import connect, connect_to_file_alone
from ..error_translation import TRANSLATED, log, translate
from ..files.paths import check_place, has_content
from ..read_only import connect_to_read
from ..sessions.session_file import SessionFile
from ..statements import sql
from .backup import copy_to, make_beside, make_new


def restore(backup: str | os.PathLike[str], path: str | os.PathLike[str], *, replace: bool = False) -> None:
    """Put a copy of a backup at ``path``, whole or not at all; the backup stays as it is.

    ``AlreadyExistsError`` where anything is stored at ``path``, unless ``replace``: then the store there is gone, and
    tokens to come are larger than any that it gave. ``StoreBusyError`` where any process has it open, reading or
    writing. Opened for the first time after this, the store ends the claims that the backup holds, without a loss, and
    gives tokens larger than those that the backup's original gives. Takes twice the room that the backup does, for as
    long as it lasts.
    """
    source, target = store_path(backup), store_path(path)
    if not check_place(source, create=True):
        raise StoreUnavailableError(f"{source}: file not found")
    existed = check_place(target, create=True)
    if existed and os.path.samefile(source, target):
        raise InvalidArgumentError(f"{target}: path is the backup itself, which is a store already: open it")
    if has_content(target) and not replace and not os.path.exists(f"{target}-journal"):  # of one that was killed
        raise _stored_already(target)
    if not has_content(target) and has_content(f"{target}-wal"):
        raise AlreadyExistsError(
            f"{target}-wal: left by a store that is gone, and may hold its last commits; move it away first"
        )
    with _translated(source), closing(_open_backup(source)) as original:
        _check_store(original, source)
        with _translated(target), _alone(target, os.stat(source), replace) as (file, floor):
            partial = make_beside(target, os.stat(source))
            try:
                _check(original, source)
                copy_to(partial, original, floor)
                with closing(connect_to_file_alone(partial)) as copy, file.backup("main", copy, "main") as job:
                    job.step(-1)
            finally:
                _remove(partial)


@contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except TRANSLATED as error:
        if isinstance(error, BackendError):
            raise
        raise translate(error, path) from error


def _open_backup(source: str) -> apsw.Connection:
    """Open the backup for reading. If it was never used since it was made, no -wal or -shm is created next to it."""
    if has_content(f"{source}-wal") or os.path.exists(f"{source}-journal"):
        return connect_to_read(source, 1.0)[0]
    return connect_to_file_alone(source)


def _check_store(file: apsw.Connection, path: str) -> None:
    if schema.version_of(file) is None:
        raise StoreUnavailableError(f"{path}: an SQLite database without a claim store")
    schema.check(file, path, create=False, read_only=False)


def _check(original: apsw.Connection, source: str) -> None:
    found = [text for (text,) in original.execute(sql.integrity_check).fetchall() if text != "ok"]
    if found:
        raise StoreCorruptError(f"{source}: the backup is damaged ({found[0]})")


def _judge(file: apsw.Connection, target: str, replace: bool) -> int:
    """Refuse a file that is in use, or holds anything or, with ``replace``, anything but a store. Returns its floor of
    tokens."""
    with closing(SessionFile(target, read_only=True)) as sessions:
        if sessions.anyone_present():
            raise StoreBusyError(f"{target}: in use by a store, or by a command that a worker started; end them first")
    if not file.execute(sql.has_anything).fetchall()[0][0]:
        return 0
    if not replace:
        raise _stored_already(target)
    _check_store(file, target)
    return int(str(file.execute(sql.meta_token_floor).fetchall()[0][0]))


def _stored_already(target: str) -> AlreadyExistsError:
    return AlreadyExistsError(f"{target}: already exists; restore overwrites it only with replace=True")


@contextmanager
def _alone(target: str, like: os.stat_result, replace: bool) -> Iterator[tuple[apsw.Connection, int]]:
    """Open the file, created if it is missing, and keep all other processes from opening it until the end. Yields the
    connection and the floor of the file's tokens."""
    forks.check(target)
    made = not os.path.exists(target)
    if made:
        make_new(target, like)
    done = False
    hold = _Hold(target)
    try:
        connection = hold.connection = connect(target, create=False, read_only=False, busy_timeout=0)
        _judge(connection, target, replace)  # refuse before anything is changed
        connection.execute(sql.synchronous_full)
        connection.execute(sql.locking_mode_exclusive)
        try:
            # SQLite refuses this while another process is connected. Afterwards the -wal is in the file, and gone.
            connection.pragma("journal_mode", "delete")
            connection.execute(sql.begin_exclusive)
            connection.execute(sql.commit)  # which keeps the lock, in this locking mode
        except apsw.BusyError as error:
            raise StoreBusyError(f"{target}: in use; end whatever has it open first") from error
        floor = _judge(connection, target, replace)
        for suffix in ("-wal", "-shm"):  # of a file that was here before this one; empty, or remade from it
            with suppress(FileNotFoundError):
                os.unlink(target + suffix)
        yield connection, floor
        done = True
    finally:
        if made and not done:
            _remove(target)  # where that fails it stays empty, and the next restore fills it
        hold.close()


def _remove(path: str) -> None:
    """Remove a file at the end. A failure is only logged, since it doesn't change the result of the restore."""
    try:
        os.unlink(path)
    except OSError as error:
        log.warning("%s: left behind, since it cannot be removed (%s)", path, error.strerror)


class _Hold:
    """A connection that a fork must not copy: the child can never use the file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connection: apsw.Connection | None = None
        forks.register(self)

    def before_fork(self, wait: float) -> bool:  # noqa: ARG002
        return self.connection is None

    def after_fork_in_parent(self) -> None:
        pass

    def after_fork_in_child(self, usable: bool) -> None:
        if not usable and self.connection is not None:
            forks.leak(self.connection)

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close(True)
