"""The operations of an engine that wait for a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..model import TaskInfo
from .types import Kinds, Tags


class TaskWatch(Protocol):
    """The tasks that a caller waits for."""

    @property
    def size(self) -> int:
        """The number of tasks that still exist and have not ended."""

    def poll(self) -> list[TaskInfo]:
        """Return the tasks that have ended since the last poll, in the order of their ends."""


class StoreWaitingBackend(Protocol):
    """The operations that wait for a change. Only stores have these operations.

    A caller reads the number and then checks the state. If the check finds nothing, the caller waits until the number
    has changed.
    """

    def any_available(self, *, tags: Tags, kinds: Kinds) -> bool:
        """Return whether a worker with these tags and kinds could claim a task now."""

    def ready_number(self) -> int:
        """Return a number that changes whenever tasks may have become claimable."""

    def wait_ready(self, number: int, *, tags: Tags, kinds: Kinds, timeout_s: float) -> None:
        """Wait until the number has changed, a task may have become due, or a claim may have expired.

        Wait at most ``timeout_s`` seconds. The call may return before any of these events.
        """

    def watch_tasks(self, refs: Sequence[tuple[str, str]]) -> TaskWatch:
        """Return an object that reports the ends of these tasks. If a task does not exist, raise an error."""

    def expire_tasks(self) -> None:
        """Cancel the tasks that have expired, so that a caller that waits for a task sees its end."""

    def commit_number(self) -> int:
        """Return a number that changes with each commit."""

    def wait_commit(self, number: int, *, timeout_s: float) -> None:
        """Wait until the number has changed, but at most ``timeout_s`` seconds. The call may return too early."""
