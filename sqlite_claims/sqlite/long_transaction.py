"""The implementation of ``store.transaction()``: a transaction that stays open over several calls."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw

from ..errors import BackendError, InvalidArgumentError, InvalidStateError, StoreClosedError
from ..validate import shown
from . import forks, schema
from .authorizer import CallerSqlRules
from .database import Database, Rows
from .error_translation import TRANSLATED
from .statements import sql

P = ParamSpec("P")
T = TypeVar("T")

# The number of steps of SQLite's virtual machine between two checks of the caller's deadline. These steps take less
# than 1 ms.
_STEPS_PER_CHECK = 10_000


class LongTransaction:
    """A transaction that one thread has open. While the transaction is open, the thread holds the lock of the
    ``Database``."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.thread = 0
        """The id of the thread that began the transaction."""

    def begin(self, timeout: float) -> None:
        """Take the write lock. Wait for the lock for at most ``timeout`` seconds."""
        db = self._db
        db.acquire(timeout)
        try:
            db.refuse_writes()
            if db.in_call:
                raise InvalidStateError(f"{db.path}: called during another call of the same store")
            db.opened.set_busy_timeout(timeout)
            try:
                db.execute(sql.begin_write)
            finally:
                db.opened.set_busy_timeout(db.busy_timeout)
            self.thread = get_ident()
            db.transaction = self
        except BaseException as error:
            try:
                if db.transaction is None and not db.in_call:  # otherwise a different call is in progress
                    db.undo()
            finally:
                db.release()
            if isinstance(error, apsw.Error):
                raise db.translated(error) from error
            raise

    @property
    def is_open(self) -> bool:
        """True if the transaction is still open. The caller's own SQL may have made SQLite roll the transaction
        back."""
        db = self._db
        if not db.is_connected() and not db.store_closed:  # closed, because a call could not be undone
            return False
        return bool(db.connection.in_transaction)

    def run(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation within the transaction. If the operation raises an exception, only this operation is
        undone."""
        db = self._db
        forks.check(db.path)
        connection = db.connection
        db.refuse_reentry()
        try:
            db.execute(sql.savepoint)
            try:
                db.time.write(db.execute)
                result = operation(db, *args, **kwargs)
                if db.limits.touched:
                    db.limits.flush(db)
            except BaseException:
                db.lanes.forget()
                db.limits.forget()
                db.time.forget()
                self._undo_call(connection)
                raise
            db.execute(sql.savepoint_release)
            return result
        except BackendError:
            raise
        except TRANSLATED as error:
            raise db.translated(error, connection.system_errno if db.is_connected() else 0) from error
        finally:
            db.in_call = False

    def _undo_call(self, connection: apsw.Connection) -> None:
        """Undo the changes of one call. If this is impossible, roll back the whole transaction."""
        if not connection.in_transaction:
            return
        try:
            self._db.execute(sql.savepoint_rollback)
            self._db.execute(sql.savepoint_release)
        except apsw.Error:
            self._db.undo()

    def execute(self, statement: str, params: Any, time_is_up: Callable[[], bool]) -> Rows:
        """Run the caller's own SQL, checked by ``CallerSqlRules``. If the SQL fails, only this call is undone. SQLite
        interrupts the SQL as soon as ``time_is_up`` returns true."""
        db = self._db
        forks.check(db.path)
        connection = db.connection
        rules = CallerSqlRules()
        db.refuse_reentry()
        try:  # directly after refuse_reentry(), so that no signal handler raises an exception in between
            db.execute(sql.savepoint)
            try:
                rows = self._run_caller_sql(rules, statement, params, time_is_up)
            except BaseException as error:
                self._undo_call(connection)
                if rules.refused:
                    raise InvalidArgumentError(f"sql must not contain {rules.refused}: {shown(statement)}") from error
                raise
            if connection.in_transaction:
                db.execute(sql.savepoint_release)
            return rows
        finally:
            db.in_call = False

    def _run_caller_sql(
        self, rules: CallerSqlRules, statement: str, params: Any, time_is_up: Callable[[], bool]
    ) -> Rows:
        connection, authorizer = self._db.connection, self._db.authorizer
        connection.set_progress_handler(lambda: authorizer.caller_sql is not None and time_is_up(), _STEPS_PER_CHECK)
        authorizer.caller_sql = rules
        try:
            # Don't use the statement cache: the cache contains the store's own COMMIT, which the authorizer has already
            # permitted.
            rows = connection.execute(statement, params, can_cache=False).fetchall()
        finally:
            authorizer.caller_sql = None
            connection.set_progress_handler(None)
        if rules.changes_schema and connection.in_transaction:
            rules.refused = schema.forbidden_change(self._db.execute)
            if rules.refused:
                raise apsw.AuthError(rules.refused)
        return rows

    def abandon(self) -> None:
        """Roll back and end the transaction if this thread has the transaction open."""
        if self._db.transaction is self and self.thread == get_ident():
            self.end(commit=False)

    def end(self, *, commit: bool) -> None:
        """End the transaction, and release the lock of the ``Database``."""
        db = self._db
        if db.store_closed:
            raise StoreClosedError(
                f"{db.path}: this process was forked during the transaction, which only the parent process can use"
            )
        try:
            if commit:
                try:
                    db.execute(sql.commit)
                except apsw.Error as error:
                    db.files.sync.note(error)
                    raise db.translated(error, db.connection.system_errno) from error
                db.follow_up_commit()
        finally:
            try:
                db.undo()
            finally:
                db.transaction = None
                db.release()
        if commit and db.durable:
            db.make_durable()
        elif commit:
            db.check_files()
