"""Pruning and backing up a store, and the part of check() that is about files."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import sys
from array import array
from collections.abc import Callable

import apsw

from ...errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    InvalidStateError,
    StoreClosedError,
    StoreUnavailableError,
)
from ..connection import descriptors_max
from ..database import Database
from ..error_translation import translate
from ..files.paths import SUFFIXES
from ..maintenance.long_read import LongRead
from ..rows import EndedInstance
from ..statements import sql

# Pages that a backup copies before it checks whether it has to stop: a few milliseconds.
PAGES_PER_STEP = 1000
# Tasks that are deleted in one transaction: a few milliseconds of the write lock.
TASKS_PER_STEP = 1000


def candidates(db: Database, before_wall: int, limit: int) -> list[EndedInstance]:
    """Return instances that ended before ``before_wall`` and that no process feeds."""
    assert db.sessions is not None
    fed = 0
    while True:
        ended = db.rows(sql.ended_before, before_wall, limit + fed)
        unfed = [instance for instance in ended if not db.is_fed(instance.id)]
        if len(unfed) >= limit or len(ended) < limit + fed:
            return unfed[:limit]
        fed = len(ended) - len(unfed)


def newest_token(db: Database, id: int) -> int:
    """Return the newest token of an instance's tasks. This reads them all.

    So call it in a transaction for each instance: one transaction over many would keep the -wal from being reset.
    """
    return db.value(sql.newest_token, id)


def prune_instance(db: Database, id: int, finished: int, token: int) -> bool:
    """Delete the row of an instance if it is unchanged since it was selected and no process feeds it.

    Its tasks are deleted in later steps. ``token``: the instance's newest. All later tokens are above it, so tasks that
    are added under the same names get none that was in use.
    """
    assert db.sessions is not None
    if not db.value(sql.still_ended, id, finished) or db.is_fed(id):
        return False
    db.execute(sql.raise_token_floor, (token,))
    db.execute(sql.drop_instance, (id,))
    db.execute(sql.add_pruned, (id,))
    return True


def remove_step(db: Database) -> bool:
    """Delete some tasks of a pruned instance; return ``False`` if no pruned instance is left."""
    rows = db.rows(sql.pruned)
    if not rows:
        return False
    ((instance,),) = rows
    ids = array("q", [id for (id,) in db.rows(sql.pruned_tasks, instance, TASKS_PER_STEP)])
    if ids:
        bound = apsw.carray(ids)
        statements = (sql.drop_inputs, sql.drop_outputs, sql.drop_errors, sql.drop_dependencies, sql.drop_tasks)
        for statement in statements:
            db.execute(statement, (bound,))
    if len(ids) < TASKS_PER_STEP:
        db.lanes.drop_own(db, instance)
        db.execute(sql.drop_pruned, (instance,))
    return True


def shrink_step(db: Database) -> bool:
    """Return some unused pages to the file system; return ``False`` if that freed none."""
    free = db.value(sql.freelist_count)
    if free:
        db.execute(sql.incremental_vacuum).fetchall()
    return db.value(sql.freelist_count) < free


def set_aging(db: Database, aging: int | None) -> None:
    """Set the aging interval in microseconds. No other stored value depends on it."""
    db.execute(sql.set_aging, (aging,))


def backup(db: Database, target: str) -> LongRead[None]:
    """Copy a snapshot to a new file, marked so that its first use lets its tokens leave the original's behind."""
    if db.store_closed:
        raise StoreClosedError(f"{db.path}: the store is closed")
    if os.path.exists(target):
        raise AlreadyExistsError(f"{target}: exists already; a backup does not overwrite")
    if not os.path.isdir(os.path.dirname(target)):
        raise StoreUnavailableError(f"{target}: there is no folder {os.path.dirname(target)}")
    if target in {db.path + suffix for suffix in SUFFIXES}:
        raise InvalidArgumentError(f"path must not be the name of a file of the store's own: {target}")
    if db.has_transaction():
        raise InvalidStateError("this thread has a transaction open: a backup can only hold what is committed")

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
    """Fill a file that nobody else knows of with a marked copy, whose tokens will also be above this. It is done in one
    step, or ``between`` is called after each of many; ``source`` must then have a transaction open, since every commit
    between two steps would start the copy over."""
    copy = apsw.Connection(new)
    # Triggers that somebody has put on our tables are copied, but not run.
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
    """A new file for what is to become ``target``; see ``make_new``."""
    made = f"{target}.{os.getpid()}-{next(_numbers)}.partial"  # two threads may be at it
    with contextlib.suppress(FileNotFoundError):
        os.unlink(made)  # of a process that was killed and had this number
    make_new(made, like)
    return made


def make_new(path: str, like: os.stat_result) -> None:
    """A new file with the permissions and, where root makes it, the owner of another; its owner may write to it."""
    mode = like.st_mode & 0o777 | 0o600
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode)
    with contextlib.suppress(OSError):  # some file systems have neither
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            os.fchown(descriptor, like.st_uid, like.st_gid)
    os.close(descriptor)


def sync_folder(path: str) -> None:
    """Let the names in this file's folder survive power loss."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def foreign_descriptors(path: str) -> list[str]:
    """Whether the standard library's driver seems to have the file open in this process, where closing it drops the
    locks of ours. Only where the kernel lists a process's descriptors."""
    if "_sqlite3" not in sys.modules:
        return []
    own = os.stat(path)
    number = 0
    for entry in glob.glob("/proc/self/fd/*"):
        try:
            status = os.stat(entry)
        except OSError:
            continue
        number += (status.st_dev, status.st_ino) == (own.st_dev, own.st_ino)
    if number <= descriptors_max(path):
        return []
    finding = (
        f"{path}: this process has {number} descriptors of it, more than its stores need: if the standard library's "
        "sqlite3 has it open too, closing that connection drops the locks of this one; give the store a file of its own"
    )
    return [finding]


def side_files(path: str) -> list[str]:
    """What the files beside the database tell."""
    findings: list[str] = []
    status = os.stat(path)
    mode = status.st_mode & 0o777
    for suffix in ("-wal", "-shm", "-sessions", "-bell", "-reserve"):
        try:
            own = os.stat(path + suffix).st_mode & 0o777
        except FileNotFoundError:
            continue
        if own != mode:
            findings.append(f"{path}{suffix}: permissions {own:o} differ from the database's {mode:o}")
    if status.st_nlink > 1:
        findings.append(f"{path}: has {status.st_nlink} names, each with another -wal: who uses two damages it")
    if has_journal(path):
        findings.append(f"{path}-journal: a rollback journal beside a database in WAL mode")
    return findings


def has_journal(path: str) -> bool:
    """Whether there is one that SQLite would heed: one that begins with a zero has ended, or a power cut came first."""
    try:
        with open(f"{path}-journal", "rb") as journal:
            return journal.read(1) not in (b"", b"\0")
    except FileNotFoundError:
        return False
    except OSError as error:
        raise translate(error, path) from error
