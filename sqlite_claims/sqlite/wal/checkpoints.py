"""Checkpoints: a thread with its own connection copies the -wal file into the database, so that no claim has to wait
for a checkpoint.

A checkpoint takes long, because it includes a sync of the disk. A PASSIVE checkpoint delays no other connection. But
while another process writes steadily, a PASSIVE checkpoint never reaches the end of the -wal file, so the -wal file
would grow for ever. So, above a size limit, a RESTART checkpoint follows. The RESTART checkpoint holds the write lock
while SQLite copies the few frames that the PASSIVE checkpoint did not copy. The next commit then starts at the
beginning of the -wal file again.

There is no timer: without commits, no checkpoint runs. A file lock ensures that only one process at a time runs
checkpoints.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import apsw

from ..error_translation import log_after_commit
from ..files import reserve
from .durability import recover

if TYPE_CHECKING:
    from ..sessions.session_file import SessionFile
    from .durability import WalSync

# The number of new frames after which the next checkpoint is due. A frame contains one page, which has 2 KiB in a file
# that a store created.
PASSIVE_FRAMES = 4000
# If the -wal file has this number of frames or more, a RESTART checkpoint has to let the file start over from its
# beginning.
RESTART_FRAMES = 16_000
# If this number of frames or more are not yet copied into the database, checkpoints have failed, or have been delayed,
# for a long time.
BEHIND_FRAMES = 32_000
# The longest time for which a RESTART checkpoint may hold the write lock while the checkpoint waits for readers. (A
# reader that ends doesn't wake the waiting process.)
RESTART_WAIT_S = 0.01


class Checkpointer:
    """Runs the checkpoints of one store. The store calls ``committed`` after each commit. A thread runs the
    checkpoints."""

    def __init__(
        self,
        path: str,
        open_connection: Callable[[], apsw.Connection],
        sessions: SessionFile,
        ring_writer: Callable[[], None],
        wal: WalSync,
    ) -> None:
        """``path``: the store's path, for messages. ``open_connection``: the function with which the thread opens its
        connection. ``ring_writer``: a function to call when a RESTART checkpoint has released the write lock. ``wal``:
        the object that reads and sets the mark of failed syncs."""
        self._path = path
        self._open_connection = open_connection
        self._sessions = sessions
        self._ring_writer = ring_writer
        self._wal = wal
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stop = False
        self._next = PASSIVE_FRAMES
        self.last_error: Exception | None = None
        """The error of the last checkpoint; ``None`` if that checkpoint succeeded."""

    def committed(self, frames: int) -> None:
        """Record the present number of frames in the -wal file. Wake the thread if a checkpoint is due."""
        if frames < self._next:
            if frames < self._next - 2 * PASSIVE_FRAMES:  # the -wal file has started over
                self._next = PASSIVE_FRAMES
            return
        self._next = frames + PASSIVE_FRAMES
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sqlite-claims-checkpoints", daemon=True)
            try:
                self._thread.start()
            except Exception as error:  # noqa: BLE001 - for example, no thread can be started; the commit has taken effect
                self._failed("no thread could be started for a checkpoint; it is tried again later", error)

    def _failed(self, message: str, error: Exception) -> None:
        before, self.last_error = self.last_error, error
        if repr(before) != repr(error):
            log_after_commit(self._path, message, error)

    def _run(self) -> None:
        connection = None
        try:
            while True:
                self._wake.wait()
                if self._stop:
                    return
                self._wake.clear()
                if connection is None:
                    connection = self._open_connection()
                # If a different process runs a checkpoint, this process need not run a checkpoint.
                with self._sessions.checkpointing() as free:
                    if free:
                        self._checkpoint(connection)
        except Exception as error:  # noqa: BLE001 - for example a full disk; commits continue
            self._wal.note(error)
            self._failed("a checkpoint failed; it is tried again when the -wal has grown further", error)
        finally:
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close(True)

    def _checkpoint(self, connection: apsw.Connection) -> None:
        try:
            if self._wal.is_marked():  # the database must never be newer than the part of the -wal that is on the disk
                recover(self._wal, connection)
                self._ring_writer()
            frames, done = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            # The database may have to grow by this size before the next checkpoint.
            reserve.keep(self._path, min(frames, RESTART_FRAMES) * connection.pragma("page_size"))
            # If many frames are left, a reader prevents the checkpoint from copying these frames. A RESTART checkpoint
            # would wait for that reader in vain.
            if frames >= RESTART_FRAMES and frames - done < PASSIVE_FRAMES:
                try:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
                finally:
                    self._ring_writer()
        except apsw.BusyError:
            pass  # a reader takes a long time; the next checkpoint copies the frames
        self.last_error = None

    def abandon(self) -> None:
        """Make the thread end, but don't wait for the thread. This method is called after the last reference to the
        store is gone."""
        self._stop = True
        self._wake.set()

    def close(self, wait: float | None = None) -> bool:
        """End the thread, and close its connection. Return ``False`` if the thread doesn't end within ``wait`` seconds;
        the thread then continues to run."""
        thread = self._thread
        self._stop = True
        self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(wait)
            if thread.is_alive():
                self._stop = False
                return False
        return True
