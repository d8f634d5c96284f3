"""The Protocol of a worker's session."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self


class WorkerSession(Protocol):
    """The session of one worker. ``open_session`` returns the session.

    If the worker's process dies, the claims made with the session (``session=``) are lost at once, even if their leases
    have not ended. Leaving the ``with`` block closes the session.
    """

    @property
    def id(self) -> int:
        """The session's number in the store."""

    @property
    def worker_id(self) -> str:
        """Name of the worker."""

    @property
    def is_open(self) -> bool:
        """True if claims can be made with the session."""

    def close(self) -> None:
        """End the session. May be called twice.

        Settle or release the session's claims before this call, because all remaining claims of the session are lost.
        """

    def __enter__(self) -> Self:
        """Return the session. Leaving the block closes it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
