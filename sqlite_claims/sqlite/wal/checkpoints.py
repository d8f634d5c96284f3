"""Checkpoints: a thread with its own connection copies the -wal back into the database, so that no claim waits for it.

A checkpoint waits for a sync of the disk. A passive one delays no other connection, but while another process writes
steadily it never reaches the end of the -wal, which would grow for ever. So, past a size limit, one RESTART takes the
write lock for the few frames that a passive one has just left, and the next commit starts at the front again.

There is no timer: without commits nothing runs. A lock lets one process at a time do it.
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

# Frames (pages of 2 KiB in a file that a store created) since the last checkpoint after which another one is due.
PASSIVE_FRAMES = 4000
# Frames in the -wal after which it has to start over.
RESTART_FRAMES = 16_000
# If more frames are not copied back yet, checkpoints have failed, or have been delayed, for a long time.
BEHIND_FRAMES = 32_000
# How long a RESTART may hold the write lock while it waits for readers, which wake no waiting process.
RESTART_WAIT_S = 0.01


class Checkpointer:
    """Runs the checkpoints of one store. ``committed`` is called after each commit; the thread does the rest."""

    def __init__(
        self,
        path: str,
        open_connection: Callable[[], apsw.Connection],
        sessions: SessionFile,
        ring_writer: Callable[[], None],
        wal: WalSync,
    ) -> None:
        """``path``: for messages. ``open_connection``: opens the thread's connection; called in the thread.
        ``ring_writer``: called when the write lock, which a RESTART takes, is free again. ``wal``: knows failed
        syncs."""
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
        """The error of the last checkpoint; ``None`` if it succeeded."""

    def committed(self, frames: int) -> None:
        """Note how long the -wal is now."""
        if frames < self._next:
            if frames < self._next - 2 * PASSIVE_FRAMES:  # the -wal has started over
                self._next = PASSIVE_FRAMES
            return
        self._next = frames + PASSIVE_FRAMES
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sqlite-claims-checkpoints", daemon=True)
            try:
                self._thread.start()
            except Exception as error:  # noqa: BLE001 - a limit of threads, for example; the commit has taken effect
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
                # If another process runs a checkpoint, this one is not needed.
                with self._sessions.checkpointing() as free:
                    if free:
                        self._checkpoint(connection)
        except Exception as error:  # noqa: BLE001 - a full disk, for example; commits go on
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
            # The database may have to grow by as much before the next one.
            reserve.keep(self._path, min(frames, RESTART_FRAMES) * connection.pragma("page_size"))
            # If more is left than a moment's writes, a reader keeps it. Waiting for that reader would be in vain.
            if frames >= RESTART_FRAMES and frames - done < PASSIVE_FRAMES:
                try:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
                finally:
                    self._ring_writer()
        except apsw.BusyError:
            pass  # a reader takes long: the next checkpoint tries again
        self.last_error = None

    def abandon(self) -> None:
        """Let the thread end, without waiting for it, since nothing refers to the store any more."""
        self._stop = True
        self._wake.set()

    def close(self, wait: float | None = None) -> bool:
        """End the thread and its connection. Returns ``False`` if that takes longer than ``wait`` seconds; the thread
        then goes on."""
        thread = self._thread
        self._stop = True
        self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(wait)
            if thread.is_alive():
                self._stop = False
                return False
        return True
