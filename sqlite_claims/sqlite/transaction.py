"""``store.transaction()``: one transaction for several operations and for the caller's own SQL in the same file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from ..errors import InvalidStateError, StoreBusyError, StoreClosedError
from .database import Database
from .long_transaction import LongTransaction

P = ParamSpec("P")
T = TypeVar("T")


class CallerTransaction:
    """A transaction that the caller begins and ends. Only the thread that began the transaction may use it."""

    def __init__(self, db: Database, timeout_s: float) -> None:
        self._db = db
        self._open = LongTransaction(db)
        self._timeout_s = timeout_s
        self._thread = 0
        self.deadline = 0.0
        self._over = ""  # the reason why no further call is accepted

    def begin(self) -> None:
        """Take the write lock."""
        if self._thread:
            raise InvalidStateError("a transaction can be entered only once")
        self.deadline = time.monotonic() + self._timeout_s
        self._thread = threading.get_ident()
        try:
            self._open.begin(self._timeout_s)
        except BaseException:
            self._thread = 0
            raise

    def __del__(self) -> None:
        # The transaction may still be open, because a signal handler raised an exception in ``begin`` or in ``end``.
        if (transaction := getattr(self, "_open", None)) is not None:
            transaction.abandon()

    def end(self, *, commit: bool) -> None:
        """End the transaction. Raise an error if ``commit`` is true and the transaction could not be committed."""
        if threading.get_ident() != self._thread:
            raise InvalidStateError("only the thread that entered a transaction can use it")
        over, self._over = self._over, self._over or "the transaction has ended"
        if self._db.store_closed:
            if commit:
                self._open.end(commit=False)  # raises an error with the reason
            return
        is_late = not over and self._time_is_up()
        can_commit = commit and not over and not is_late and self._open.is_open
        self._open.end(commit=can_commit)
        if not commit or can_commit:
            return
        if is_late:
            raise self._too_long()
        if over:
            raise (StoreBusyError if over.startswith("held") else InvalidStateError)(over)
        raise InvalidStateError("SQLite rolled back the transaction because of the caller's own SQL")

    def _too_long(self) -> StoreBusyError:
        return StoreBusyError(f"held the writer for more than {self._timeout_s:g} s, so it was rolled back")

    def _time_is_up(self) -> bool:
        return time.monotonic() > self.deadline

    def _end_early(self) -> StoreBusyError:
        error = self._too_long()
        self._over = str(error)
        self._db.undo()
        return error

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError(
                "a transaction can be used only within its with block, and only in the thread that entered the block"
            )
        if self._over:
            raise (StoreBusyError if self._over.startswith("held") else InvalidStateError)(self._over)
        if self._time_is_up():
            raise self._end_early()
        if not self._open.is_open:
            if self._db.store_closed:
                raise StoreClosedError(
                    "this process was forked during the transaction, which only the parent process can use"
                )
            self._over = "SQLite rolled back the transaction because of the caller's own SQL"
            raise InvalidStateError(self._over)

    def write(
        self, operation: Callable[Concatenate[Database, P], T], _durable: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run an operation within the transaction. The store syncs after the commit of the whole transaction."""
        self._check()
        return self._open.run(operation, *args, **kwargs)

    def read(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an operation that only reads, within the transaction."""
        self._check()
        return self._open.run(operation, *args, **kwargs)

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run the caller's own SQL."""
        self._check()
        interrupted = False

        def time_is_up() -> bool:
            nonlocal interrupted
            interrupted = self._time_is_up()
            return interrupted

        try:
            return self._open.execute(sql, params, time_is_up)
        except Exception as error:
            if interrupted:
                raise self._end_early() from error
            raise
