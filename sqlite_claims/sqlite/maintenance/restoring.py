"""Restoring a backup to the path of a store. Three errors must not happen: a process continues to use the old file,
SQLite uses an old -wal file with the new file, or the store issues the same token twice.

SQLite itself writes the backup into the file, in one transaction. When the transaction has ended, the data and the
names of the files are on the disk. No other process has the file open during the transaction. A rename would be unsafe.
A process that opens the old file at the time of the rename would then use a database file without a name. The process
would use this database file together with the new store's -wal file, because SQLite finds a -wal file by name.
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
    """Put a copy of a backup at ``path``, completely or not at all. The backup doesn't change.

    Raise ``AlreadyExistsError`` if anything is stored at ``path`` and ``replace`` is false. If ``replace`` is true, the
    copy replaces the store at ``path``, and later tokens are larger than all tokens that the replaced store has issued.
    Raise ``StoreBusyError`` if any process has the store at ``path`` open, for reading or writing. The first open of
    the restored store ends the claims in the backup, without a loss. The restored store issues tokens that are larger
    than the tokens of the store that was backed up. A restore temporarily needs twice the disk space of the backup.
    """
    source, target = store_path(backup), store_path(path)
    if not check_place(source, create=True):
        raise StoreUnavailableError(f"{source}: file not found")
    existed = check_place(target, create=True)
    if existed and os.path.samefile(source, target):
        raise InvalidArgumentError(f"{target}: path is the backup itself; a backup is a store already, so open it")
    if has_content(target) and not replace and not os.path.exists(f"{target}-journal"):  # left by a killed restore
        raise _stored_already(target)
    if not has_content(target) and has_content(f"{target}-wal"):
        raise AlreadyExistsError(
            f"{target}-wal: left by a store that was removed, and may contain the last "
            "commits of that store; move it away first"
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
    """Open the backup for reading. If the backup was never used as a store, create no -wal or -shm file next to the
    backup."""
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
    """Raise an error if the file is in use, or if the file contains data. If ``replace`` is true, the file may contain
    a store, but no other data. Return the file's token floor."""
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
    """Open the file, and prevent all other processes from opening the file until the end of the ``with`` block. Create
    a missing file. Yield the connection and the file's token floor."""
    forks.check(target)
    made = not os.path.exists(target)
    if made:
        make_new(target, like)
    done = False
    hold = _Hold(target)
    try:
        connection = hold.connection = connect(target, create=False, read_only=False, busy_timeout=0)
        _judge(connection, target, replace)  # raises an error before anything is changed
        connection.execute(sql.synchronous_full)
        connection.execute(sql.locking_mode_exclusive)
        try:
            # SQLite refuses this change while a different process is connected. After the change, the content of the
            # -wal file is in the database, and the -wal file is deleted.
            connection.pragma("journal_mode", "delete")
            connection.execute(sql.begin_exclusive)
            connection.execute(sql.commit)  # in exclusive locking mode, the lock remains held after the commit
        except apsw.BusyError as error:
            raise StoreBusyError(f"{target}: in use; end whatever has it open first") from error
        floor = _judge(connection, target, replace)
        for suffix in ("-wal", "-shm"):  # leftovers of an earlier file at this path; their data is not needed
            with suppress(FileNotFoundError):
                os.unlink(target + suffix)
        yield connection, floor
        done = True
    finally:
        if made and not done:
            _remove(target)  # if the removal fails, an empty file remains, and the next restore fills the file
        hold.close()


def _remove(path: str) -> None:
    """Remove a file at the end of a restore. A failure is only logged, since the failure doesn't change the result of
    the restore."""
    try:
        os.unlink(path)
    except OSError as error:
        log.warning("%s: left behind, since it cannot be removed (%s)", path, error.strerror)


class _Hold:
    """The connection of a restore, registered with ``forks``. If a fork copies the open connection, the child can never
    use the file."""

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
