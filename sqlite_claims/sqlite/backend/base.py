"""The base classes of the operations. Each operation runs in one transaction of a ``Database``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ...errors import StoreFullError
from ..database import Database
from ..error_translation import log_after_commit
from ..operations import schedules, sweep
from ..sessions.owned_locks import SqliteWorkerSession

P = ParamSpec("P")
T = TypeVar("T")


class RunInTransaction(Protocol):
    """A function that runs an operation in a transaction. If ``durable`` is true, the effect of the operation must
    survive a power cut that happens after the function has returned."""

    def __call__(
        self, operation: Callable[Concatenate[Database, P], T], durable: bool, /, *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


class Read(Protocol):
    """A function that runs a read-only operation on one snapshot of the file."""

    def __call__(self, operation: Callable[Concatenate[Database, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


class SqliteOperations:
    """The base class of all operations. A store and a transaction each pass a different function that runs an
    operation."""

    session_type = SqliteWorkerSession

    def __init__(self, db: Database, write: RunInTransaction, read: Read) -> None:
        self._db = db
        # These are attributes, not methods, because a method would add one more Python stack frame to every call.
        self._write = write
        self._read = read

    def wall_us(self) -> int:
        return self._db.time.clock.wall_us()

    def check_usable(self, *, writes: bool) -> None:  # noqa: ARG002 - the store's method uses this argument
        self._read(nothing)

    def _add_ticks(self) -> None:
        """Add the instances of a bounded number of due ticks. The ticks are computed between the two transactions."""
        if self._db.next_tick is None:
            return
        due, wall, now = self._read(schedules.due_schedules)
        if due:
            self._write(
                schedules.add_ticks, False, schedules.plan(self._db, due, wall=wall, now=now), wall=wall, now=now
            )


class SqliteStoreOperations(SqliteOperations):
    """The base class of the operations that only stores have."""

    def __init__(self, db: Database) -> None:
        super().__init__(db, db.write, db.read)
        self._found_work = True

    def check_usable(self, *, writes: bool) -> None:
        if writes:
            self._db.refuse_writes()
        self._read(nothing)

    def _swept(self, search: Callable[[bool], T | None]) -> T:
        """Run a search for work. If a sweep is needed first, run all steps of the sweep, and then search again."""
        found = search(not self._db.read_only and not self._db.has_transaction())
        if found is None:
            self._add_ticks()
            while self._write(sweep.sweep, False):
                pass
            found = search(False)
        assert found is not None
        return found

    def _with_reserve(self, run: Callable[[], T]) -> T:
        """Run a function that frees disk space. If the disk is full, release the reserved space, and run the function
        again."""
        try:
            return run()
        except StoreFullError:
            if not self._db.make_room():
                raise
            return run()

    def _steps(self, step: Callable[[Database], bool]) -> Iterator[None]:
        # The operation has already taken effect, so an error in a later step is logged and not raised.
        try:
            while self._with_reserve(lambda: self._write(step, False)):
                yield
        except Exception as error:  # noqa: BLE001
            log_after_commit(
                self._db.path,
                "took effect; the next search for work, or the next prune, will update the remaining rows",
                error,
            )

    def _pages(self, read: Callable[[Any], tuple[list[T], Any]]) -> Iterator[list[T]]:
        """Return an iterator of the pages of a list. ``read``: a function that takes the start of a page (``None`` for
        the first page), and returns the page and the start of the next page."""
        self._read(nothing)  # raises an error if the store is closed

        def pages() -> Iterator[list[T]]:
            records, after = read(None)
            yield records
            while after is not None:
                records, after = read(after)
                yield records

        return pages()


def nothing(_: Database) -> None:
    """Do nothing. If ``read`` runs this function, ``read`` only checks that the store or the transaction can be
    used."""
