"""Keeping a file in shape: pruning, backing up, checking."""

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
from ..statements import sql

# Pages that a backup copies before it looks whether it has to stop: a few milliseconds.
PAGES_PER_STEP = 1000
# Tasks removed in one transaction: a few milliseconds of the write lock.
STEP = 1000


def candidates(db: Database, before_wall: int, limit: int) -> list[tuple[int, int]]:
    """Instances that ended before this and that nobody feeds: row and end."""
    assert db.sessions is not None
    fed = 0
    while True:
        rows = db.rows(sql.ended_before, before_wall, limit + fed)
        found = [(id, finished) for id, finished, _ in rows if not db.is_fed(id)]
        if len(found) >= limit or len(rows) < limit + fed:
            return found[:limit]
        fed = len(rows) - len(found)


def newest_token(db: Database, id: int) -> int:
    """The newest of an instance's tasks. It reads them all, so each instance has a snapshot of its own: one that stayed
    open over many would keep the -wal from starting over."""
    token: int = db.rows(sql.newest_token, id)[0][0]
    return token


def prune_instance(db: Database, id: int, finished: int, token: int) -> bool:
    """Let an instance disappear at once, if it is as it was seen and nobody feeds it; its tasks are removed in steps
    after that. Tasks that are added under the same names must not be given tokens that were in use."""
    assert db.sessions is not None
    if not db.rows(sql.still_ended, id, finished)[0][0] or db.is_fed(id):
        return False
    db.execute(sql.raise_token_floor, (token,))
    db.execute(sql.drop_instance, (id,))
    db.execute(sql.add_pruned, (id,))
    return True


def remove_step(db: Database) -> bool:
    """Remove some tasks of a pruned instance. ``False`` where there is none left."""
    rows = db.rows(sql.pruned)
    if not rows:
        return False
    ids = array("q", [id for (id,) in db.rows(sql.pruned_tasks, rows[0][0], STEP)])
    if ids:
        bound = apsw.carray(ids)
        statements = (sql.drop_inputs, sql.drop_outputs, sql.drop_errors, sql.drop_dependencies, sql.drop_tasks)
        for statement in statements:
            db.execute(statement, (bound,))
    if len(ids) < STEP:
        db.lanes.drop_own(db, rows[0][0])
        db.execute(sql.drop_pruned, (rows[0][0],))
    return True


def shrink_step(db: Database) -> bool:
    """Give some unused pages back to the file system. ``False`` where there is none (or the file isn't ours)."""
    free = db.rows(sql.freelist_count)[0][0]
    if free:
        db.rows(sql.incremental_vacuum)
    return bool(db.rows(sql.freelist_count)[0][0] < free)


def set_aging(db: Database, aging: int | None) -> None:
    """Waiting, in microseconds, that is worth one priority level. Nothing stored depends on it."""
    db.execute(sql.set_aging, (aging,))


def backup(db: Database, target: str) -> LongRead[None]:
    """Copy a snapshot to a new file, marked so that its first use lets its tokens leave the original's behind."""
    if db.is_closed():
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
