"""The Protocol of the methods that concern the store as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol, Self

from ..model import Duration, StoreStats, WorkerInfo
from .sessions import WorkerSession
from .transaction import Transaction


class WholeStore(Protocol):
    """The methods that concern the store as a whole."""

    def stats(self) -> StoreStats:
        """Return counts and ages of the whole store. The call is fast for a store of any size."""

    def list_workers(self) -> Iterator[WorkerInfo]:
        """Iterate over the worker sessions.

        Each record shows the number of the session's claims, and whether the worker's process is alive.
        """

    def open_session(self, worker_id: str) -> WorkerSession:
        """Start a worker's session.

        If this process dies, the claims made with the session (``session=``) are lost at once, even if their leases
        have not ended. Close the session when the worker ends.

        Args:
            worker_id: Name of the worker.
        """

    def transaction(self, timeout: Duration = 5.0) -> AbstractContextManager[Transaction]:
        """Open a transaction for several writes and your own SQL in the same file.

        If a method of the transaction raises an error, only the changes of this method are undone. An exception that
        leaves the block rolls back the whole transaction.

        Args:
            timeout: Limit, in seconds (or a ``timedelta``), for waiting for the writer and for holding it. After this
                time, the next call or the end of the block rolls back and raises ``StoreBusyError``.
        """

    def backup(self, path: str) -> None:
        """Write a consistent copy to a new file, while workers run.

        Args:
            path: The path of the new file. The file must not exist.

        Raises:
            AlreadyExistsError: There is a file at ``path``.
        """

    def check(self) -> list[str]:
        """Check the whole file for damage, while other calls continue.

        The call runs SQLite's integrity check, and searches for schema objects, values and counts that no
        store would write.

        Returns:
            At most 1,000 sentences. Each sentence describes one problem, with the table, row and value. The list is
            empty if no problem was found.
        """

    def close(self) -> None:
        """Close the store. May be called twice."""

    def __enter__(self) -> Self:
        """Return the store. Leaving the block closes it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
