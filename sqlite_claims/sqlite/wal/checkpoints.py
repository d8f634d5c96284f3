"""Checkpoints off the claim path: a thread with a connection of its own copies the -wal back into the database.

A checkpoint stalls whoever runs it for a sync of the disk. Passive ones hold up nobody else, but under a steady writer
they never reach the end of the -wal, so it would only grow: past a bound one RESTART takes the writer's lock for what
little a passive one has just left, and the next commit starts at the front again.

There is no timer: without commits nothing runs. One process at a time does it, by a lock.
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

# Frames (pages of 2 KiB, where the file is ours) since the last checkpoint that make another one worth while.
PASSIVE_FRAMES = 4000
# Frames in the -wal past which it has to start over.
RESTART_FRAMES = 16_000
# Frames not copied back yet that tell of checkpoints that fail, or are held up, for long.
BEHIND_FRAMES = 32_000
# How long a RESTART may hold the writer's lock while it waits for readers, who ring for nobody.
RESTART_WAIT_S = 0.01


class Checkpointer:
    """The maintenance of one store's -wal. ``committed`` is called after each commit; its thread does the rest."""

    def __init__(
        self,
        path: str,
        open_connection: Callable[[], apsw.Connection],
        sessions: SessionFile,
        let_go: Callable[[], None],
        wal: WalSync,
    ) -> None:
        """``path``: for messages. ``open_connection``: makes the thread's own; called in the thread. ``let_go``: called
        when the writer's lock, which a RESTART takes, is free again. ``wal``: knows of syncs that failed."""
        self._path = path
        self._open_connection = open_connection
        self._sessions = sessions
        self._let_go = let_go
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
            if frames < self._next - 2 * PASSIVE_FRAMES:  # it has started over
                self._next = PASSIVE_FRAMES
            return
        self._next = frames + PASSIVE_FRAMES
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sqlite-claims-checkpoints", daemon=True)
            try:
                self._thread.start()
            except Exception as error:  # noqa: BLE001 - at a limit of threads, say; what was committed is
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
                # Another process at it makes this one superfluous.
                with self._sessions.checkpointing() as free:
                    if free:
                        self._checkpoint(connection)
        except Exception as error:  # noqa: BLE001 - a full disk, say; commits go on
            self._wal.note(error)
            self._failed("a checkpoint failed; it is tried again when the -wal has grown further", error)
        finally:
            if connection is not None:
                with contextlib.suppress(Exception):
                    connection.close(True)

    def _checkpoint(self, connection: apsw.Connection) -> None:
        try:
            if self._wal.is_marked():  # the database must never be newer than what the disk has of the -wal
                recover(self._wal, connection)
                self._let_go()
            frames, done = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            # The database may have to grow by as much before the next one.
            reserve.keep(self._path, min(frames, RESTART_FRAMES) * connection.pragma("page_size"))
            # More left than a moment's writes is kept by a reader, which would be waited for in vain.
            if frames >= RESTART_FRAMES and frames - done < PASSIVE_FRAMES:
                try:
                    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
                finally:
                    self._let_go()
        except apsw.BusyError:
            pass  # a long reader: the next one tries again
        self.last_error = None

    def abandon(self) -> None:
        """Make the thread end by itself, since nothing refers to the store any more."""
        self._stop = True
        self._wake.set()

    def close(self, wait: float | None = None) -> bool:
        """End the thread and its connection. ``False`` where it was not done after ``wait`` seconds, and goes on."""
        thread = self._thread
        self._stop = True
        self._wake.set()
        if thread is not None and thread.is_alive() and thread is not threading.current_thread():
            thread.join(wait)
            if thread.is_alive():
                self._stop = False
                return False
        return True
