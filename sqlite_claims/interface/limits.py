"""The Protocols of the methods for limits."""

from __future__ import annotations

from typing import Protocol

from ..model import Duration, LimitInfo


class SharedLimits(Protocol):
    """The methods for limits that stores and transactions share."""

    def set_limit(self, name: str, *, concurrency: int | None = None, rate: tuple[int, Duration] | None = None) -> None:
        """Set a limit, for all processes that use the file. The limit applies to tasks that are added with
        ``limit=name`` or ``limit="name:partition"``.

        Each partition is counted separately. A task that its limit does not permit is ready, but is neither found nor
        claimed. If the limit is set already, both bounds are replaced. A lower bound does not end any claim.

        Args:
            name: Name of the limit, without a partition.
            concurrency: Number of tasks of one partition that may be claimed at the same time, 1 to 10,000. Claims
                that were made before the call count, too. ``None``: no bound.
            rate: Number of claims of one partition that may start within a period, 1 to 10,000, and the period: seconds
                (or a ``timedelta``), more than 0, at most 366 days. Each claim counts, even if the claim was released
                or lost. ``None``: no bound.

        Raises:
            InvalidArgumentError: An argument is wrong, or neither ``concurrency`` nor ``rate`` is given.
        """

    def remove_limit(self, name: str) -> None:
        """Remove a limit, and forget the claims that counted for the limit's rate. The limit's tasks are then claimed
        without a limit.

        Args:
            name: Name of the limit, without a partition.

        Raises:
            NotFoundError: There is no such limit.
        """


class StoreLimits(Protocol):
    """The methods for limits that only stores have."""

    def list_limits(self) -> list[LimitInfo]:
        """Return all limits, each with its bounds and the numbers of its running and waiting tasks.

        Returns:
            The limits, sorted by name.
        """
