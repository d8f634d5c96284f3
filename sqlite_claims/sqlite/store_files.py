"""The files of one open store: checks that the paths still lead to the opened files, and handles the loss of a file."""

from __future__ import annotations

import contextlib

import apsw

from ..errors import BackendError, StoreUnavailableError
from .error_translation import log, log_after_commit
from .open_files import OpenedFiles
from .sessions.owned_locks import InstanceFeed, SqliteWorkerSession
from .sessions.session_file import SessionFile
from .statements import sql
from .store_time import StoreTime
from .wal.durability import WalSync


class StoreFiles:
    """The database and the ``-wal``, ``-shm`` and ``-sessions`` files of one open store."""

    def __init__(self, path: str, *, read_only: bool, time: StoreTime) -> None:
        self._path = path
        self._read_only = read_only
        self._time = time
        self.sessions: SessionFile | None = None
        self.local_sessions: list[SqliteWorkerSession] = []
        """The worker sessions that this store has opened."""
        self.local_feeds: set[InstanceFeed] = set()
        """The instances that this store feeds."""
        self._loss: StoreUnavailableError | None = None
        self._start()

    def _start(self) -> None:
        self.opened = OpenedFiles(self._path)
        self.sync = WalSync(self._path, self.opened)
        self._sessions_unbegun = False  # true while a new -sessions file lacks the record of older sessions
        self._sessions_error = ""  # the last logged error of an attempt to create -sessions again

    def watch(self) -> None:
        """Record the files of a connection that has just been opened, and show other processes that the connection is
        open."""
        self.opened.watch(all=not self._read_only)
        if self.sessions is not None and not self._read_only:
            self.sessions.connected(True)

    # -- losses

    def raise_loss(self) -> None:
        """Raise the error of a recorded loss of files. If the database itself is lost, every call raises the error;
        otherwise only the first call does."""
        error = self._loss
        if error is not None:
            if not self.opened.database_lost:
                self._loss = None
            raise error

    def has_loss(self) -> bool:
        """Return whether ``raise_loss`` would raise an error."""
        return self._loss is not None

    def check_before_connecting(self) -> None:
        """Raise an error if a file was removed or replaced. Call this method, from any thread, before this process
        opens one more connection. A new connection would create the -wal file again. The commits in the lost -wal file
        could then no longer be saved."""
        loss = self._loss
        if loss is not None and self.opened.database_lost:
            raise loss
        self.opened.check()

    # -- before a connection is closed

    def save(self, connection: apsw.Connection) -> None:
        """Prepare a connection for closing, if its files were removed or replaced. Copy the commits that no other
        process can reach into the database. Also prevent SQLite from removing new files that have the names of the lost
        files."""
        try:
            self.opened.check()
        except StoreUnavailableError as error:
            saved = False
            # If the checkpoint fails, ``saved`` remains false, so the loss is recorded.
            with contextlib.suppress(apsw.Error):
                if not self._read_only and self.opened.is_ours_alone():
                    frames, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                    saved = frames == copied
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            if not saved and (self.opened.database_lost or not self._read_only):
                self._loss = error

    # -- the -sessions file

    def open_sessions(self) -> SessionFile:
        """Return the ``-sessions`` file. Open the file if the file is not open yet."""
        if self.sessions is None:
            self.sessions = SessionFile(self._path, read_only=self._read_only)
        return self.sessions

    def begin_sessions(self, connection: apsw.Connection) -> None:
        """Record in a new ``-sessions`` file which worker sessions are older than the file. Take the write lock, so
        that no process opens a session during the recording. If the write lock or disk space is not available, a later
        check writes the record."""
        assert self.sessions is not None
        self._sessions_unbegun = False
        if not self.sessions.is_new():
            return
        self._time.read(connection.execute)
        with contextlib.suppress(apsw.Error, OSError):
            connection.execute(sql.begin_write)
            try:
                newest = connection.execute(sql.newest_session).fetchall()[0][0]
                self.sessions.begin(int(str(newest)) + 1, self._time.now)
            finally:
                connection.execute(sql.rollback)
        self._sessions_unbegun = self.sessions.is_new()

    def check_sessions(self, connection: apsw.Connection) -> None:
        """Create the ``-sessions`` file again if the file was removed or replaced. Take this process's locks on the new
        file."""
        sessions = self.sessions
        if sessions is None:
            return
        if sessions.in_place():
            if self._sessions_unbegun:
                self.begin_sessions(connection)
            return
        try:
            sessions.reopen([*self.local_sessions, *self.local_feeds])
        except (OSError, BackendError) as error:
            # The caller's operation has taken effect, so the error is only logged. The next check tries to create the
            # file again.
            if repr(error) != self._sessions_error:
                self._sessions_error = repr(error)
                log_after_commit(self._path, "-sessions was removed or replaced, and cannot be created again", error)
            return
        self._sessions_error = ""
        if not self._read_only:
            self.sync.mark_failed()  # the removed file may have contained the mark of a failed sync
            self.begin_sessions(connection)
            log.warning("%s-sessions: was removed or replaced while the store was open; created again", self._path)

    def disconnected(self) -> None:
        """Show other processes that the connection is closed."""
        if self.sessions is not None:
            self.sessions.connected(False)

    def drop_sessions(self) -> None:
        """Close the ``-sessions`` file."""
        if self.sessions is not None:
            self.sessions.close()
            self.sessions = None

    def drop_local(self) -> None:
        """Release the locks of this store's worker sessions and feeds, but change nothing in the database."""
        for session in self.local_sessions:
            session.drop()
        for feed in self.local_feeds:
            feed.drop()

    def after_fork_in_child(self) -> None:
        """Drop the objects that belong to the parent."""
        self.drop_local()
        self.local_sessions.clear()
        self.local_feeds.clear()
        self.drop_sessions()
        database_lost = self.opened.database_lost
        self._start()
        self.opened.database_lost = database_lost
