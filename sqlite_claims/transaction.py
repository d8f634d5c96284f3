"""``store.transaction()``: several writes and the caller's own SQL in the same file, all or nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from .errors import InvalidArgumentError, InvalidStateError, StoreBusyError, StoreClosedError
from .interface import Transaction
from .operations import Operations
from .sqlite.database import Database

P = ParamSpec("P")
T = TypeVar("T")


class OpenTransaction(Operations, Transaction):
    """A transaction, from entering its ``with`` block to leaving it. Belongs to the thread that entered it."""

    def __init__(self, db: Database, timeout: float) -> None:
        self._db = db
        self._timeout = timeout
        self._thread = 0
        self._deadline = 0.0
        self._over = ""  # why no call is taken any more

    def __enter__(self) -> Self:
        if self._thread:
            raise InvalidStateError("a transaction can be entered once")
        self._deadline = time.monotonic() + self._timeout
        self._thread = threading.get_ident()
        try:
            self._db.begin(self._timeout, id(self))
        except BaseException:
            self._thread = 0
            raise
        return self

    def __del__(self) -> None:
        # The exception of a signal handler may have come before the block was entered, or amid its end.
        if (db := getattr(self, "_db", None)) is not None:
            db.abandon(id(self))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError("a transaction belongs to the thread that entered it")
        over, self._over = self._over, self._over or "the transaction has ended"
        if self._db.is_closed():
            if kind is None:
                self._db.end(commit=False)  # says why
            return
        late = not over and self._time_is_up()
        commit = kind is None and not over and not late and self._db.is_open()
        lost = kind is None and not over and not late and not commit
        self._db.end(commit)
        if kind is not None:
            return
        if late:
            raise self._too_long()
        if lost:
            raise InvalidStateError("SQLite rolled the transaction back within the caller's own SQL")
        if over:
            raise (StoreBusyError if over.startswith("held") else InvalidStateError)(over)

    def _too_long(self) -> StoreBusyError:
        return StoreBusyError(f"held the writer for more than {self._timeout:g} s, so it was rolled back")

    def _time_is_up(self) -> bool:
        return time.monotonic() > self._deadline

    def _end_early(self) -> StoreBusyError:
        error = self._too_long()
        self._over = str(error)
        self._db.undo()
        return error

    def _check(self) -> None:
        if threading.get_ident() != self._thread:
            raise InvalidStateError(
                "a transaction is open only within its with block, and in the thread that entered it"
            )
        if self._over:
            raise (StoreBusyError if self._over.startswith("held") else InvalidStateError)(self._over)
        if self._time_is_up():
            raise self._end_early()
        if not self._db.is_open():
            if self._db.is_closed():
                raise StoreClosedError("this process was forked within the transaction, which is its parent's")
            self._over = "SQLite rolled the transaction back within the caller's own SQL"
            raise InvalidStateError(self._over)

    def _run(self, operation: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._check()
        return self._db.nested(operation, *args, **kwargs)

    _run_durably = _run  # the whole transaction is synced at its end
    _read = _run

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        self._check()
        if not isinstance(sql, str):
            raise InvalidArgumentError(f"sql must be a str, not {type(sql).__name__}")
        interrupted = False

        def time_is_up() -> bool:
            nonlocal interrupted
            interrupted = self._time_is_up()
            return interrupted

        try:
            return self._db.execute_foreign(sql, params, time_is_up)
        except Exception as error:
            if interrupted:
                raise self._end_early() from error
            raise
