"""The operations of a transaction, and all operations that stores and transactions share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from ..interface import WorkerSession
from .aging import SharedAgingBackend
from .claims import SharedClaimsBackend
from .instances import SharedInstancesBackend
from .limits import SharedLimitsBackend
from .schedules import SharedSchedulesBackend
from .tasks import SharedTasksBackend


class WriterBackend(
    SharedClaimsBackend,
    SharedTasksBackend,
    SharedInstancesBackend,
    SharedLimitsBackend,
    SharedSchedulesBackend,
    SharedAgingBackend,
    Protocol,
):
    """The operations that a store and a transaction have in common."""

    @property
    def session_type(self) -> type[WorkerSession]:
        """The class of the sessions that ``open_session`` returns."""

    def wall_us(self) -> int:
        """Return the time of the wall clock, which ``front`` uses to refuse durations that end after the last date."""

    def check_usable(self, *, writes: bool) -> None:
        """Raise an error if the store cannot be used, for example because the store is closed.

        ``writes``: also raise an error if the store can be read but not written.
        """


class TransactionBackend(WriterBackend, Protocol):
    """A transaction of several operations. After the transaction has failed, each operation raises the error
    that made the transaction fail."""

    @property
    def deadline(self) -> float:
        """The latest time at which the transaction may end, on the clock ``time.monotonic``."""

    def begin(self) -> None:
        """Wait until the writer is free, and begin the transaction."""

    def end(self, *, commit: bool) -> None:
        """Commit or roll back the transaction. If the commit fails, raise an error."""

    def execute(self, sql: str, params: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Run the caller's own SQL. If the SQL raises an error, undo only the changes of this SQL."""
